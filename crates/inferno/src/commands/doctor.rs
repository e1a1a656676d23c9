//! `inferno doctor`: what this machine can compute with, and which models fit.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::Result;
use inferno_cpu::{Isa, StreamingRead};

use crate::commands::bench::Machine;
use crate::kv_memory::{self, shown};
use crate::{commands::print, load};

mod fits;

/// Time for reading memory.
const STREAM_TIME: Duration = Duration::from_secs(1);
/// Limits of the bytes that are read: four times the largest cache, if there is memory for it.
const STREAM_BYTES: std::ops::RangeInclusive<u64> = 64 << 20..=640 << 20;

pub(crate) fn doctor() -> Result<()> {
    let machine = Machine::found();
    let sets: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    let mut text = format!(
        "processor  {}, {} cores\n           `--isa` {} (default: {})\n",
        machine.cpu,
        machine.n_cores,
        sets.join(", "),
        Isa::best(),
    );
    let mut head = "GPUs";
    let devices = load::devices();
    let none = ["none that can be used through Vulkan, Metal or DX12, or no driver for it".to_owned()];
    for line in if devices.is_empty() { &none[..] } else { &devices } {
        text += &format!("{head:<9}  {line}\n");
        head = "";
    }
    // Reading memory takes a second: the rest is there before.
    print(text.as_bytes())?;
    let free = kv_memory::available();
    let bandwidth = bandwidth(free, &machine)?;
    print((memory(free, bandwidth) + &disk()).as_bytes())?;
    match free {
        Some(free) => print(fits::table(free, bandwidth).as_bytes()),
        None => Ok(()),
    }
}

/// The line about memory. `free` bytes, `bandwidth` in bytes per second.
fn memory(free: Option<u64>, bandwidth: f64) -> String {
    let size = match (kv_memory::total(), free) {
        (Some(total), Some(free)) => format!("{}, {} of it free", shown(total), shown(free)),
        _ => "the system does not say how much".into(),
    };
    format!("memory     {size}; all cores together read up to {:.1} GB/s\n", bandwidth / 1e9)
}

/// Bytes per second that all cores read together: the most in about a second.
fn bandwidth(free: Option<u64>, machine: &Machine) -> Result<f64> {
    let wanted = machine.cache.map_or(*STREAM_BYTES.end(), |cache| 4 * cache as u64);
    let n_bytes =
        wanted.clamp(*STREAM_BYTES.start(), *STREAM_BYTES.end()).min(free.map_or(u64::MAX, |free| free / 4));
    let n_threads = NonZeroUsize::new(machine.n_cores).unwrap_or(NonZeroUsize::MIN);
    let mut read = StreamingRead::new(Isa::best(), n_threads, n_bytes as usize)?;
    let start = Instant::now();
    let mut most = read.measure();
    while start.elapsed() < STREAM_TIME {
        most = most.max(read.measure());
    }
    Ok(most)
}

/// The line about the folder that downloads to it would fill.
#[cfg(unix)]
fn disk() -> String {
    let Ok(disk) = nix::sys::statvfs::statvfs(".") else { return String::new() };
    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "not on all of them")]
    let free = (disk.blocks_available() as u64).saturating_mul(disk.fragment_size() as u64);
    format!("disk       {} free in this folder\n", shown(free))
}

#[cfg(not(unix))]
fn disk() -> String {
    String::new()
}
