//! The machine: processor, devices, memory and disk, and the rate at which memory is read.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;
use inferno_cpu::Isa;
use serde_json::{Value as Json, json};

use crate::commands::bench::Machine;
use crate::kv_memory::{self, shown};
use crate::load::{self, Compute};

/// Time for reading memory.
const STREAM_TIME: Duration = Duration::from_millis(500);
/// Limits of the bytes that are read: four times the largest cache, if there is memory for it.
const STREAM_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=640 << 20;
/// Limits of the weights of a cut, for the same reason.
const CUT_BYTES: std::ops::RangeInclusive<u64> = 96 << 20..=512 << 20;

/// Facts about the machine.
pub(super) struct Found {
    machine: Machine,
    /// Processors of the machine, whether or not this process may use them.
    n_processors: Option<usize>,
    devices: Vec<String>,
    /// Bytes: all there is, and what is free.
    total: Option<u64>,
    free: Option<u64>,
    /// The folder that downloads go to, and the bytes that are free there.
    disk: Option<(PathBuf, u64)>,
    /// Bytes per second that all cores read together.
    stream: f64,
    /// Rates of usual shapes.
    pub(super) rates: Option<Json>,
}

impl Found {
    /// Everything that needs no measurement.
    pub(super) fn at_once() -> Found {
        Found {
            machine: Machine::found(),
            n_processors: online(),
            devices: load::devices(),
            total: kv_memory::total(),
            free: kv_memory::available(),
            disk: disk(),
            stream: 0.0,
            rates: None,
        }
    }

    /// Measures how fast memory is read.
    ///
    /// # Errors
    /// There is no memory for it, or the machine lacks the instruction set that `compute` asks for.
    pub(super) fn measure(&mut self, compute: &Compute) -> Result<()> {
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
        let n = self.machine.n_cores;
        let cores = match self.n_processors {
            Some(all) if all > n => {
                format!(
                    "{n} of {all} cores (a control group or an affinity keeps this process from the others)"
                )
            }
            _ => format!("{n} cores"),
        };
        let mut text = format!(
            "processor  {}, {cores}\n           `--isa` {} (default: {})\n",
            self.machine.cpu,
            sets.join(", "),
            Isa::best(),
        );
        let none = ["none that can be used through Vulkan, Metal or DX12, or no driver for it".to_owned()];
        let mut head = "GPUs";
        for line in if self.devices.is_empty() { &none[..] } else { &self.devices } {
            text += &format!("{head:<9}  {line}\n");
            head = "";
        }
        if let Some((folder, free)) = &self.disk {
            text += &format!("disk       {} free in {}\n", shown(*free), folder.display());
        }
        text
    }

    pub(super) fn measured_text(&self) -> String {
        let size = match (self.total, self.free) {
            (Some(total), Some(free)) => format!("{}, {} of it free", shown(total), shown(free)),
            _ => "the system does not say how much".into(),
        };
        format!("memory     {size}; all cores together read {:.1} GB/s\n", self.stream / 1e9)
    }

    pub(super) fn to_json(&self) -> Json {
        let mut machine = self.machine.to_json();
        machine["processors"] = self.n_processors.into();
        let sets: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "machine": machine,
            "isa": { "available": sets, "default": Isa::best().to_string() },
            "devices": self.devices,
            "memory": {
                "total_bytes": self.total,
                "free_bytes": self.free,
                "stream_gb_per_s": self.stream / 1e9,
            },
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
