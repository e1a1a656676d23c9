//! Cache groups as the engine counts them: what of a sequence's past a group keeps.
//!
//! ```text
//! pages       0   1   2   3   4   5   6
//! no window   [------- held -------|new)      all of them
//! window                  [- held -|new)      those that the next row sees, and those to resume at the last page boundary
//!             [- released )
//! ```

use inferno_model::architecture::CacheGroup;
use inferno_model::batch::PAGE_LEN;

/// The part of a sequence's past that a cache group keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pages of keys and values. A row sees `window` positions, itself included, or all.
    Pages { window: Option<usize> },
}

impl Kind {
    pub(crate) fn of(group: &CacheGroup) -> Kind {
        // Even a row that sees itself only keeps the page before it: so the tree's path to a sequence stays.
        Kind::Pages { window: group.window().map(|window| window.max(2)) }
    }

    /// Is every page of a sequence needed as long as it runs?
    pub(crate) fn keeps_all(self) -> bool {
        let Kind::Pages { window } = self;
        window.is_none()
    }

    /// The first page that is needed to compute a row at `position`.
    pub(crate) fn first_page(self, position: usize) -> usize {
        let Kind::Pages { window } = self;
        window.map_or(0, |window| (position + 1).saturating_sub(window) / PAGE_LEN)
    }

    /// The first page that a sequence holds whose first `n_computed` positions are computed. It could resume at the last
    /// page boundary, which is where a prompt that continues it will.
    pub(crate) fn first_held(self, n_computed: usize) -> usize {
        self.first_page(n_computed / PAGE_LEN * PAGE_LEN)
    }

    /// Pages that a sequence holds at the same time, at most, while positions `start..end` are computed in steps of up to
    /// `max_rows` rows.
    pub(crate) fn most_pages(self, start: usize, end: usize, max_rows: usize) -> usize {
        let all = end.div_ceil(PAGE_LEN) - self.first_held(start);
        let Kind::Pages { window } = self;
        window.map_or(all, |window| {
            // A step may begin at the end of a page.
            all.min((window - 1).div_ceil(PAGE_LEN) + (PAGE_LEN - 1 + max_rows).div_ceil(PAGE_LEN))
        })
    }

    /// Positions of the longest sequence that `n_pages` suffice for, computed in steps as short as need be.
    fn longest(self, n_pages: usize) -> usize {
        let Kind::Pages { window } = self;
        match window {
            Some(window) if n_pages > (window - 1).div_ceil(PAGE_LEN) => usize::MAX,
            _ => n_pages.saturating_mul(PAGE_LEN),
        }
    }
}

/// A cache group of a KV pool, for a look inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvGroup {
    /// Positions that a row sees in layers of the group; `None` if all.
    pub window: Option<usize>,
    /// Pages of the group.
    pub n_pages: usize,
}

/// Positions of the longest sequence that fits pools of `n_pages` pages in the cache groups; `usize::MAX` if any does, as
/// all groups have windows.
pub fn longest_sequence(groups: &[CacheGroup], n_pages: &[usize]) -> usize {
    let each = groups.iter().zip(n_pages).map(|(group, &n_pages)| Kind::of(group).longest(n_pages));
    each.min().unwrap_or(usize::MAX)
}

/// Positions that pools of `n_pages` pages in the cache groups have room for: counted where no window is, if there is such
/// a group, as a sequence needs few pages behind a window.
pub fn pool_len(groups: &[CacheGroup], n_pages: &[usize]) -> usize {
    let keep_all = || groups.iter().zip(n_pages).filter(|(group, _)| Kind::of(group).keeps_all());
    let n_pages = keep_all().map(|(_, n_pages)| n_pages).min().or(n_pages.iter().min());
    n_pages.map_or(0, |n_pages| n_pages.saturating_mul(PAGE_LEN))
}

/// Pages that a sequence of `len` positions holds in a cache group, at most, if steps compute up to `max_rows` of its rows.
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
    fn a_window_that_fits_the_pool_makes_any_length_fit() {
        let group = |window| CacheGroup::pages(Vec::new(), [1, 1, 1], window);
        assert_eq!(longest_sequence(&[group(None)], &[5]), 160);
        assert_eq!(longest_sequence(&[group(Some(40))], &[2]), 64);
        assert_eq!(longest_sequence(&[group(Some(40))], &[3]), usize::MAX);
        assert_eq!(longest_sequence(&[group(Some(40)), group(None)], &[3, 9]), 288);
    }
}
