//! Cache groups as the engine counts them: what of a sequence's past a group keeps.
//!
//! ```text
//! pages       0   1   2   3   4   5   6
//! no window   [------- held -------|new)      all of them
//! window                  [- held -|new)      those that the next row sees, and those to resume at the last page boundary
//!             [- released )
//! state                       [S][ live )     the state, which steps update in place, and a snapshot of it at the last boundary
//! ```

use inferno_model::architecture::{CacheGroup, CacheKind};
use inferno_model::batch::PAGE_LEN;

/// The part of a sequence's past that a cache group keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pages of keys and values. A row sees `window` positions, itself included, or all.
    Pages { window: Option<usize> },
    /// States of recurrent layers: one that steps update in place, and snapshots of it at page boundaries, each a page.
    States,
}

impl Kind {
    pub(crate) fn of(group: &CacheGroup) -> Kind {
        match group.kind {
            CacheKind::State { .. } => Kind::States,
            // Even a row that sees itself only keeps the page before it: so the tree's path to a sequence stays.
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => {
                Kind::Pages { window: group.window().map(|window| window.max(2)) }
            }
        }
    }

    /// Positions that a row sees, itself included, or all; of a state the one before.
    fn window(self) -> Option<usize> {
        match self {
            Kind::Pages { window } => window,
            Kind::States => Some(2),
        }
    }

    pub(crate) fn is_states(self) -> bool {
        self == Kind::States
    }

    /// Is every page of a sequence needed as long as it runs?
    pub(crate) fn keeps_all(self) -> bool {
        self.window().is_none()
    }

    /// The first page that is needed to compute a row at `position`.
    pub(crate) fn first_page(self, position: usize) -> usize {
        self.window().map_or(0, |window| (position + 1).saturating_sub(window) / PAGE_LEN)
    }

    /// The first page that a sequence holds whose first `n_computed` positions are computed. It could resume at the last
    /// page boundary, which is where a prompt that continues it will.
    pub(crate) fn first_held(self, n_computed: usize) -> usize {
        self.first_page(n_computed / PAGE_LEN * PAGE_LEN)
    }

    /// Pages that a sequence needs at the same time, at most, while positions `start..end` are computed in steps of up to
    /// `max_rows` rows. Of a recurrent layer: its state, beside the snapshot from which it goes on.
    pub(crate) fn most_pages(self, start: usize, end: usize, max_rows: usize) -> usize {
        match self {
            Kind::States => 1 + usize::from(start > 0),
            Kind::Pages { window } => {
                let all = end.div_ceil(PAGE_LEN) - self.first_held(start);
                window.map_or(all, |window| {
                    // A step may begin at the end of a page.
                    all.min((window - 1).div_ceil(PAGE_LEN) + (PAGE_LEN - 1 + max_rows).div_ceil(PAGE_LEN))
                })
            }
        }
    }

    /// The position up to which `n_pages` suffice for a sequence whose first `n_computed` positions are computed, if a step
    /// computes all that follow.
    pub(crate) fn reach(self, n_computed: usize, n_pages: usize) -> usize {
        match self {
            Kind::Pages { .. } => (self.first_held(n_computed) + n_pages) * PAGE_LEN,
            Kind::States => usize::MAX,
        }
    }

    /// Positions of the longest sequence that `n_pages` suffice for, computed in steps as short as need be.
    fn longest(self, n_pages: usize) -> usize {
        match self {
            Kind::Pages { window: Some(window) } if n_pages > (window - 1).div_ceil(PAGE_LEN) => usize::MAX,
            Kind::Pages { .. } => n_pages.saturating_mul(PAGE_LEN),
            Kind::States if n_pages > 0 => usize::MAX,
            Kind::States => 0,
        }
    }
}

/// A cache group of a KV pool, for a look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvGroup {
    /// Positions that a row sees in layers of the group; `None` if all, and for recurrent layers.
    pub window: Option<usize>,
    /// Whether pages are states of recurrent layers: of sequences, and snapshots in the prefix cache.
    pub is_state: bool,
    /// Pages of the group.
    pub n_pages: usize,
}

/// Positions of the longest sequence that fits pools of `n_pages` pages in the cache groups; `usize::MAX` if any does, as
/// all groups have windows.
pub fn longest_sequence(groups: &[CacheGroup], n_pages: &[usize]) -> usize {
    let each = groups.iter().zip(n_pages).map(|(group, &n_pages)| Kind::of(group).longest(n_pages));
    each.min().unwrap_or(usize::MAX)
}

impl KvGroup {
    pub(crate) fn new(group: &CacheGroup, n_pages: usize) -> KvGroup {
        let is_state = Kind::of(group).is_states();
        KvGroup { window: group.window().filter(|_| !is_state), is_state, n_pages }
    }
}

/// Snapshots of states that a pool of `n_pages` pages keeps by default: a quarter of it.
pub(crate) fn snapshots_by_default(n_pages: usize) -> usize {
    n_pages.div_ceil(4)
}

/// Positions that pools of `n_pages` pages in the cache groups have room for: counted where no window is, if there is such
/// a group, as a sequence needs few pages behind a window, and one state however long it is.
pub fn pool_len(groups: &[CacheGroup], n_pages: &[usize]) -> usize {
    let least = |is_meant: fn(Kind) -> bool| {
        let meant = groups.iter().zip(n_pages).filter(|(group, _)| is_meant(Kind::of(group)));
        meant.map(|(_, &n_pages)| n_pages).min()
    };
    let n_pages = least(Kind::keeps_all).or_else(|| least(|kind| !kind.is_states()));
    n_pages.or_else(|| least(Kind::is_states)).map_or(0, |n_pages| n_pages.saturating_mul(PAGE_LEN))
}

/// Pages that a sequence of `len` positions holds in a cache group, at most, if steps compute up to `max_rows` of its rows. Of
/// recurrent layers that is one, the state.
pub fn pages_of_sequence(group: &CacheGroup, len: usize, max_rows: usize) -> usize {
    Kind::of(group).most_pages(0, len, max_rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_holds_what_the_next_row_sees_and_what_it_takes_to_resume_at_the_last_page() {
        let kind = |window| Kind::of(&CacheGroup::pages(Vec::new(), [1, 1, 1], window));
        assert_eq!((kind(None).first_held(1000), kind(None).most_pages(64, 1000, 8)), (0, 32));
        for window in [1, 2, 31, 32, 33, 34, 40, 64, 65, 100] {
            let kind = kind(Some(window));
            for max_rows in [1, 5, 32, 33, 70] {
                for n_computed in 0..300 {
                    let first = kind.first_held(n_computed);
                    assert!(first * PAGE_LEN <= (n_computed + 1).saturating_sub(window), "the next row's");
                    let boundary = n_computed / PAGE_LEN * PAGE_LEN;
                    assert!(first * PAGE_LEN <= (boundary + 1).saturating_sub(window), "the first new row's");
                    assert!(
                        (first + 1) * PAGE_LEN > (boundary + 1).saturating_sub(window.max(2)),
                        "not more"
                    );
                    let held = (n_computed + max_rows).div_ceil(PAGE_LEN) - first;
                    assert!(held <= kind.most_pages(0, 1000, max_rows), "{window} {max_rows} {n_computed}");
                }
            }
        }
    }

    #[test]
    fn a_sequence_has_one_state_and_one_that_it_continues() {
        let group = CacheGroup::states(Vec::new(), 8);
        let kind = Kind::of(&group);
        assert_eq!((pages_of_sequence(&group, 10_000, 512), kind.most_pages(64, 10_000, 512)), (1, 2));
        assert_eq!([0, 1, 31, 32, 33, 64, 70].map(|n| kind.first_held(n)), [0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((longest_sequence(&[group], &[1]), kind.reach(1000, 1)), (usize::MAX, usize::MAX));
    }

    #[test]
    fn a_window_that_fits_the_pool_makes_any_length_fit() {
        let group = |window| CacheGroup::pages(Vec::new(), [1, 1, 1], window);
        assert_eq!(longest_sequence(&[group(None)], &[5]), 160);
        assert_eq!(longest_sequence(&[group(Some(40))], &[2]), 64);
        assert_eq!(longest_sequence(&[group(Some(40))], &[3]), usize::MAX);
        assert_eq!(longest_sequence(&[group(Some(40)), group(None)], &[3, 9]), 288);
    }
}
