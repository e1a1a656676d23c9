//! The rate at which a device reads its memory: the limit of a decode step, which reads every weight once.

use inferno_model::error::BackendError;

use super::timed::{Size, Timed};
use super::{constants, kernel, limit, storage};
use crate::device::Gpu;

/// Threads of a workgroup.
const THREADS: u32 = 256;
/// Bytes of a buffer are a multiple of this: whole workgroups of each variant.
const UNIT: u64 = 1 << 20;

/// Bytes that are read by default: an eighth of what is free, and at most so much.
const MOST_BYTES: u64 = 2 << 30;
/// For a processor that acts as a GPU.
const FEWER_BYTES: u64 = 128 << 20;
/// Taken to be free where a driver does not say.
const UNKNOWN_BYTES: u64 = 4 << 30;

/// A way to read. The fastest one depends on the device and its compiler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Variant {
    /// Vectors of 16 bytes that a thread asks for before it waits for the first one.
    loads: u32,
    /// Number of times that it does so.
    steps: u32,
}

pub(super) const VARIANTS: [Variant; 4] = [
    Variant { loads: 8, steps: 2 },
    Variant { loads: 16, steps: 1 },
    Variant { loads: 4, steps: 4 },
    Variant { loads: 8, steps: 32 },
];

impl Variant {
    /// Bytes that a workgroup reads.
    fn group_bytes(self) -> u64 {
        u64::from(16 * THREADS * self.loads * self.steps)
    }

    pub(super) fn wgsl(self) -> String {
        let constants = constants(&[("THREADS", THREADS), ("LOADS", self.loads), ("STEPS", self.steps)]);
        // One after the other in the text, so that no compiler has to unroll a loop for it.
        let loads: String =
            (0..self.loads).map(|i| format!("    let v{i} = words[at + {i}u * THREADS];\n")).collect();
        let all: Vec<String> = (0..self.loads).map(|i| format!("v{i}")).collect();
        let all = all.join(" | ");
        format!(
            "{constants}{}fn load(at: u32) -> vec4<u32> {{\n{loads}    return {all};\n}}\n",
            limit!("read")
        )
    }
}

/// A buffer on a device of its own, read by a kernel that does nothing else.
pub struct StreamingRead {
    gpu: Gpu,
    kernel: Timed,
    /// Bytes of a workgroup.
    group_bytes: u64,
    size: Size,
}

impl StreamingRead {
    /// About `n_bytes` of the device's memory, or as much as a buffer may have; by default many times what caches hold. The
    /// fastest way to read is found by measuring.
    ///
    /// # Errors
    /// The device has not as much memory, or does not run the kernel.
    pub fn new(mut gpu: Gpu, n_bytes: Option<u64>) -> Result<StreamingRead, BackendError> {
        let n_bytes = n_bytes.unwrap_or_else(|| default_bytes(&gpu));
        let n_bytes = (n_bytes.min(gpu.binding_bytes) / UNIT).max(1) * UNIT;
        let buffers = [storage(&mut gpu, n_bytes)?, storage(&mut gpu, 4)?];
        let mut best: Option<(f64, Timed, u64, Size)> = None;
        for variant in VARIANTS {
            let kernel = kernel(&gpu, &variant.wgsl(), &buffers.each_ref())?;
            let group_bytes = variant.group_bytes();
            let size = kernel.settle(&gpu, (n_bytes / group_bytes) as u32)?;
            let rate = rate(&gpu, &kernel, group_bytes, size)?;
            if best.as_ref().is_none_or(|(most, ..)| rate > *most) {
                best = Some((rate, kernel, group_bytes, size));
            }
        }
        let (_, kernel, group_bytes, size) = best.expect("there are variants");
        Ok(StreamingRead { gpu, kernel, group_bytes, size })
    }

    /// Bytes that are read.
    pub fn n_bytes(&self) -> u64 {
        u64::from(self.size.n_groups) * self.group_bytes
    }

    /// Bytes per second of the fastest of some samples; 0 if the device was lost.
    pub fn measure(&mut self) -> f64 {
        rate(&self.gpu, &self.kernel, self.group_bytes, self.size).unwrap_or(0.0)
    }
}

/// A dispatch of an H200 that reads as much takes 0.45 ms, beside which its start and its end are nothing.
fn default_bytes(gpu: &Gpu) -> u64 {
    let free = gpu.free_bytes().unwrap_or(UNKNOWN_BYTES);
    (free / 8).min(if gpu.is_processor() { FEWER_BYTES } else { MOST_BYTES })
}

fn rate(gpu: &Gpu, kernel: &Timed, group_bytes: u64, size: Size) -> Result<f64, BackendError> {
    let n_bytes = group_bytes * u64::from(size.n_groups);
    Ok(n_bytes as f64 / kernel.measure(gpu, size)?.seconds())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorder::Recorder;
    use crate::tests::gpu;

    #[test]
    fn every_workgroup_reads_its_part() {
        let Some(mut gpu) = gpu() else { return };
        let mut recorder = Recorder::new(Recorder::first_uploads(&mut gpu).unwrap());
        let buffers = [storage(&mut gpu, 3 * UNIT).unwrap(), storage(&mut gpu, 4).unwrap()];
        for variant in VARIANTS {
            let kernel = kernel(&gpu, &variant.wgsl(), &buffers.each_ref()).unwrap();
            let n_groups = (3 * UNIT / variant.group_bytes()) as u32;
            let [words, found] = &buffers;
            // A word that the kernel looks for, in the last vectors of parts of the buffer, or nowhere.
            for at in [None, Some(UNIT - 20), Some(2 * UNIT + 4), Some(3 * UNIT - 20)] {
                gpu.queue.write_buffer(&found.buffer, 0, &[0; 4]);
                if let Some(at) = at {
                    gpu.queue.write_buffer(&words.buffer, at, &1u32.to_le_bytes());
                }
                kernel.run(&gpu, Size { n_groups, n_dispatches: 1 }).unwrap();
                let mut word = 0;
                recorder.read(&mut gpu, found, (0, 4), |bytes| word = bytes[0]).unwrap();
                assert_eq!(word, u8::from(at.is_some()), "{variant:?} at {at:?}");
                if let Some(at) = at {
                    gpu.queue.write_buffer(&words.buffer, at, &[0; 4]);
                }
            }
        }
    }

    #[test]
    fn a_buffer_is_read_at_some_rate() {
        let Some(gpu) = gpu() else { return };
        let mut read = StreamingRead::new(gpu, Some(9 << 20)).unwrap();
        assert!(read.n_bytes() > 0 && read.n_bytes() <= 9 << 20);
        assert!(read.measure() > 1e6);
    }
}
