//! The queue as a forecast sees it, and what a step takes before there are requests.

use std::panic::{AssertUnwindSafe, catch_unwind};

use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::model::Lead;
use inferno_model::sample::SampleSpec;

use super::Core;
use crate::forecast::{Job, Places, Speed, Turn};
use crate::mailbox::Forecast;
use crate::request::{Micros, RequestId, SeqId};
use crate::scheduler::Sequence;

/// A measurement that took less is made twice, and the quicker one counts: the first may have had to get memory.
const QUICK: Micros = 200_000;

impl Core {
    /// Runs the self-test, and measures what steps take: of one row, and of a page's worth.
    pub(crate) fn measure(&mut self) {
        self.self_test();
        let Some(pages) = self.scheduler.take_pages_alone() else { return };
        if self.move_pages().is_err() {
            // The first step will fail too.
            return self.scheduler.give_pages_back(&pages);
        }
        let n_rows = PAGE_LEN.min(self.model.architecture().context_len);
        let one = self.time_step(&pages, 1);
        let many = self.time_step(&pages, n_rows);
        self.measure_draft_model(&pages);
        self.scheduler.give_pages_back(&pages);
        if let (Some(one), Some(many)) = (one, many) {
            self.experience.speed = Speed::measured(one, many, n_rows);
        }
    }

    /// Measures what a step of the draft model takes, if there is one: the second time, as the first may have had to get memory.
    fn measure_draft_model(&mut self, pages: &[PageId]) {
        for is_warm in [false, true] {
            let before = (self.clock)();
            let Some(drafting) = self.model.drafting() else { return };
            let page = &pages[drafting.group()..][..1];
            let lead =
                Lead { tokens: &[0], n_computed: 0, pages: page.into(), spec: SampleSpec::GREEDY, n: 4 };
            let steps = catch_unwind(AssertUnwindSafe(|| drafting.draft(&[lead]).map(|p| p.n_steps)));
            let took = (self.clock)() - before;
            match steps {
                Ok(Ok(n_steps)) if is_warm => self.drafts.observe_model(took, n_steps),
                Ok(Ok(_)) => {}
                _ => return self.drafts.fail_model(),
            }
        }
    }

    /// A step of rows from the start of pages, of which each cache group has one.
    fn time_step(&mut self, pages: &[PageId], n_rows: usize) -> Option<Micros> {
        let mut batch = Batch::default();
        let tables: Vec<&[PageId]> = pages.chunks(1).collect();
        let wants = (0..n_rows).map(|row| if row + 1 == n_rows { Want::Logits } else { Want::Nothing });
        let (tokens, wants) = (vec![0; n_rows], wants.collect::<Vec<Want>>());
        batch.push_each(&tokens, 0, &tables, &wants);
        let mut best: Option<Micros> = None;
        while best.is_none_or(|took| took < QUICK) {
            let before = (self.clock)();
            // A model that fails here fails its requests, which say so.
            catch_unwind(AssertUnwindSafe(|| self.model.step(&batch).is_ok())).ok().filter(|is_ok| *is_ok)?;
            let took = (self.clock)() - before;
            if let Some(first) = best {
                return Some(first.min(took));
            }
            best = Some(took);
        }
        best
    }

    pub(crate) fn now(&self) -> Micros {
        (self.clock)()
    }

    /// The forecast for now, where `last` is the last request that was read.
    pub(crate) fn forecast(&self, last: RequestId) -> Forecast {
        Forecast { at: self.now(), places: self.foresee(|_, _| {}), last }
    }

    /// The engine's places with all sequences that run, and then with those that wait, each told to `turn`.
    pub(crate) fn foresee(&self, mut turn: impl FnMut(SeqId, Turn)) -> Places {
        let limits = self.scheduler.limits();
        let mut places = Places::new(
            self.experience,
            (limits.max_sequences, limits.max_rows),
            self.scheduler.pools().collect(),
        );
        let (mut running, waiting) = self.scheduler.line();
        running.sort_unstable_by_key(|s| s.id);
        running.iter().for_each(|s| places.run(&self.job(s)));
        for s in waiting {
            turn(s.id, places.admit(&self.job(s)));
        }
        places
    }

    fn job(&self, s: &Sequence) -> Job {
        let live = &self.live[&s.id];
        let n_tokens = s.tokens.len();
        let n_rows = match s.n_computed {
            0 => n_tokens as f64 * self.experience.share_to_compute(),
            n_computed => (n_tokens - n_computed) as f64,
        };
        Job {
            id: s.id,
            n_rows,
            n_tokens,
            n_completion: n_tokens - s.n_prompt,
            limit: s.max_len - s.n_prompt,
            ending: live.ending(),
        }
    }
}
