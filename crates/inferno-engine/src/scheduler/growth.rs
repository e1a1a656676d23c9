//! Pages of sequences that run: how many they need, whose they are, and when they are given back.

use inferno_model::batch::{PAGE_LEN, PageId};

use super::states::MOST_ONCE_MORE;
use super::{Plan, PlanSpan, Scheduler};
use crate::cache::Worth;
use crate::forecast::Pool;
use crate::group::Kind;
use crate::request::SeqId;

impl Scheduler {
    /// Pages of a group that a sequence holds at the same time, at most, while its positions `start..end` are computed. No
    /// more than there are: see [`Scheduler::most_rows`].
    pub(super) fn most_pages(&self, group: usize, start: usize, end: usize) -> usize {
        let once_more = if self.has_states { MOST_ONCE_MORE } else { 0 };
        let most_rows = self.limits.max_rows.max(self.limits.max_logits + 1 + once_more).max(PAGE_LEN);
        self.cache.kind(group).most_pages(start, end, most_rows).min(self.cache.n_pages(group))
    }

    /// Rows that a step may have of a sequence that goes on from `start`, so that it fits alone.
    pub(super) fn most_rows(&self, start: usize) -> usize {
        let groups = 0..self.cache.n_groups();
        let end = groups.map(|group| self.cache.kind(group).reach(start, self.cache.n_pages(group)));
        end.min().map_or(0, |end| end - start)
    }

    /// Pages for `len` positions. Those after it in rank give theirs up if need be; if that is not enough, it is preempted
    /// itself, and the answer is no.
    pub(super) fn grow(&mut self, id: SeqId, len: usize, plan: &Plan) -> bool {
        for group in 0..self.cache.n_groups() {
            while self.sequences[&id].tables[group].len() < len {
                if self.take_page(id, group) {
                    continue;
                }
                let victim = self.running.iter().rev().take_while(|other| **other != id).copied();
                let mut victims =
                    victim.filter(|other| !self.sequences[other].is_pinned && !plan.has(*other));
                let victim = victims.next().unwrap_or(id);
                self.preempt(victim);
                if victim == id {
                    return false;
                }
            }
        }
        true
    }

    /// A page more of a group, if there is one that is not kept for others.
    fn take_page(&mut self, id: SeqId, group: usize) -> bool {
        let table = &mut self.sequences.get_mut(&id).expect("a sequence that runs").tables[group];
        if table.n_reserved > 0 {
            table.n_reserved -= 1;
            self.n_reserved[group] -= 1;
        } else if self.cache.n_available(group) <= self.n_reserved[group] {
            return false;
        }
        let page = self.cache.take(group).expect("it was reserved or available");
        match self.cache.kind(group) {
            Kind::States => table.live = Some(page),
            Kind::Pages { .. } => table.pages.push(page),
        }
        true
    }

    /// Whether there is a page of a group that is not kept for others.
    pub(super) fn has_spare(&self, group: usize) -> bool {
        self.cache.n_available(group) > self.n_reserved[group]
    }

    /// Pages for up to `len` positions, of those that are not reserved for others; returns the positions that have pages.
    pub(super) fn reach_spare(&mut self, id: SeqId, len: usize) -> usize {
        let mut reached = len;
        // Steps that follow each other without the host come past a page boundary: a state to keep stays there.
        let boundary = (self.sequences[&id].n_computed / PAGE_LEN + 1) * PAGE_LEN;
        if self.keeps_states() && len > boundary {
            self.keep_state(id, boundary / PAGE_LEN - 1, true);
        }
        for group in 0..self.cache.n_groups() {
            while self.sequences[&id].tables[group].len() < reached && self.take_page(id, group) {}
            reached = reached.min(self.sequences[&id].tables[group].len());
        }
        reached
    }

    /// Pages for up to `n` steps with the sequences of these spans, of those that are not reserved for others; returns the
    /// number of steps that they last for.
    pub(crate) fn reach(&mut self, spans: &[PlanSpan], n: usize) -> usize {
        let mut n = n;
        for span in spans {
            let end = span.rows.end - 1;
            n = self.reach_spare(span.id, end + n) - end;
        }
        n
    }

    /// Releases the pages of groups of some kinds that no later row of a sequence sees.
    pub(super) fn release_passed(&mut self, id: SeqId, is_meant: impl Fn(Kind) -> bool) {
        let snapshot_every = self.snapshot_every();
        for group in 0..self.cache.n_groups() {
            let s = self.sequences.get_mut(&id).expect("a sequence that was planned");
            let kind = self.cache.kind(group);
            let first = kind.first_held(s.n_computed);
            if !is_meant(kind) || first <= s.tables[group].first_page {
                continue;
            }
            // Where the same prompt would resume.
            let resumed = s.resumes_at();
            let wanted = kind.first_page(resumed * PAGE_LEN)..resumed;
            let mut table = std::mem::take(&mut s.tables[group]);
            self.cache.release_before(first, group, &s.path, &mut table, |number| match kind {
                Kind::States => Scheduler::worth_of_state(snapshot_every, s, number),
                Kind::Pages { .. } if wanted.contains(&number) => Worth::Resume,
                Kind::Pages { .. } => Worth::Passed,
            });
            s.tables[group] = table;
            if s.is_pinned && !kind.is_states() {
                self.reserve_again(id, group);
            }
        }
    }

    /// Keeps pages that a pinned sequence has given back for it, as many as it can need. Those that others hold too are
    /// not to be had: who lacks them then is preempted once more, and the others go on.
    fn reserve_again(&mut self, id: SeqId, group: usize) {
        let s = &self.sequences[&id];
        let table = &s.tables[group];
        let most = self.most_pages(group, s.n_computed, s.max_len);
        let wanted = most.saturating_sub(table.pages.len() + table.n_reserved);
        let n = wanted.min(self.cache.n_available(group) - self.n_reserved[group]);
        self.n_reserved[group] += n;
        self.sequences.get_mut(&id).expect("just found").tables[group].n_reserved += n;
    }

    /// All pages, for a forecast.
    pub(crate) fn pools(&self) -> impl Iterator<Item = Pool> {
        (0..self.cache.n_groups()).map(|group| {
            let n_pages = self.cache.n_pages(group);
            let most_each = match self.cache.kind(group).keeps_all() {
                true => usize::MAX,
                false => self.most_pages(group, 0, usize::MAX),
            };
            Pool { n_free: n_pages, most_each }
        })
    }

    /// A page of every group, each no sequence's and not cached; the cached ones that go first make room if need be.
    pub(crate) fn take_pages_alone(&mut self) -> Option<Vec<PageId>> {
        let mut pages = Vec::new();
        for group in 0..self.cache.n_groups() {
            match self.cache.take(group) {
                Some(page) => pages.push(page),
                None => {
                    self.give_pages_back(&pages);
                    return None;
                }
            }
        }
        Some(pages)
    }

    /// Frees the pages of [`Scheduler::take_pages_alone`].
    pub(crate) fn give_pages_back(&mut self, pages: &[PageId]) {
        pages.iter().enumerate().for_each(|(group, &page)| self.cache.give_back(group, page));
    }
}
