//! The holders of a cache group's pages: counts and ids, never a byte.
//!
//! ```text
//! held     by one sequence or more, in the prefix cache or not
//! cached   in the prefix cache and held by nobody: it may be evicted
//! free     neither
//! ```
//!
//! Every page is in one of the three states. Each cache group of the model has pages of its own.

use inferno_model::batch::{PAGE_LEN, PageId, PageTable};

/// All pages of a cache group.
#[derive(Debug)]
pub(crate) struct Pages {
    pages: Vec<Page>,
    free: Vec<PageId>,
    n_cached: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Page {
    /// Sequences that hold it.
    n_holders: u32,
    /// Is it in the prefix cache?
    in_cache: bool,
}

/// How many pages are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PageCounts {
    /// Neither held nor cached.
    pub free: usize,
    /// In the prefix cache and held by nobody.
    pub cached: usize,
    /// Held by a sequence.
    pub held: usize,
}

/// A sequence's pages in one cache group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Table {
    /// `pages[0]` holds positions `first_page * PAGE_LEN ..`; earlier pages have been released.
    pub(crate) first_page: usize,
    pub(crate) pages: Vec<PageId>,
    /// In a group of states: the page of all later positions, which steps update in place. `pages` are snapshots then, the
    /// last of which it goes on from.
    pub(crate) live: Option<PageId>,
    /// In a group of states, during a step with rows that may turn out wrong: the page that gets the state after them, while the one
    /// before them stays.
    pub(crate) spare: Option<PageId>,
    /// Pages kept for the sequence beyond those it has; 0 unless it is pinned.
    pub(crate) n_reserved: usize,
}

impl Table {
    /// Positions that have a page: up to the end of the last page, or any with a live state.
    pub(crate) fn len(&self) -> usize {
        self.live.map_or(self.end_page() * PAGE_LEN, |_| usize::MAX)
    }

    /// The number of the page after `pages`.
    fn end_page(&self) -> usize {
        self.first_page + self.pages.len()
    }

    /// Whether page number `number` is one of `pages`.
    pub(crate) fn has(&self, number: usize) -> bool {
        (self.first_page..self.end_page()).contains(&number)
    }

    /// Pages that it holds.
    pub(crate) fn held(&self) -> impl Iterator<Item = PageId> {
        self.pages.iter().copied().chain(self.live).chain(self.spare)
    }

    /// The live state becomes page number `number`, and `next` the live state.
    pub(crate) fn keep_live(&mut self, number: usize, next: Option<PageId>) {
        let live = std::mem::replace(&mut self.live, next).expect("a sequence that has computed has a state");
        if self.pages.is_empty() {
            self.first_page = number;
        }
        assert_eq!(self.end_page(), number, "snapshots follow each other");
        self.pages.push(live);
    }

    pub(crate) fn view(&self) -> PageTable<'_> {
        PageTable { first_page: self.first_page, pages: &self.pages }
    }

    /// Appends the pages with the states that rows `start..end` take: the state before the first one, and those they write.
    /// Returns the number of the first.
    pub(crate) fn states(&self, start: usize, end: usize, out: &mut Vec<PageId>) -> usize {
        let first = start.saturating_sub(1) / PAGE_LEN;
        out.extend((first..end.div_ceil(PAGE_LEN)).map(|number| match self.has(number) {
            true => self.pages[number - self.first_page],
            false => self.live.expect("rows that are planned have a state to update"),
        }));
        first
    }
}

impl PageCounts {
    /// All pages.
    pub fn total(&self) -> usize {
        self.free + self.cached + self.held
    }
}

impl std::iter::Sum for PageCounts {
    fn sum<I: Iterator<Item = PageCounts>>(all: I) -> PageCounts {
        all.fold(PageCounts::default(), |a, b| PageCounts {
            free: a.free + b.free,
            cached: a.cached + b.cached,
            held: a.held + b.held,
        })
    }
}

impl Pages {
    pub(crate) fn new(n_pages: usize) -> Pages {
        // The last is given out first.
        let free = (0..n_pages as u32).rev().map(PageId).collect();
        Pages { pages: vec![Page::default(); n_pages], free, n_cached: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn counts(&self) -> PageCounts {
        let (free, cached) = (self.free.len(), self.n_cached);
        PageCounts { free, cached, held: self.len() - free - cached }
    }

    /// A free page, held once.
    pub(crate) fn take(&mut self) -> Option<PageId> {
        let page = self.free.pop()?;
        self.page(page).n_holders = 1;
        Some(page)
    }

    /// One holder more; was it held by nobody before?
    pub(crate) fn hold(&mut self, id: PageId) -> bool {
        let page = self.page(id);
        page.n_holders += 1;
        let first = page.n_holders == 1;
        if first {
            assert!(page.in_cache, "a page nobody held is cached");
            self.n_cached -= 1;
        }
        first
    }

    /// One holder less; is it held by nobody now?
    pub(crate) fn release(&mut self, id: PageId) -> bool {
        let page = self.page(id);
        page.n_holders = page.n_holders.checked_sub(1).expect("a page that is released was held");
        let last = page.n_holders == 0;
        match (last, page.in_cache) {
            (true, true) => self.n_cached += 1,
            (true, false) => self.free.push(id),
            (false, _) => {}
        }
        last
    }

    /// The prefix cache takes a page that is held.
    pub(crate) fn enter_cache(&mut self, id: PageId) {
        let page = self.page(id);
        assert!(page.n_holders > 0 && !page.in_cache, "a page enters the cache once, by who holds it");
        page.in_cache = true;
    }

    /// The prefix cache gives up a page that nobody holds.
    pub(crate) fn leave_cache(&mut self, id: PageId) {
        let page = self.page(id);
        assert!(page.n_holders == 0 && page.in_cache, "only what is cached can be evicted");
        page.in_cache = false;
        self.n_cached -= 1;
        self.free.push(id);
    }

    pub(crate) fn is_held(&self, id: PageId) -> bool {
        self.pages[id.0 as usize].n_holders > 0
    }

    /// Holders of every page, for checks.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> Vec<u32> {
        self.pages.iter().map(|p| p.n_holders).collect()
    }

    #[cfg(test)]
    pub(crate) fn free_pages(&self) -> &[PageId] {
        &self.free
    }

    fn page(&mut self, id: PageId) -> &mut Page {
        &mut self.pages[id.0 as usize]
    }
}
