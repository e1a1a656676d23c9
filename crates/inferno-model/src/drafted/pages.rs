//! Pages of a model with a draft model, as bytes.

use super::{Drafted, Proposer, hidden_page_bytes};
use crate::batch::PageId;
use crate::error::StepError;
use crate::model::PageBytes;

/// The model's pages. Hidden rows go along where the model drafts for itself, as only its steps give them. Keys and values of
/// the draft model do not: it computes them again when it is asked for proposals.
impl PageBytes for Drafted {
    fn placement(&self) -> String {
        let (placement, _) = self.page_bytes.clone().unwrap_or_default();
        match &self.proposer {
            Proposer::Model(_) => placement,
            Proposer::OwnLayer(_) => placement + ", hidden rows",
        }
    }

    fn n_bytes(&self, group: usize) -> usize {
        self.page_bytes.as_ref().map_or(0, |(_, n_bytes)| n_bytes[group]) + self.n_hidden_bytes(group)
    }

    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError> {
        let (out, rows) = out.split_at_mut(out.len() - self.n_hidden_bytes(group));
        if let (Proposer::OwnLayer(hidden), false) = (&self.proposer, rows.is_empty()) {
            hidden.read_page(page, rows);
        }
        self.pages()?.read(group, page, out)
    }

    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError> {
        let (bytes, rows) = bytes.split_at(bytes.len() - self.n_hidden_bytes(group));
        if group == self.group {
            self.coverage.forget_page(page);
        }
        if let (Proposer::OwnLayer(hidden), false) = (&mut self.proposer, rows.is_empty()) {
            hidden.write_page(page, rows);
        }
        self.pages()?.write(group, page, bytes)
    }
}

impl Drafted {
    /// Bytes of the hidden rows in a page.
    fn n_hidden_bytes(&self, group: usize) -> usize {
        match self.proposer {
            Proposer::OwnLayer(_) if group == self.group => hidden_page_bytes(self.model.architecture().dim),
            _ => 0,
        }
    }

    fn pages(&mut self) -> Result<&mut dyn PageBytes, StepError> {
        let pages = self.model.page_bytes();
        pages.ok_or_else(|| StepError { what: "pages of this model cannot be copied".into() })
    }
}
