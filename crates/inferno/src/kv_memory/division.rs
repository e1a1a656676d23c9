//! Memory for keys and values, divided among cache groups.

use inferno_engine::{longest_sequence, pages_of_sequence};
use inferno_model::architecture::{Architecture, CacheGroup};
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;

use super::KvSpace;

/// Tokens of the conversations that the division is made for: with shorter ones the groups with a window are full first,
/// with longer ones the others. Per conversation of a model with windows of 512 they need 18 pages and 128.
const CONVERSATION: usize = 4096;

/// The division of memory among cache groups, in the proportion in which conversations in the prefix cache need it: all
/// their pages, or with a window those that it takes to resume at their end. So groups are full at the same time.
pub(super) struct Division {
    groups: Vec<Share>,
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
}

impl Division {
    /// `max_rows`: rows of a sequence in a step, at most.
    pub(super) fn new(arch: &Architecture, kv_type: KvType, max_rows: usize) -> Division {
        let conversation = arch.context_len.min(CONVERSATION);
        let share = |group: &CacheGroup| {
            let least = pages_of_sequence(group, arch.context_len, max_rows);
            let end = group.window().map_or(0, |window| window.div_ceil(PAGE_LEN));
            Share {
                n_layers: group.layers.len().max(1) as u64,
                page_bytes: group.page_bytes(kv_type) as u64,
                each: pages_of_sequence(group, conversation, PAGE_LEN) as u64,
                whole: (least + end).min(arch.context_len.div_ceil(PAGE_LEN)) as u64,
                least: least as u64,
                step: max_rows.div_ceil(PAGE_LEN) as u64,
            }
        };
        Division { groups: arch.cache_groups.iter().map(share).collect() }
    }

    /// Pages for a sequence of full length, in the group where it needs the most.
    pub(super) fn whole(&self) -> u64 {
        self.groups.iter().map(|share| share.whole).max().unwrap_or(0)
    }

    /// Pages of every group, if the one that needs the most has `n`.
    pub(super) fn pages(&self, n: u64) -> impl Iterator<Item = u64> {
        let most = self.groups.iter().map(|share| share.each).max().unwrap_or(1).max(1);
        self.groups.iter().map(move |share| {
            let pages = u128::from(n) * u128::from(share.each);
            (pages.div_ceil(u128::from(most)) as u64 + share.step).max(share.least).min(n)
        })
    }

    /// Pages of every group for one sequence with `n` pages in the group where it needs the most.
    fn pages_for_one(&self, n: u64) -> impl Iterator<Item = u64> {
        self.groups.iter().map(move |share| share.whole.min(n))
    }

    /// Bytes of `n_pages` pages in the groups.
    pub(super) fn bytes(&self, n_pages: impl Iterator<Item = u64>) -> u64 {
        let bytes = n_pages.zip(&self.groups).map(|(n, share)| n.saturating_mul(share.page_bytes));
        bytes.fold(0, u64::saturating_add)
    }

    /// The most pages that fit, in the group that needs the most, where the groups have `pages`.
    fn most<P: Iterator<Item = u64>>(&self, space: &KvSpace, pages: impl Fn(u64) -> P) -> u64 {
        let fits = |n: u64| {
            let each_fits = |(n, share): (u64, &Share)| {
                n.saturating_mul(share.page_bytes) / share.n_layers <= space.layer_bytes
            };
            self.bytes(pages(n)) <= space.bytes && pages(n).zip(&self.groups).all(each_fits)
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

/// Pages of every cache group for one sequence of full length, of which a step computes up to `max_rows` rows.
pub(crate) fn pages_for_one(arch: &Architecture, max_rows: usize) -> Vec<usize> {
    let division = Division::new(arch, KvType::F32, max_rows);
    division.pages_for_one(u64::MAX).map(|n| n as usize).collect()
}

/// The longest context of one sequence whose keys and values have memory.
pub(crate) fn context_that_fits(
    arch: &Architecture,
    kv_type: KvType,
    max_rows: usize,
    space: &KvSpace,
) -> usize {
    let division = Division::new(arch, kv_type, max_rows);
    let n = division.most(space, |n| division.pages_for_one(n));
    let n_pages: Vec<usize> = division.pages_for_one(n).map(|n| n as usize).collect();
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
        division.pages(n).collect()
    }

    #[test]
    fn groups_get_what_conversations_need_in_each() {
        let division = Division::new(&arch(32_768), KvType::F16, 512);
        assert_eq!(division.whole(), 1024);
        assert_eq!(pages(&division, 1280), [196, 1280]);
        assert_eq!(division.bytes(division.pages(1280)), (196 * 22 + 1280 * 4) * PAGE);
        // At least as many as a step of one sequence may need, where there are as many at all.
        assert_eq!(pages(&division, 128), [34, 128]);
        assert_eq!(pages(&division, 20), [20, 20]);
        for n in [1, 7, 33, 1000, 50_000] {
            let bytes = division.bytes(division.pages(n));
            assert_eq!(division.fitting(&space(bytes)), n);
            assert_eq!(division.fitting(&space(bytes - 1)), n - 1);
        }
        let tight = KvSpace { layer_bytes: 500 * PAGE, ..space(u64::MAX / 2) };
        assert_eq!(division.fitting(&tight), 500, "no layer takes more than a device lets it");
    }

    #[test]
    fn a_short_context_takes_as_many_pages_in_every_group() {
        let division = Division::new(&arch(512), KvType::F16, 512);
        assert_eq!(pages(&division, 100), [100, 100]);
    }

    #[test]
    fn one_sequence_has_its_window_twice_and_what_a_step_writes() {
        let arch = arch(32_768);
        // 16 pages to see, 17 or 5 to write, 16 to resume.
        assert_eq!(pages_for_one(&arch, 512), [49, 1024]);
        assert_eq!(pages_for_one(&arch, 128), [37, 1024]);
        let fits = |bytes| context_that_fits(&arch, KvType::F16, 128, &space(bytes));
        assert_eq!(fits((37 * 22 + 1024 * 4) * PAGE), 32_768);
        assert_eq!(fits((37 * 22 + 1000 * 4) * PAGE), 32_000);
        assert_eq!(fits(10 * 26 * PAGE), 320);
    }
}
