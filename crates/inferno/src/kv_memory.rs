//! How much memory keys and values get.

use std::path::Path;

use anyhow::{Result, ensure};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;

/// How many sequences run at once, and in what memory.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct KvMemory {
    /// Sequences that run at once; more wait
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) sequences: std::num::NonZero<usize>,

    /// Memory for keys and values, cached prefixes included, like 512MiB or 8GiB; default: what that many sequences of
    /// full length need, and at most half of the memory that is available, or what a GPU has left
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) kv_memory: Option<u64>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KvPlan {
    /// In every cache group.
    pub(crate) n_pages: usize,
    pub(crate) bytes: u64,
    /// Where the number comes from.
    pub(crate) why: &'static str,
}

impl std::fmt::Display for KvPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (n, gib) = (self.n_pages * PAGE_LEN, self.bytes as f64 / f64::from(1 << 30));
        write!(f, "keys and values: room for {n} positions in {gib:.2} GiB, {}", self.why)
    }
}

/// Memory that keys and values may have, unless something else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvSpace {
    pub(crate) bytes: u64,
    /// Where the number comes from.
    pub(crate) why: &'static str,
}

impl KvSpace {
    /// Of the processor's memory, if the system says how much there is.
    pub(crate) fn of_processor() -> Option<KvSpace> {
        available().map(|bytes| KvSpace { bytes: bytes / 2, why: "half of the memory that is available" })
    }
}

impl KvMemory {
    /// # Errors
    /// The memory holds no sequence at all.
    pub(crate) fn plan(
        &self,
        arch: &Architecture,
        kv_type: KvType,
        space: Option<KvSpace>,
    ) -> Result<KvPlan> {
        let page_bytes = (arch.kv_bytes_per_position(kv_type) * PAGE_LEN) as u64;
        let wanted = (self.sequences.get() as u64).saturating_mul(arch.context_len.div_ceil(PAGE_LEN) as u64);
        let (n_pages, why) = match (self.kv_memory, space) {
            (Some(bytes), _) => (bytes / page_bytes, "as told"),
            (None, Some(space)) if space.bytes / page_bytes < wanted => (space.bytes / page_bytes, space.why),
            (None, _) => (wanted, "for all sequences at full length"),
        };
        ensure!(
            n_pages > 0,
            "{} bytes are not enough for keys and values: a page of {PAGE_LEN} positions takes {page_bytes}",
            self.kv_memory.or(space.map(|space| space.bytes)).unwrap_or_default(),
        );
        // Slots are numbered by 32 bits.
        let n_pages = n_pages.min(u64::from(u32::MAX) / PAGE_LEN as u64);
        Ok(KvPlan { n_pages: n_pages as usize, bytes: n_pages * page_bytes, why })
    }
}

/// Bytes, with a unit or without.
pub(crate) fn size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return Err("expected a number of bytes, or one with KiB, MiB, GiB, kB, MB or GB".into()),
    };
    let number: f64 =
        digits.trim().parse().map_err(|_| "expected a size like 512MiB or 1.5GiB".to_owned())?;
    let bytes = number * unit as f64;
    if bytes.is_finite() && (1.0..=9e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("expected at least one byte".into())
    }
}

/// Bytes that can be had without taking them from others; `None` if the system does not say.
fn available() -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(Path::new("/proc/meminfo")).as_deref().and_then(mem_available).or_else(total_memory);
    let group = read(Path::new("/proc/self/cgroup")).and_then(|text| group_available(&text, &read));
    [machine, group].into_iter().flatten().min()
}

/// `MemAvailable` of `/proc/meminfo`.
fn mem_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What the control groups of this process leave: version 2's `memory.max`, or version 1's limit, of each group up to the
/// root, less what is in use and cannot be given back.
fn group_available(cgroup: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
    let (folder, path, limit, usage) = cgroup.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        match rest.split_once(':')? {
            ("", path) => Some(("/sys/fs/cgroup", path, "memory.max", "memory.current")),
            (kinds, path) if kinds.split(',').any(|k| k == "memory") => {
                Some(("/sys/fs/cgroup/memory", path, "memory.limit_in_bytes", "memory.usage_in_bytes"))
            }
            _ => None,
        }
    })?;
    let own = Path::new(path.trim_start_matches('/'));
    let left = |group: &Path| {
        let file = |name: &str| read(&Path::new(folder).join(group).join(name));
        let number = |text: String| text.trim().parse::<u64>().ok();
        let limit = number(file(limit)?)?;
        let used = file(usage).and_then(number).unwrap_or(0);
        let stat = file("memory.stat").unwrap_or_default();
        let cached = stat.lines().filter_map(|line| match line.split_once(' ')? {
            ("active_file" | "inactive_file", n) => n.parse::<u64>().ok(),
            _ => None,
        });
        Some(limit.saturating_sub(used.saturating_sub(cached.sum())))
    };
    own.ancestors().filter_map(left).min()
}

/// All memory of a Mac: what of it is free changes by the second.
fn total_memory() -> Option<u64> {
    if !cfg!(target_os = "macos") {
        return None;
    }
    let output = std::process::Command::new("/usr/sbin/sysctl").args(["-n", "hw.memsize"]).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("1.5GiB"), Ok(3 << 29));
        assert_eq!(size("8g"), Ok(8 << 30));
        assert_eq!(size("10 MB"), Ok(10_000_000));
        for bad in ["", "GiB", "-1", "0", "1 apple", "nan", "1e30"] {
            assert!(size(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_tightest_of_the_groups_counts() {
        let files = |path: &Path| {
            let text = match path.to_str()? {
                "/sys/fs/cgroup/a/b/memory.max" => "max",
                "/sys/fs/cgroup/a/memory.max" => "1000",
                "/sys/fs/cgroup/a/memory.current" => "700",
                "/sys/fs/cgroup/a/memory.stat" => "anon 400\nactive_file 100\ninactive_file 200",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes" => "5000",
                _ => return None,
            };
            Some(text.to_owned())
        };
        assert_eq!(group_available("0::/a/b\n", &files), Some(600));
        assert_eq!(group_available("3:cpu:/x\n2:memory:/x\n", &files), Some(5000));
        assert_eq!(group_available("0::/\n", &files), None);
        assert_eq!(mem_available("MemTotal: 9 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn the_default_is_what_is_needed_and_at_most_half_of_what_there_is() {
        let file = crate::load::open(None).unwrap();
        let arch = file.architecture(None).unwrap();
        let page = (arch.kv_bytes_per_position(KvType::F16) * PAGE_LEN) as u64;
        let needed = 4 * arch.context_len.div_ceil(PAGE_LEN);
        let plan = |kv_memory, available: Option<u64>| {
            let memory = KvMemory { sequences: std::num::NonZero::new(4).unwrap(), kv_memory };
            let space = available.map(|bytes| KvSpace { bytes: bytes / 2, why: "half" });
            memory.plan(&arch, KvType::F16, space).map(|plan| (plan.n_pages, plan.bytes))
        };
        assert_eq!(plan(None, None).unwrap(), (needed, needed as u64 * page));
        assert_eq!(plan(None, Some(u64::MAX)).unwrap().0, needed);
        assert_eq!(plan(None, Some(20 * page)).unwrap().0, 10);
        assert_eq!(plan(Some(7 * page + 1), Some(page)).unwrap().0, 7);
        assert!(
            plan(Some(page - 1), None).unwrap_err().to_string().contains("not enough for keys and values")
        );
    }
}
