//! Who has which page of the KV pool: counts and ids, never a byte.
//!
//! ```text
//! held     by one sequence or more, in the prefix cache or not
//! cached   in the prefix cache and held by nobody: it may be evicted
//! free     neither
//! ```
//!
//! Every page is in one of the three states. A page id stands for one page in every cache group of the model.

use inferno_model::batch::PageId;

/// All pages of a KV pool.
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

    fn page(&mut self, id: PageId) -> &mut Page {
        &mut self.pages[id.0 as usize]
    }
}
