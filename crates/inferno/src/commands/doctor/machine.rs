//! The machine: processor, devices, memory and disk, and the rate at which memory is read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use inferno_cpu::Isa;
use inferno_format::DType;
use serde_json::{Value as Json, json};

use super::forecast::matrix_rate;
use super::quota::{cores, cpu_quota};
use crate::cli::Encoding;
use crate::commands::bench::Machine;
use crate::commands::synth;
use crate::kv_memory::{self, shown};
use crate::load::{self, Compute, DeviceLimits, Opened};
use crate::terminal::entry;

/// Time for reading memory.
const STREAM_TIME: Duration = Duration::from_millis(400);
/// Limits of the bytes that are read: four times the largest cache, if there is memory for it.
const STREAM_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=640 << 20;
/// A model whose layers have matrices of usual shapes, and bytes of one of them.
const MATRICES: &str = "qwen3-0.6b";
const MATRIX_BYTES: u64 = 1 << 20;
/// Limits of the weights of a cut, for the same reason.
const CUT_BYTES: std::ops::RangeInclusive<u64> = 96 << 20..=512 << 20;

/// Facts about the machine.
pub(in crate::commands) struct Found {
    pub(in crate::commands) machine: Machine,
    /// Processors of the machine, whether or not this process may use them.
    n_processors: Option<usize>,
    devices: Vec<String>,
    /// Bytes: all there is, and what is free.
    pub(in crate::commands) total: Option<u64>,
    free: Option<u64>,
    /// The folder that downloads go to, and the bytes that are free there.
    disk: Option<(PathBuf, u64)>,
    /// Cores' worth of CPU time that control groups allow.
    quota: Option<f64>,
    /// Bytes per second that all cores read together.
    pub(in crate::commands) stream: f64,
    /// Operations per second of products in prompts, and the device that computed them.
    pub(in crate::commands) matrices: Option<(f64, String)>,
    /// Limits of the selected devices beside the processor.
    pub(in crate::commands) limits: Vec<DeviceLimits>,
    /// Rates of usual shapes.
    pub(super) rates: Option<Json>,
}

impl Found {
    /// Everything that needs no measurement.
    pub(in crate::commands) fn at_once() -> Found {
        Found {
            machine: Machine::found(),
            n_processors: online(),
            devices: load::devices(),
            total: kv_memory::total(),
            free: kv_memory::available(),
            disk: disk(),
            quota: cpu_quota(),
            stream: 0.0,
            matrices: None,
            limits: Vec::new(),
            rates: None,
        }
    }

    /// Measures how fast memory is read and matrices are multiplied, in a few seconds. `None` if Ctrl-C was pressed.
    ///
    /// # Errors
    /// There is no memory for it, or the machine lacks the instruction set that `compute` asks for.
    pub(in crate::commands) fn measure(&mut self, compute: &Compute) -> Result<Option<()>> {
        self.read(compute)?;
        self.limits = compute.device_limits()?;
        let file = synth::outline(MATRICES, Encoding::One(DType::Q8_0))?.context("the preset is there")?;
        let whole = Opened::without_path(MATRICES.into(), file);
        let arch = whole.architecture(None)?;
        self.matrices = matrix_rate(&whole, &arch, compute, MATRIX_BYTES)?;
        Ok(self.matrices.as_ref().map(|_| ()))
    }

    fn read(&mut self, compute: &Compute) -> Result<()> {
        let wanted = self.machine.cache.map_or(*STREAM_BYTES.end(), |cache| 4 * cache as u64);
        let n_bytes = wanted
            .clamp(*STREAM_BYTES.start(), *STREAM_BYTES.end())
            .min(self.free.map_or(u64::MAX, |n| n / 4));
        let mut read = compute.streaming_read(n_bytes as usize)?;
        let start = Instant::now();
        self.stream = read.measure();
        while start.elapsed() < STREAM_TIME {
            self.stream = self.stream.max(read.measure());
        }
        Ok(())
    }

    /// Bytes of weights for a cut of a model: more than any cache holds.
    pub(super) fn budget(&self) -> u64 {
        let wanted = self.machine.cache.map_or(*CUT_BYTES.start(), |cache| 6 * cache as u64);
        let most = self.free.map_or(u64::MAX, |free| free / 8);
        wanted.clamp(*CUT_BYTES.start(), *CUT_BYTES.end()).min(most).max(1 << 20)
    }

    pub(super) fn at_once_text(&self) -> String {
        let sets: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        let cores = cores(self.machine.n_cores, self.n_processors, self.quota);
        let mut text = entry("processor", &format!("{}, {cores}", self.machine.cpu));
        text += &entry("", &format!("`--isa` {} (default: {})", sets.join(", "), Isa::best()));
        let none = ["none that can be used through Vulkan, Metal or DX12, or no driver for it".to_owned()];
        let mut head = "GPUs";
        for line in if self.devices.is_empty() { &none[..] } else { &self.devices } {
            text += &entry(head, line);
            head = "";
        }
        if let Some((folder, free)) = &self.disk {
            text += &entry("disk", &format!("{} free in {}", shown(*free), folder.display()));
        }
        text
    }

    /// The limit of memory that control groups set, and what is installed; `None` without one.
    fn memory_limit(&self) -> Option<(u64, u64)> {
        let installed = kv_memory::installed()?;
        self.total.filter(|&total| total < installed).map(|total| (total, installed))
    }

    pub(super) fn measured_text(&self) -> String {
        let limit = match self.memory_limit() {
            Some((_, installed)) => format!(" of {} by cgroup", shown(installed)),
            None => String::new(),
        };
        let size = match (self.total, self.free) {
            (Some(total), Some(free)) => format!("{}{limit}, {} free", shown(total), shown(free)),
            _ => "the system does not say how much".into(),
        };
        let stream = self.stream / 1e9;
        let mut text = entry("memory", &format!("{size}; all cores together read {stream:.1} GB/s"));
        let mut head = "limits";
        for limits in &self.limits {
            text += &entry(head, &limits.to_string());
            head = "";
        }
        if let Some((rate, device)) = &self.matrices {
            text += &entry("matrices", &format!("{:.0} GFLOP/s in prompts, in Q8_0 on {device}", rate / 1e9));
        }
        text
    }

    pub(super) fn to_json(&self) -> Json {
        let mut machine = self.machine.to_json();
        machine["processors"] = self.n_processors.into();
        machine["cgroup_cores"] = self.quota.into();
        let sets: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "isa": { "available": sets, "default": Isa::best().to_string() },
            "devices": self.devices,
            "limits": self.limits.iter().map(DeviceLimits::to_json).collect::<Json>(),
            "memory": {
                "total_bytes": self.total,
                "free_bytes": self.free,
                "cgroup_limit_bytes": self.memory_limit().map(|(limit, _)| limit),
                "stream_gb_per_s": self.stream / 1e9,
            },
            "matrices": self.matrices.as_ref().map(|(rate, device)| {
                json!({ "type": "Q8_0", "device": device, "gflop_per_s": rate / 1e9 })
            }),
            "disk": self.disk.as_ref().map(|(folder, free)| {
                json!({ "folder": folder.display().to_string(), "free_bytes": free })
            }),
            "rates": self.rates,
        })
    }
}

/// Processors that are online, on Linux.
fn online() -> Option<usize> {
    let ranges = std::fs::read_to_string("/sys/devices/system/cpu/online").ok()?;
    count(&ranges)
}

/// The numbers in `0-3,8`.
fn count(ranges: &str) -> Option<usize> {
    let count = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    ranges.trim().split(',').map(count).sum()
}

/// The folder that models are downloaded to, or the one above it that is there, with its free bytes.
#[cfg(unix)]
fn disk() -> Option<(PathBuf, u64)> {
    let folder = crate::hub::settings(false).cache;
    let folder = folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(Path::new("."));
    let disk = nix::sys::statvfs::statvfs(folder).ok()?;
    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "not on all of them")]
    let free = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64);
    Some((folder.to_owned(), free))
}

#[cfg(not(unix))]
fn disk() -> Option<(PathBuf, u64)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_counted_in_ranges() {
        assert_eq!(count("0-3,8\n"), Some(5));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("3-1"), None);
        assert_eq!(count(""), None);
    }
}
