//! Limits of a device: the time of an empty dispatch, the rate at which memory is read, the rate at which matrices are
//! multiplied. The kernels do nothing else, so that what a model's kernels do can be compared with it.

use std::fmt::Write as _;

use half::f16;
use inferno_model::error::BackendError;

use crate::device::{Gpu, Storage};
use crate::kernels::MATRIX_THREADS;
use timed::{DispatchTime, Size, Timed};

mod streaming;
pub(crate) mod timed;

pub use streaming::StreamingRead;

/// The text of a file of `kernels/limits/`.
macro_rules! limit {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/limits/", $name, ".wgsl"))
    };
}
use limit;

/// Empty dispatches of a sample.
const N_EMPTY: usize = 1000;
/// Threads of the workgroups that multiply in f32, and their rounds: 64 operations of a thread each.
const FUSED_THREADS: u32 = 256;
const FUSED_ROUNDS: u32 = 256;
/// Parts of a workgroup that multiplies matrices, and their rounds: eight products of a part each.
const PARTS: u32 = 8;
const MATRIX_ROUNDS: u32 = 128;
/// Workgroups that multiply, at most: several for every multiprocessor of a large device, several times.
const MOST_GROUPS: u32 = 4096;

/// Measured limits of a device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// An empty dispatch that waits for the one before.
    pub dispatch: DispatchTime,
    /// The rate at which matrices are multiplied.
    pub matrices: MatrixRate,
}

/// The rate at which a device multiplies and adds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatrixRate {
    /// Multiplications and additions per second.
    pub flop_per_s: f64,
    /// Rows and columns of the cooperative matrices in half precision; `None` for fused multiply-adds in f32.
    pub size: Option<u32>,
}

impl Limits {
    /// Measures them, in about a second on hardware.
    ///
    /// # Errors
    /// The device has no memory for it, or was lost.
    pub fn measure(gpu: &mut Gpu) -> Result<Limits, BackendError> {
        Ok(Limits { dispatch: dispatch(gpu)?, matrices: matrices(gpu)? })
    }
}

fn dispatch(gpu: &mut Gpu) -> Result<DispatchTime, BackendError> {
    let word = storage(gpu, 4)?;
    let empty = kernel(gpu, limit!("empty"), &[&word]);
    let time = empty.and_then(|empty| {
        let size = Size { n_groups: 1, n_dispatches: N_EMPTY };
        empty.run(gpu, size)?;
        empty.measure(gpu, size)
    });
    gpu.release(word);
    time
}

fn matrices(gpu: &mut Gpu) -> Result<MatrixRate, BackendError> {
    if let Some(size) = gpu.matrices
        && let Some(rate) = cooperative(gpu, size)?
    {
        return Ok(rate);
    }
    fused(gpu)
}

/// `None` if the driver refuses the kernel.
fn cooperative(gpu: &mut Gpu, size: u32) -> Result<Option<MatrixRate>, BackendError> {
    let square = u64::from(size * size);
    let inputs = storage(gpu, 2 * 6 * square)?;
    // Small enough that sums over all rounds stay finite, and not zero: products of zeros take less power.
    let numbers: Vec<u16> =
        (0..6 * square).map(|i| f16::from_f32((i % 13) as f32 / 256.0 - 0.02).to_bits()).collect();
    gpu.queue.write_buffer(&inputs.buffer, 0, bytemuck::cast_slice(&numbers));
    let n_groups = MOST_GROUPS / PARTS;
    let out = storage(gpu, 4 * 8 * square * u64::from(n_groups * PARTS))?;
    let rate = match Timed::new(gpu, &matrices_wgsl(size), &[&inputs, &out]) {
        Some(kernel) => {
            let flop = 2.0 * f64::from(size).powi(3) * f64::from(8 * MATRIX_ROUNDS * PARTS);
            let flop_per_s = rate(gpu, &kernel, n_groups, flop)?;
            Some(MatrixRate { flop_per_s, size: Some(size) })
        }
        None => None,
    };
    [inputs, out].into_iter().for_each(|storage| gpu.release(storage));
    Ok(rate)
}

fn fused(gpu: &mut Gpu) -> Result<MatrixRate, BackendError> {
    let factors = storage(gpu, 32)?;
    let numbers = [[0.5f32; 4], [0.25; 4]];
    gpu.queue.write_buffer(&factors.buffer, 0, bytemuck::cast_slice(&numbers));
    let out = storage(gpu, 4 * u64::from(MOST_GROUPS * FUSED_THREADS))?;
    let flop = f64::from(64 * FUSED_ROUNDS * FUSED_THREADS);
    let flop_per_s = kernel(gpu, &fused_wgsl(), &[&factors, &out])
        .and_then(|kernel| rate(gpu, &kernel, MOST_GROUPS, flop));
    [factors, out].into_iter().for_each(|storage| gpu.release(storage));
    Ok(MatrixRate { flop_per_s: flop_per_s?, size: None })
}

/// Work per second of a kernel that does `each` in a workgroup.
fn rate(gpu: &Gpu, kernel: &Timed, most_groups: u32, each: f64) -> Result<f64, BackendError> {
    let size = kernel.settle(gpu, most_groups)?;
    Ok(each * f64::from(size.n_groups) / kernel.measure(gpu, size)?.seconds())
}

fn storage(gpu: &mut Gpu, n_bytes: u64) -> Result<Storage, BackendError> {
    gpu.storage(n_bytes, &|| "measuring what the device allows".into())
}

/// A kernel that every device runs.
fn kernel(gpu: &Gpu, wgsl: &str, buffers: &[&Storage]) -> Result<Timed, BackendError> {
    let refused = || BackendError { what: format!("`{}` refuses a kernel that measures it", gpu.name()) };
    Timed::new(gpu, wgsl, buffers).ok_or_else(refused)
}

fn fused_wgsl() -> String {
    constants(&[("THREADS", FUSED_THREADS), ("ROUNDS", FUSED_ROUNDS)]) + limit!("fused")
}

fn matrices_wgsl(size: u32) -> String {
    // What is enabled comes first.
    let mut wgsl = "enable f16;\nenable wgpu_cooperative_matrix;\n".to_owned();
    for (name, number, role) in [("Inputs", "f16", "A"), ("Weights", "f16", "B"), ("Sums", "f32", "C")] {
        let _ = writeln!(wgsl, "alias {name} = coop_mat{size}x{size}<{number}, {role}>;");
    }
    wgsl += &constants(&[
        ("SIZE", size),
        ("THREADS", MATRIX_THREADS),
        ("PARTS", PARTS),
        ("ROUNDS", MATRIX_ROUNDS),
    ]);
    wgsl + limit!("matrices")
}

fn constants(all: &[(&str, u32)]) -> String {
    all.iter().map(|(name, value)| format!("const {name} = {value}u;\n")).collect()
}

#[cfg(test)]
mod tests;
