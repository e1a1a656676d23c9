//! Hidden rows, from which a model's own draft layer proposes tokens.

use half::f16;

use crate::batch::{Batch, PAGE_LEN, PageId};
use crate::error::StepError;
use crate::model::{DraftBlock, Model};
use crate::output::Output;

/// The hidden rows of a model by slot of one of its cache groups, and those of its draft layer's last step.
pub(super) struct HiddenRows {
    dim: usize,
    group: usize,
    /// (n_pages * PAGE_LEN, dim), bits of half precision; a row that was never computed is zero.
    of_model: Vec<u16>,
    /// (rows that wanted something, dim)
    of_layer: Vec<f32>,
    /// (n_rows, dim), read or to be written
    rows: Vec<f32>,
}

/// Bytes of hidden rows of `dim` numbers for the positions of a page.
pub fn hidden_page_bytes(dim: usize) -> usize {
    PAGE_LEN * dim * size_of::<u16>()
}

impl HiddenRows {
    pub(super) fn new(n_pages: usize, dim: usize, group: usize) -> HiddenRows {
        let of_model = vec![0; n_pages * PAGE_LEN * dim];
        HiddenRows { dim, group, of_model, of_layer: Vec::new(), rows: Vec::new() }
    }

    /// Keeps those of the model's last step, which was `batch`.
    pub(super) fn keep(&mut self, model: &mut dyn Model, batch: &Batch) -> Result<(), StepError> {
        let HiddenRows { dim, group, of_model, rows, .. } = self;
        layer_of(model)?.hidden(rows)?;
        for (slot, row) in slots(batch, *group).zip(rows.chunks_exact(*dim)) {
            let kept = &mut of_model[slot * *dim..][..*dim];
            kept.iter_mut().zip(row).for_each(|(kept, &x)| *kept = f16::from_f32(x).to_bits());
        }
        Ok(())
    }

    /// Copies the rows of a page to `out`, which has [`hidden_page_bytes`].
    pub(super) fn read_page(&self, page: PageId, out: &mut [u8]) {
        let n = PAGE_LEN * self.dim;
        let rows = &self.of_model[page.0 as usize * n..][..n];
        rows.iter().zip(out.as_chunks_mut::<2>().0).for_each(|(&row, out)| *out = row.to_le_bytes());
    }

    /// Replaces the rows of a page by those that were read.
    pub(super) fn write_page(&mut self, page: PageId, bytes: &[u8]) {
        let n = PAGE_LEN * self.dim;
        let rows = &mut self.of_model[page.0 as usize * n..][..n];
        rows.iter_mut()
            .zip(bytes.as_chunks::<2>().0)
            .for_each(|(row, &bytes)| *row = u16::from_le_bytes(bytes));
    }

    /// A step of the draft layer after rows that the model has computed.
    pub(super) fn step_from_model<'m>(
        &mut self,
        model: &'m mut dyn Model,
        batch: &Batch,
    ) -> Result<&'m Output, StepError> {
        let HiddenRows { dim, of_model, of_layer, rows, .. } = self;
        rows.clear();
        // The batch of a draft layer has one page table.
        for slot in slots(batch, 0) {
            let row = &of_model[slot * *dim..][..*dim];
            rows.extend(row.iter().map(|&x| f16::from_bits(x).to_f32()));
        }
        layer_of(model)?.draft_step(batch, rows, of_layer)
    }

    /// A step of the draft layer with a row for each sequence, after these rows of its step before, which wanted something.
    pub(super) fn step_from_layer<'m>(
        &mut self,
        model: &'m mut dyn Model,
        batch: &Batch,
        before: impl Iterator<Item = usize>,
    ) -> Result<&'m Output, StepError> {
        let HiddenRows { dim, of_layer, rows, .. } = self;
        rows.clear();
        before.for_each(|i| rows.extend_from_slice(&of_layer[i * *dim..][..*dim]));
        layer_of(model)?.draft_step(batch, rows, of_layer)
    }
}

/// The slots of a batch's rows.
fn slots(batch: &Batch, group: usize) -> impl Iterator<Item = usize> {
    batch.spans().iter().flat_map(move |span| {
        let positions = batch.positions()[span.rows.clone()].iter();
        positions.map(move |&position| batch.slot(span, group, position as usize).0 as usize)
    })
}

fn layer_of(model: &mut dyn Model) -> Result<&mut dyn DraftBlock, StepError> {
    model.draft_block().ok_or_else(|| StepError { what: "the model has no draft layer".into() })
}
