//! The positions whose keys and values a draft model has.

use std::collections::HashMap;

use crate::batch::{Batch, PAGE_LEN, PageId, PageTable, Slot, Want};

/// By page of the model: the number of positions, counted from the page's first one, whose keys and values the draft model has.
///
/// ```text
/// tokens        t0 t1 t2 t3 t4 | t5 d6 d7         t5 is not computed yet; d6 and d7 are proposed
/// draft model   [- covered ----)[- ahead -)       d6 and d7 may turn out wrong
/// model         [- computed ---)[- its next step -)
/// ```
///
/// A page's coverage ends before the first position at which the model computes a token that the draft model has not computed there
/// just before. So it holds for whatever sequence the page belongs to: each position was computed by the model since the page
/// was free.
///
/// A draft layer of the model's own is shifted: its row at position `p` has token `p + 1`. It computes rows ahead of the model from
/// hidden rows of its own, and once more when the model's are there.
#[derive(Debug)]
pub(super) struct Coverage {
    /// The cache group whose pages these are.
    group: usize,
    /// Positions from a row to the place of its token in the sequence.
    shift: usize,
    /// (n_pages,)
    pages: Vec<u8>,
    /// Tokens by slot that the draft model has computed ahead of the model since the model's last step.
    ahead: HashMap<u32, u32>,
}

impl Coverage {
    pub(super) fn new(n_pages: usize, group: usize, shift: usize) -> Coverage {
        Coverage { group, shift, pages: vec![0; n_pages], ahead: HashMap::new() }
    }

    pub(super) fn shift(&self) -> usize {
        self.shift
    }

    /// The first position before `end` that the draft model lacks, or `end`.
    pub(super) fn first_gap(&self, table: PageTable<'_>, end: usize) -> usize {
        for (start, page) in (0..end).step_by(PAGE_LEN).zip(table.pages) {
            let n = usize::from(self.pages[page.0 as usize]);
            if n < PAGE_LEN.min(end - start) {
                return start + n;
            }
        }
        end
    }

    /// Adds the rows of a step of the draft model. `n_computed` gives for a span the number of tokens that the model has computed:
    /// rows with those from there on are ahead of the model.
    pub(super) fn add(&mut self, batch: &Batch, n_computed: impl Fn(usize) -> usize) {
        for (i, span) in batch.spans().iter().enumerate() {
            let n_computed = n_computed(i);
            for row in span.rows.clone() {
                let position = batch.positions()[row] as usize;
                let slot = batch.slot(span, 0, position);
                let (page, offset) = place(slot);
                let covered = &mut self.pages[page];
                if position + self.shift < n_computed {
                    *covered = (*covered).max(offset + 1);
                } else {
                    *covered = offset + 1;
                    self.ahead.insert(slot.0, batch.tokens()[row]);
                }
            }
        }
    }

    /// Adds a row ahead of the model, with a token at `position` of the sequence that was proposed.
    pub(super) fn add_ahead(&mut self, table: PageTable<'_>, position: usize, token: u32) {
        if self.shift > 0 {
            return;
        }
        let page = table.pages[position / PAGE_LEN];
        let offset = position % PAGE_LEN;
        self.pages[page.0 as usize] = offset as u8 + 1;
        self.ahead.insert(page.0 * PAGE_LEN as u32 + offset as u32, token);
    }

    /// Ends the coverage of pages where the next `n` steps of the model compute tokens that the draft model has not. After the first
    /// step these are those of sequences whose rows want samples.
    pub(super) fn cut(&mut self, batch: &Batch, n: usize) {
        let Coverage { group, shift, .. } = *self;
        for span in batch.spans() {
            for row in span.rows.clone() {
                // The first token of a sequence has no row where rows are shifted.
                let Some(position) = (batch.positions()[row] as usize).checked_sub(shift) else { continue };
                let slot = batch.slot(span, group, position);
                if self.ahead.get(&slot.0) != Some(&batch.tokens()[row]) {
                    self.cut_at(slot);
                }
            }
            if n > 1 && matches!(batch.wants()[span.rows.end - 1], Want::Sample(_)) {
                let end = span.start + span.rows.len();
                (end..end + n - 1).for_each(|position| self.cut_at(batch.slot(span, group, position)));
            }
        }
        self.ahead.clear();
    }

    fn cut_at(&mut self, slot: Slot) {
        let (page, offset) = place(slot);
        self.pages[page] = self.pages[page].min(offset);
    }

    /// Forgets a page, which has other content now.
    pub(super) fn forget_page(&mut self, page: PageId) {
        self.pages[page.0 as usize] = 0;
    }

    /// Forgets everything: a step of the draft model failed.
    pub(super) fn forget(&mut self) {
        self.pages.fill(0);
        self.ahead.clear();
    }
}

/// The page of a slot, and the position within it.
fn place(slot: Slot) -> (usize, u8) {
    let slot = slot.0 as usize;
    (slot / PAGE_LEN, (slot % PAGE_LEN) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::SampleSpec;

    const PAGES: [PageId; 2] = [PageId(3), PageId(1)];

    fn batch(tokens: &[u32], start: usize) -> Batch {
        let mut batch = Batch::default();
        batch.push(tokens, start, &[&PAGES[..]], Want::Sample(SampleSpec::GREEDY));
        batch
    }

    fn gap(coverage: &Coverage, end: usize) -> usize {
        coverage.first_gap(PageTable::from(&PAGES[..]), end)
    }

    #[test]
    fn the_draft_model_has_what_it_computed_and_the_model_confirmed() {
        let mut coverage = Coverage::new(4, 0, 0);
        let prompt: Vec<u32> = (0..40).collect();
        coverage.cut(&batch(&prompt, 0), 1);
        assert_eq!(gap(&coverage, 40), 0);
        // A part of what is behind, then the rest with token 40 and a proposal after it.
        coverage.add(&batch(&prompt[..35], 0), |_| 40);
        assert_eq!((gap(&coverage, 40), gap(&coverage, 33)), (35, 33));
        coverage.add(&batch(&[35, 36, 37, 38, 39, 7], 35), |_| 40);
        coverage.add(&batch(&[8], 41), |_| 40);
        // The proposals 8 and 9 at 41 and 42; 8 is right, and 6 comes in place of 9.
        coverage.cut(&batch(&[7, 8, 9], 40), 1);
        assert_eq!(gap(&coverage, 42), 42);
        coverage.cut(&batch(&[6], 42), 1);
        assert_eq!(gap(&coverage, 43), 42);
        // Another sequence gets the page.
        coverage.cut(&batch(&[7, 8], 40), 1);
        assert_eq!(gap(&coverage, 42), 40);
    }

    #[test]
    fn a_token_that_was_ahead_once_counts_for_the_next_step_alone() {
        let mut coverage = Coverage::new(4, 0, 0);
        coverage.add(&batch(&[1, 2], 0), |_| 0);
        coverage.cut(&batch(&[1, 5], 0), 1);
        assert_eq!(gap(&coverage, 2), 1);
        coverage.cut(&batch(&[1], 0), 1);
        assert_eq!(gap(&coverage, 1), 0);
    }

    #[test]
    fn steps_of_a_chain_are_not_covered() {
        let mut coverage = Coverage::new(4, 0, 0);
        coverage.add(&batch(&[0; 40], 0), |_| 40);
        coverage.cut(&batch(&[1], 30), 4);
        assert_eq!(gap(&coverage, 34), 30);
        coverage.add(&batch(&[1, 2], 30), |_| 40);
        // The second page was cut from its first position on.
        assert_eq!(gap(&coverage, 34), 32);
        coverage.forget();
        assert_eq!(gap(&coverage, 34), 0);
    }

    #[test]
    fn a_draft_layer_keeps_what_follows_from_the_models_own_rows() {
        let mut coverage = Coverage::new(4, 0, 1);
        let prompt: Vec<u32> = (0..40).collect();
        coverage.cut(&batch(&prompt, 0), 1);
        // Rows 0 to 39 have tokens 1 to 40, of which the model has not computed the last; then come rows with proposals.
        coverage.add(&batch(&[&prompt[1..], &[7]].concat(), 0), |_| 40);
        coverage.add_ahead(PageTable::from(&PAGES[..]), 41, 8);
        assert_eq!(gap(&coverage, 42), 40);
        coverage.cut(&batch(&[7, 8, 9], 40), 1);
        assert_eq!(gap(&coverage, 42), 40);
        // Another token after the prompt takes back the row before it.
        coverage.cut(&batch(&[6], 40), 1);
        assert_eq!(gap(&coverage, 42), 39);
        // The first token has no row.
        coverage.cut(&batch(&[0], 0), 1);
        assert_eq!(gap(&coverage, 42), 39);
    }
}
