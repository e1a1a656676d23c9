//! How much memory keys and values get.

mod division;

use std::path::Path;

use anyhow::{Result, ensure};
use inferno_engine::{longest_sequence, pool_len};
use inferno_model::architecture::{Architecture, CacheGroup, CacheKind};
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;

use division::Division;
use division::Pages;
pub(crate) use division::{States, context_that_fits, pages_for_one};

/// How many sequences run at once, and in what memory.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Memory")]
pub(crate) struct KvMemory {
    /// Sequences that run at once; more wait
    #[arg(long, value_name = "N", default_value = "32")]
    pub(crate) sequences: std::num::NonZero<usize>,

    /// Memory for keys and values, cached prefixes included, like 512MiB or 8GiB; default: what that many sequences of
    /// full length need, and at most half of the memory that the weights leave, or what a GPU has left
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) kv_memory: Option<u64>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KvPlan {
    /// By cache group.
    pub(crate) n_pages: Vec<usize>,
    /// Positions that there is room for, where layers see all of them.
    pub(crate) positions: usize,
    /// Positions of the longest sequence that fits.
    pub(crate) longest: usize,
    /// Groups with fewer positions: how many, and what a row of their layers sees.
    windows: Vec<(usize, usize)>,
    /// Of recurrent layers: states of sequences and snapshots; `None` if there are none.
    pub(crate) states: Option<States>,
    /// Whether there are keys and values.
    has_positions: bool,
    /// Sequences that were asked for.
    n_sequences: usize,
    pub(crate) bytes: u64,
    /// Where the number comes from.
    pub(crate) why: &'static str,
}

impl std::fmt::Display for KvPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.has_positions {
            write!(f, "keys and values: room for {} positions", self.positions)?;
        }
        for (n, window) in &self.windows {
            write!(f, " ({n} in layers with a window of {window})")?;
        }
        if let Some(States { live, snapshots }) = self.states {
            let and = if self.has_positions { " and " } else { "" };
            write!(f, "{and}states of {live} sequences at once")?;
            if (live as usize) < self.n_sequences {
                write!(f, ", not of {}, as there is no memory for more", self.n_sequences)?;
            }
            write!(f, ", {snapshots} snapshots of states")?;
        }
        write!(f, " in {}, {}", shown(self.bytes), self.why)
    }
}

impl KvPlan {
    /// Sequences of `n` positions that have room at the same time.
    pub(crate) fn sequences_of(&self, n: usize) -> usize {
        let positions = if self.has_positions { self.positions / n.max(1) } else { usize::MAX };
        self.states.map_or(positions, |states| positions.min(states.live as usize))
    }

    /// Snapshots of states that the prefix cache may keep, if there are any.
    pub(crate) fn max_snapshots(&self) -> Option<usize> {
        self.states.map(|states| states.snapshots as usize)
    }
}

/// Memory that keys and values may have, unless something else is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvSpace {
    pub(crate) bytes: u64,
    /// Bytes that those of one layer may take.
    pub(crate) layer_bytes: u64,
    /// Where the number comes from.
    pub(crate) why: &'static str,
    /// Memory that can be requested, and memory free now; `None` if the system does not say.
    pub(crate) most: Option<MostMemory>,
}

/// Keys and values of a draft model, by the pages of a cache group of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DraftPages {
    /// The cache group.
    pub(crate) group: usize,
    /// Bytes that they add to a page.
    pub(crate) bytes: u64,
}

/// Limits of `--kv-memory`: bytes that a machine has beside the weights of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MostMemory {
    /// With nothing else on it.
    pub(crate) total: u64,
    /// At this moment.
    pub(crate) free: u64,
}

impl KvSpace {
    fn told(bytes: u64) -> KvSpace {
        KvSpace { bytes, layer_bytes: u64::MAX, why: "as told", most: None }
    }

    /// The space that is left beside another model's weights of `n_bytes`; at least an eighth.
    pub(crate) fn beside(self, n_bytes: u64) -> KvSpace {
        let less = |n: u64| n.saturating_sub(n_bytes).max(n / 8);
        let most = self.most.map(|most| MostMemory { total: less(most.total), free: less(most.free) });
        KvSpace { bytes: less(self.bytes), most, ..self }
    }

    /// Of the processor's memory, if the system says how much there is. The weights take `tensor_bytes` of it.
    pub(crate) fn of_processor(tensor_bytes: u64) -> Option<KvSpace> {
        let available = available()?;
        // Loading says it if the weights alone are too much.
        let free = available.saturating_sub(tensor_bytes).max(available / 8);
        let most = total().map(|total| MostMemory { total: total.saturating_sub(tensor_bytes), free });
        let why = "half of the memory that the weights leave";
        Some(KvSpace { bytes: free / 2, layer_bytes: u64::MAX, why, most })
    }
}

impl KvMemory {
    /// `max_rows`: prompt rows of a step, at most.
    ///
    /// # Errors
    /// The memory holds no sequence at all, or is more than the machine has.
    pub(crate) fn plan(
        &self,
        arch: &Architecture,
        kv_type: KvType,
        space: Option<KvSpace>,
        max_rows: usize,
    ) -> Result<KvPlan> {
        self.plan_with(arch, kv_type, space, max_rows, None)
    }

    /// As [`KvMemory::plan`], with room for the keys and values of a draft model.
    pub(crate) fn plan_with(
        &self,
        arch: &Architecture,
        kv_type: KvType,
        space: Option<KvSpace>,
        max_rows: usize,
        draft: Option<DraftPages>,
    ) -> Result<KvPlan> {
        let division = Division::new(arch, kv_type, max_rows, self.sequences.get()).with_draft(draft);
        let wanted = (self.sequences.get() as u64).saturating_mul(division.whole());
        let fits = |space: KvSpace| (division.fitting(&space), space.why);
        let (n_pages, why) = match (self.kv_memory, space.map(fits)) {
            (Some(bytes), _) => (division.fitting(&KvSpace::told(bytes)), "as told"),
            (None, Some((n, why))) if n < wanted => (n, why),
            (None, _) => (wanted, "for all sequences at full length"),
        };
        ensure!(
            n_pages > 0,
            "{} is not enough for keys and values: {} {}",
            shown(self.kv_memory.or(space.map(|space| space.bytes)).unwrap_or_default()),
            match division.pages(1).states {
                None => format!("a page of {PAGE_LEN} positions takes"),
                Some(_) => format!(
                    "the state of one sequence, a snapshot of it and a page of {PAGE_LEN} positions take"
                ),
            },
            shown(division.bytes(&division.pages(1).n_pages)),
        );
        if let (Some(bytes), Some(most)) = (self.kv_memory, space.and_then(|space| space.most)) {
            ensure!(
                bytes <= most.total,
                "`--kv-memory` asks for {}, but this machine has {} beside the model's weights: ask for at most \
                 {}, which is free now, or leave the option out",
                shown(bytes),
                shown(most.total),
                shown(most.free),
            );
        }
        // Slots are numbered by 32 bits.
        let n = n_pages.min(u64::from(u32::MAX) / PAGE_LEN as u64);
        let Pages { n_pages, states } = division.pages(n);
        let bytes = division.bytes(&n_pages);
        let n_pages: Vec<usize> = n_pages.into_iter().map(|n| n as usize).collect();
        let positions = pool_len(&arch.cache_groups, &n_pages);
        let is_state = |group: &CacheGroup| matches!(group.kind, CacheKind::State { .. });
        let longest = longest_sequence(&arch.cache_groups, &n_pages);
        let windows = arch.cache_groups.iter().zip(&n_pages).filter_map(|(group, n_pages)| {
            let n = n_pages * PAGE_LEN;
            group.window().filter(|_| n < positions && !is_state(group)).map(|window| (n, window))
        });
        Ok(KvPlan {
            windows: windows.collect(),
            positions,
            longest,
            states,
            has_positions: !arch.cache_groups.iter().all(is_state),
            n_sequences: self.sequences.get(),
            bytes,
            n_pages,
            why,
        })
    }
}

/// Bytes for people: whole bytes below 1 KiB, else one or two digits after the point.
pub(crate) fn shown(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    match units.into_iter().find(|(_, shift)| bytes >> shift > 0) {
        Some((unit, shift)) => {
            let n = bytes as f64 / (1_u64 << shift) as f64;
            if n < 10.0 { format!("{n:.2} {unit}") } else { format!("{n:.1} {unit}") }
        }
        None => format!("{bytes} bytes"),
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
pub(crate) fn available() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).as_deref().and_then(|text| meminfo(text, "MemAvailable:"));
    [machine.or_else(total_memory), own_group().map(|group| group.left)].into_iter().flatten().min()
}

/// Bytes that this process can have if no other process has any; `None` if the system does not say.
pub(crate) fn total() -> Option<u64> {
    let machine = read(Path::new("/proc/meminfo")).as_deref().and_then(|text| meminfo(text, "MemTotal:"));
    [machine.or_else(total_memory), own_group().map(|group| group.limit)].into_iter().flatten().min()
}

/// Bytes of memory that the machine has, whatever this process may have of them; `None` if the system does not say.
pub(crate) fn installed() -> Option<u64> {
    read(Path::new("/proc/meminfo")).as_deref().and_then(|text| meminfo(text, "MemTotal:"))
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// A line of `/proc/meminfo`, in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// Memory of control groups, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    limit: u64,
    /// The limit less what is in use and cannot be given back.
    left: u64,
}

fn own_group() -> Option<Group> {
    read(Path::new("/proc/self/cgroup")).and_then(|text| group(&text, &read))
}

/// The control groups of this process: version 2's `memory.max`, or version 1's limit, the tightest of each group up to the
/// root.
fn group(cgroup: &str, read: &dyn Fn(&Path) -> Option<String>) -> Option<Group> {
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
    let one = |group: &Path| {
        let file = |name: &str| read(&Path::new(folder).join(group).join(name));
        let number = |text: String| text.trim().parse::<u64>().ok();
        let limit = number(file(limit)?)?;
        let used = file(usage).and_then(number).unwrap_or(0);
        let stat = file("memory.stat").unwrap_or_default();
        let cached = stat.lines().filter_map(|line| match line.split_once(' ')? {
            ("active_file" | "inactive_file", n) => n.parse::<u64>().ok(),
            _ => None,
        });
        Some(Group { limit, left: limit.saturating_sub(used.saturating_sub(cached.sum())) })
    };
    own.ancestors()
        .filter_map(one)
        .reduce(|a, b| Group { limit: a.limit.min(b.limit), left: a.left.min(b.left) })
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
    use std::num::NonZero;

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
        assert_eq!(group("0::/a/b\n", &files), Some(Group { limit: 1000, left: 600 }));
        assert_eq!(group("3:cpu:/x\n2:memory:/x\n", &files), Some(Group { limit: 5000, left: 5000 }));
        assert_eq!(group("0::/\n", &files), None);
        let text = "MemTotal: 9 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(
            (meminfo(text, "MemAvailable:"), meminfo(text, "MemTotal:")),
            (Some(2 << 20), Some(9 << 10))
        );
    }

    #[test]
    fn the_default_is_what_is_needed_and_at_most_half_of_what_there_is() {
        let file = crate::load::open(&crate::cli::ModelFile::default()).unwrap();
        let arch = file.architecture(None).unwrap();
        let page = (arch.kv_bytes_per_position(KvType::F16) * PAGE_LEN) as u64;
        let needed = 4 * arch.context_len.div_ceil(PAGE_LEN);
        let plan = |kv_memory, available: Option<u64>| {
            let memory = KvMemory { sequences: std::num::NonZero::new(4).unwrap(), kv_memory };
            let space = available.map(|bytes| KvSpace {
                bytes: bytes / 2,
                layer_bytes: u64::MAX,
                why: "half",
                most: None,
            });
            memory.plan(&arch, KvType::F16, space, 512).map(|plan| (plan.n_pages[0], plan.bytes))
        };
        assert_eq!(plan(None, None).unwrap(), (needed, needed as u64 * page));
        assert_eq!(plan(None, Some(u64::MAX)).unwrap().0, needed);
        assert_eq!(plan(None, Some(20 * page)).unwrap().0, 10);
        assert_eq!(plan(Some(7 * page + 1), Some(page)).unwrap().0, 7);
        assert!(
            plan(Some(page - 1), None).unwrap_err().to_string().contains("not enough for keys and values")
        );
    }

    #[test]
    fn a_model_with_recurrent_layers_has_as_many_sequences_as_states_fit() {
        let arch = crate::load::open(&crate::cli::ModelFile::default()).unwrap().architecture(None).unwrap();
        let pages = CacheGroup::pages((0..10).collect(), [2, 256, 256], None);
        let states = CacheGroup::states((10..40).collect(), 1 << 19);
        let arch = Architecture { context_len: 32_768, cache_groups: vec![pages, states.clone()], ..arch };
        let memory = |gib: u64| KvMemory {
            sequences: std::num::NonZero::new(32).unwrap(),
            kv_memory: Some(gib << 30),
        };
        let plan = memory(2).plan(&arch, KvType::F16, None, 512).unwrap();
        let text = plan.to_string();
        assert!(
            text.contains("states of 11 sequences at once, not of 32") && text.contains("8 snapshots"),
            "{text}"
        );
        assert_eq!((plan.sequences_of(4096), plan.max_snapshots()), (plan.positions / 4096, Some(8)));
        let plan = memory(100).plan(&arch, KvType::F16, None, 512).unwrap();
        assert!(plan.to_string().contains("states of 32 sequences at once, "), "{plan}");
        let error = KvMemory { kv_memory: Some(1 << 20), ..memory(1) }.plan(&arch, KvType::F16, None, 512);
        assert!(error.unwrap_err().to_string().contains("the state of one sequence, a snapshot"));
        let mamba = Architecture { cache_groups: vec![states], ..arch };
        let text = memory(1).plan(&mamba, KvType::F16, None, 512).unwrap().to_string();
        assert!(text.starts_with("states of 13 sequences at once"), "{text}");
    }

    #[test]
    fn more_than_the_machine_has_is_refused_with_what_fits() {
        let arch = crate::load::open(&crate::cli::ModelFile::default()).unwrap().architecture(None).unwrap();
        let most = MostMemory { total: 20 << 30, free: 12 << 30 };
        let space = Some(KvSpace { bytes: 6 << 30, layer_bytes: u64::MAX, why: "half", most: Some(most) });
        let plan = |kv_memory: u64| {
            let memory = KvMemory { sequences: NonZero::<usize>::MIN, kv_memory: Some(kv_memory) };
            memory.plan(&arch, KvType::F16, space, 512)
        };
        // Others may give back what they have until it is needed.
        assert!(plan(20 << 30).is_ok());
        let refusal = plan(900 << 30).unwrap_err().to_string();
        for part in ["900.0 GiB", "20.0 GiB", "at most 12.0 GiB"] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn sizes_are_shown_in_the_unit_that_suits_them() {
        let sizes = [0, 1023, 1024, 3_670_016, 12 << 20, (3 << 30) + (1 << 29), 2 << 40];
        let expected = ["0 bytes", "1023 bytes", "1.00 KiB", "3.50 MiB", "12.0 MiB", "3.50 GiB", "2.00 TiB"];
        assert_eq!(sizes.map(shown), expected);
    }
}
