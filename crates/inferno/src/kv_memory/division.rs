//! Memory for keys and values, divided among cache groups.

use inferno_engine::{longest_sequence, pages_of_sequence};
use inferno_model::architecture::{Architecture, CacheGroup, CacheKind};
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;

use super::{DraftPages, KvSpace};

/// Tokens of the conversations that the division is made for: with shorter ones the groups with a window are full first,
/// with longer ones the others. Per conversation of a model with windows of 512 they need 18 pages and 128.
const CONVERSATION: usize = 4096;

/// Snapshots of the states of recurrent layers that are of use to a single sequence: of the ends of its last prompts and answers.
const SNAPSHOTS_FOR_ONE: u64 = 4;

/// The division of memory among cache groups, in the proportion in which conversations in the prefix cache need it: all
/// their pages, or with a window those that it takes to resume at their end. So groups are full at the same time. Of recurrent
/// layers there is a state for each of these conversations, up to the number of sequences, and beside them snapshots in a quarter
/// of all memory.
pub(super) struct Division {
    groups: Vec<Share>,
    /// Sequences that run at once.
    n_sequences: u64,
}

/// Pages of every cache group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) n_pages: Vec<u64>,
    /// Of those of recurrent layers, pages for the states of sequences, and for snapshots; `None` if there are none.
    pub(super) states: Option<States>,
}

/// Pages of recurrent layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct States {
    /// Sequences that have a state at the same time.
    pub(crate) live: u64,
    pub(crate) snapshots: u64,
}

/// A cache group's part.
struct Share {
    n_layers: u64,
    /// Of a page, in all layers.
    page_bytes: u64,
    /// Pages for a conversation.
    each: u64,
    /// Pages for a sequence of full length and, with a window, what it takes to resume where another has ended.
    whole: u64,
    /// Pages that a sequence holds if a step computes as many rows of it as a step may: fewer make steps short.
    least: u64,
    /// Pages for the rows of a step.
    step: u64,
    /// Whether a page is a state of recurrent layers.
    is_state: bool,
}

impl Division {
    /// `max_rows`: rows of a sequence in a step, at most; `n_sequences`: sequences that run at once.
    pub(super) fn new(arch: &Architecture, kv_type: KvType, max_rows: usize, n_sequences: usize) -> Division {
        let conversation = arch.context_len.min(CONVERSATION);
        let share = |group: &CacheGroup| {
            let least = pages_of_sequence(group, arch.context_len, max_rows);
            let is_state = matches!(group.kind, CacheKind::State { .. });
            let window = group.window().filter(|_| !is_state);
            let end = window.map_or(0, |window| window.div_ceil(PAGE_LEN));
            Share {
                n_layers: group.layers.len().max(1) as u64,
                page_bytes: group.page_bytes(kv_type) as u64,
                each: pages_of_sequence(group, conversation, PAGE_LEN) as u64,
                whole: (least + end).min(arch.context_len.div_ceil(PAGE_LEN)) as u64,
                least: least as u64,
                step: max_rows.div_ceil(PAGE_LEN) as u64,
                is_state,
            }
        };
        Division { groups: arch.cache_groups.iter().map(share).collect(), n_sequences: n_sequences as u64 }
    }

    /// The same with the keys and values of a draft model.
    pub(super) fn with_draft(mut self, draft: Option<DraftPages>) -> Division {
        if let Some(DraftPages { group, bytes }) = draft {
            let page_bytes = &mut self.groups[group].page_bytes;
            *page_bytes = page_bytes.saturating_add(bytes);
        }
        self
    }

    fn most_of(&self, number: impl Fn(&Share) -> u64) -> u64 {
        self.groups.iter().map(number).max().unwrap_or(0)
    }

    /// Pages for a sequence of full length, in the group where it needs the most.
    pub(super) fn whole(&self) -> u64 {
        self.most_of(|share| share.whole)
    }

    /// Pages of every group, if the one that needs the most has `n`.
    pub(super) fn pages(&self, n: u64) -> Pages {
        let most = self.most_of(|share| share.each).max(1);
        let scaled = |each: u64| (u128::from(n) * u128::from(each)).div_ceil(u128::from(most)) as u64;
        let pages = |share: &Share| (scaled(share.each) + share.step).max(share.least).min(n);
        self.with_states(n, scaled(1).min(self.n_sequences), u64::MAX, pages)
    }

    /// Pages of every group for one sequence with `n` pages in the group where it needs the most.
    fn pages_for_one(&self, n: u64) -> Pages {
        let mut pages = self.with_states(n, 1, SNAPSHOTS_FOR_ONE, |share| share.whole.min(n));
        // A state more while a step verifies drafts.
        let states =
            self.groups.iter().zip(&mut pages.n_pages).filter(|(share, n)| share.is_state && **n > 0);
        states.for_each(|(_, n)| *n += 1);
        pages
    }

    /// As many pages as `pages` says where they have keys and values, and states of `live` sequences with up to `most` snapshots;
    /// `n` is the number of pages in the group that needs the most.
    fn with_states(&self, n: u64, live: u64, most: u64, pages: impl Fn(&Share) -> u64) -> Pages {
        let mut n_pages: Vec<u64> =
            self.groups.iter().map(|share| if share.is_state { live } else { pages(share) }).collect();
        let state_bytes: u64 = self.groups.iter().filter(|s| s.is_state).map(|s| s.page_bytes).sum();
        let mut states = None;
        if state_bytes > 0 && live > 0 {
            // A quarter of all is a third of the others. One makes the prefix cache work, and each has pages of its own where
            // there are keys and values.
            let fitting = self.bytes(&n_pages) / (3 * state_bytes);
            let has_pages = self.groups.iter().any(|share| !share.is_state);
            let snapshots = fitting.clamp(1, if has_pages { n.max(1) } else { u64::MAX }).min(most);
            self.groups
                .iter()
                .zip(&mut n_pages)
                .filter(|(s, _)| s.is_state)
                .for_each(|(_, n)| *n += snapshots);
            states = Some(States { live, snapshots });
        }
        Pages { n_pages, states }
    }

    /// Bytes of `n_pages` pages in the groups.
    pub(super) fn bytes(&self, n_pages: &[u64]) -> u64 {
        let bytes = n_pages.iter().zip(&self.groups).map(|(n, share)| n.saturating_mul(share.page_bytes));
        bytes.fold(0, u64::saturating_add)
    }

    /// The most pages that fit, in the group that needs the most, where the groups have `pages`.
    fn most(&self, space: &KvSpace, pages: impl Fn(u64) -> Pages) -> u64 {
        let fits = |n: u64| {
            let Pages { n_pages, .. } = pages(n);
            let each_fits = |(n, share): (&u64, &Share)| {
                n.saturating_mul(share.page_bytes) / share.n_layers <= space.layer_bytes
            };
            self.bytes(&n_pages) <= space.bytes && n_pages.iter().zip(&self.groups).all(each_fits)
        };
        let (mut most, mut too_many) = (0, space.bytes.saturating_add(1));
        while too_many - most > 1 {
            let n = most + (too_many - most) / 2;
            *(if fits(n) { &mut most } else { &mut too_many }) = n;
        }
        most
    }

    /// The most pages that fit, in the group that needs the most.
    pub(super) fn fitting(&self, space: &KvSpace) -> u64 {
        self.most(space, |n| self.pages(n))
    }
}

/// Pages of every cache group for one sequence of full length, of which a step computes up to `max_rows` rows, and the number of
/// snapshots among those of recurrent layers.
pub(crate) fn pages_for_one(
    arch: &Architecture,
    kv_type: KvType,
    max_rows: usize,
) -> (Vec<usize>, Option<usize>) {
    let division = Division::new(arch, kv_type, max_rows, 1);
    let Pages { n_pages, states } = division.pages_for_one(division.whole());
    (n_pages.into_iter().map(|n| n as usize).collect(), states.map(|states| states.snapshots as usize))
}

/// The longest context of one sequence whose keys and values have memory.
pub(crate) fn context_that_fits(
    arch: &Architecture,
    kv_type: KvType,
    max_rows: usize,
    space: &KvSpace,
) -> usize {
    let division = Division::new(arch, kv_type, max_rows, 1);
    let n = division.most(space, |n| division.pages_for_one(n));
    let n_pages: Vec<usize> = division.pages_for_one(n).n_pages.into_iter().map(|n| n as usize).collect();
    longest_sequence(&arch.cache_groups, &n_pages).min(arch.context_len)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four layers that see all positions, and twenty-two with a window of 512.
    fn arch(context_len: usize) -> Architecture {
        let arch = crate::load::open(&crate::cli::ModelFile::default()).unwrap().architecture(None).unwrap();
        let group = |layers: std::ops::Range<usize>, window| {
            CacheGroup::pages(layers.collect(), [1, 256, 256], window)
        };
        let cache_groups = vec![group(0..22, Some(512)), group(22..26, None)];
        Architecture { context_len, cache_groups, ..arch }
    }

    fn space(bytes: u64) -> KvSpace {
        KvSpace { bytes, layer_bytes: u64::MAX, why: "half", most: None }
    }

    /// A layer's page in half precision.
    const PAGE: u64 = 32 * 2 * 256 * 2;

    fn pages(division: &Division, n: u64) -> Vec<u64> {
        division.pages(n).n_pages
    }

    #[test]
    fn groups_get_what_conversations_need_in_each() {
        let division = Division::new(&arch(32_768), KvType::F16, 512, 32);
        assert_eq!(division.whole(), 1024);
        assert_eq!(pages(&division, 1280), [196, 1280]);
        assert_eq!(division.bytes(&pages(&division, 1280)), (196 * 22 + 1280 * 4) * PAGE);
        // At least as many as a step of one sequence may need, where there are as many at all.
        assert_eq!(pages(&division, 128), [34, 128]);
        assert_eq!(pages(&division, 20), [20, 20]);
        for n in [1, 7, 33, 1000, 50_000] {
            let bytes = division.bytes(&pages(&division, n));
            assert_eq!(division.fitting(&space(bytes)), n);
            assert_eq!(division.fitting(&space(bytes - 1)), n - 1);
        }
        let tight = KvSpace { layer_bytes: 500 * PAGE, ..space(u64::MAX / 2) };
        assert_eq!(division.fitting(&tight), 500, "no layer takes more than a device lets it");
    }

    #[test]
    fn a_short_context_takes_as_many_pages_in_every_group() {
        let division = Division::new(&arch(512), KvType::F16, 512, 32);
        assert_eq!(pages(&division, 100), [100, 100]);
    }

    #[test]
    fn one_sequence_has_its_window_twice_and_what_a_step_writes() {
        let arch = arch(32_768);
        // 16 pages to see, 17 or 5 to write, 16 to resume.
        assert_eq!(pages_for_one(&arch, KvType::F16, 512), (vec![49, 1024], None));
        assert_eq!(pages_for_one(&arch, KvType::F16, 128), (vec![37, 1024], None));
        let fits = |bytes| context_that_fits(&arch, KvType::F16, 128, &space(bytes));
        assert_eq!(fits((37 * 22 + 1024 * 4) * PAGE), 32_768);
        assert_eq!(fits((37 * 22 + 1000 * 4) * PAGE), 32_000);
        assert_eq!(fits(10 * 26 * PAGE), 320);
    }

    /// Ten layers that see all positions, and thirty recurrent ones with states of 2 MiB.
    fn recurrent(context_len: usize) -> Architecture {
        let pages = CacheGroup::pages((0..10).collect(), [2, 256, 256], None);
        let states = CacheGroup::states((10..40).collect(), 1 << 19);
        Architecture { cache_groups: vec![pages, states], ..arch(context_len) }
    }

    const STATE: u64 = 30 << 21;

    #[test]
    fn recurrent_layers_have_a_state_for_each_sequence_and_snapshots_in_a_quarter_of_the_memory() {
        let division = Division::new(&recurrent(32_768), KvType::F16, 512, 32);
        let all = division.pages(32 * 1024);
        let States { live, snapshots } = all.states.unwrap();
        assert_eq!((all.n_pages[0], live, all.n_pages[1]), (32 * 1024, 32, live + snapshots));
        let bytes = division.bytes(&all.n_pages);
        assert!(snapshots * STATE <= bytes / 4 && (snapshots + 1) * STATE > bytes / 4);
        // Less memory: fewer sequences, one for every 4,096 tokens.
        let n = division.fitting(&space(4 << 30));
        let some = division.pages(n);
        let States { live, snapshots } = some.states.unwrap();
        assert!((10..30).contains(&live) && live == n.div_ceil(128), "{n} pages and {live} states");
        assert!(division.bytes(&some.n_pages) <= 4 << 30 && snapshots * STATE <= 1 << 30);
        // The least: a sequence and a snapshot.
        let least = division.pages(1);
        assert_eq!((least.n_pages, least.states.unwrap().live), (vec![1, 2], 1));
        assert_eq!(division.fitting(&space(2 * STATE)), 0);
        assert_eq!(division.pages(0).states, None);
    }

    #[test]
    fn one_sequence_has_a_state_and_a_few_snapshots() {
        let (n_pages, snapshots) = pages_for_one(&recurrent(32_768), KvType::F16, 512);
        assert_eq!((n_pages, snapshots), (vec![1024, 5], Some(3)));
        assert_eq!(pages_for_one(&recurrent(64), KvType::F16, 512), (vec![2, 3], Some(1)));
        let states = CacheGroup::states((0..40).collect(), 1 << 19);
        let mamba = Architecture { cache_groups: vec![states], ..arch(32_768) };
        assert_eq!(pages_for_one(&mamba, KvType::F16, 512), (vec![3], Some(1)));
        let division = Division::new(&mamba, KvType::F16, 512, 32);
        assert_eq!(division.whole(), 1);
        assert_eq!((pages(&division, 32), division.pages(32).states.unwrap().live), (vec![42], 32));
    }
}
