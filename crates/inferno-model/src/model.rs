//! A model as its callers see it, whatever it runs on.

use std::sync::Arc;

use crate::architecture::Architecture;
use crate::backend::KvType;
use crate::batch::{Batch, PageId, PageTable};
use crate::error::StepError;
use crate::heartbeat::Heartbeat;
use crate::output::Output;
use crate::sample::SampleSpec;

/// A model as its callers see it: batches in, what their rows wanted out.
pub trait Model: Send {
    /// The numbers of this model.
    fn architecture(&self) -> &Architecture;
    /// Computes every row of `batch` and stores its keys and values. Batches are checked, not sanitised: a token
    /// or position out of range is a bug in the caller and panics.
    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError>;
    /// What the last step gave.
    fn output(&self) -> &Output;
    /// Are tokens chosen where the logits are? Then rows that want a sample by a spec that
    /// [suits](crate::sample::SampleSpec::suits_devices) need not have logits in the output.
    fn chooses(&self) -> bool {
        false
    }
    /// Steps in a row without the host; `None` where each step's tokens come to it first.
    fn chaining(&mut self) -> Option<&mut dyn Chaining> {
        None
    }
    /// The draft model beside this one, which proposes tokens for speculative decoding; `None` without one.
    fn drafting(&mut self) -> Option<&mut dyn Drafting> {
        None
    }
    /// The layer with which the model drafts for itself, if it is [loaded](crate::architecture::Architecture::draft_block).
    fn draft_block(&mut self) -> Option<&mut dyn DraftBlock> {
        None
    }
    /// The KV pool's pages as bytes; `None` where they cannot be copied.
    fn page_bytes(&mut self) -> Option<&mut dyn PageBytes> {
        None
    }
    /// It beats once per layer and once before what the rows want, so that who watches can tell a long step from one that
    /// hangs; `None` if it has none. With a device that records first and computes at the end, all beats come before that.
    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        None
    }
    /// Beats that one from now on.
    fn beat(&mut self, _heartbeat: Arc<Heartbeat>) {}
}

/// A model whose chosen tokens are embedded where they were chosen.
pub trait Chaining {
    /// `n` steps, each with the tokens that the one before has sampled: (n, chained sequences) tokens, `None` from where no
    /// logit is a number. They are the tokens that `n` calls of [`Model::step`] would sample.
    ///
    /// A sequence of `batch` is chained if its only row wants a sample, by a spec that
    /// [suits](crate::sample::SampleSpec::suits_devices); its page table covers `n` positions from the row on. Sequences
    /// whose rows want logits or nothing are in the first step only, and [`Model::output`] has their logits afterwards.
    fn chain(&mut self, batch: &Batch, n: usize) -> Result<&[Option<u32>], StepError>;
}

/// A model with a draft model beside it, such as [`Drafted`](crate::drafted::Drafted). Proposals change speed and nothing
/// else: [`Model::step`] verifies them as rows of their sequence.
pub trait Drafting {
    /// The cache group of the model by whose pages the draft model stores its own keys and values.
    fn group(&self) -> usize;
    /// Proposes tokens for sequences, all in the same steps of the draft model.
    ///
    /// # Errors
    /// The draft model failed. The model itself goes on without proposals.
    ///
    /// # Panics
    /// A page table is shorter than [`Lead::pages`] says.
    fn draft(&mut self, leads: &[Lead<'_>]) -> Result<&Proposals, StepError>;
}

/// A layer that predicts the token after the next one, from hidden rows of its model and the tokens that follow them (multi-token
/// prediction). [`Drafted`](crate::drafted::Drafted) drafts with it.
pub trait DraftBlock {
    /// Copies the hidden rows of the model's last step, after the output norm, to `out`: (n_rows, dim). Nothing else may have been
    /// computed since.
    ///
    /// # Errors
    /// The device failed.
    fn hidden(&mut self, out: &mut Vec<f32>) -> Result<(), StepError>;
    /// Computes a batch, whose spans have one page table. The row at position `p` has the token at position `p + 1` of its sequence, and
    /// in `hidden` (n_rows, dim) the hidden row of position `p`; its logits are those of position `p + 2`'s token. `out` gets the
    /// layer's own hidden rows for the rows that want something, (rows of the output, dim): each stands for the model's at the
    /// next position.
    ///
    /// # Errors
    /// The device failed.
    fn draft_step(&mut self, batch: &Batch, hidden: &[f32], out: &mut Vec<f32>)
    -> Result<&Output, StepError>;
}

/// A sequence that a draft model proposes tokens for.
#[derive(Debug, Clone, Copy)]
pub struct Lead<'a> {
    /// All tokens of the sequence. The model computes the last one in its next step.
    pub tokens: &'a [u32],
    /// Position of the first row of that step: of the last token, or before it where the model computes rows once more.
    pub n_computed: usize,
    /// Pages of the sequence in [`Drafting::group`], from position 0 on: for all tokens and `n - 1` positions more.
    pub pages: PageTable<'a>,
    /// Sampling of the model's tokens. Proposals are sampled with the same random numbers at the same positions, which
    /// agree most often.
    pub spec: SampleSpec,
    /// Number of tokens to propose, at most.
    pub n: usize,
}

/// Proposed tokens of one call of [`Drafting::draft`], and the work that it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proposals {
    /// By lead: up to [`Lead::n`] tokens. None where the draft model is still behind the sequence.
    pub tokens: Vec<Vec<u32>>,
    /// Steps of the draft model.
    pub n_steps: usize,
    /// Rows of tokens that the model had computed before and the draft model had not.
    pub n_behind: usize,
}

/// Pages of a KV pool as bytes, to be kept elsewhere and put back between steps. The layout is the device's own: bytes mean the
/// same to the same model on the same kind of device with the same [`KvType`], and to nothing else.
pub trait PageBytes {
    /// The layers of the model and the kinds of devices that they are on: another text stands for another layout.
    fn placement(&self) -> String;
    /// Bytes of a page in cache group `group`, over all its layers.
    fn n_bytes(&self, group: usize) -> usize;
    /// Copies a page to `out`, which has as many bytes.
    ///
    /// # Errors
    /// The device failed.
    fn read(&mut self, group: usize, page: PageId, out: &mut [u8]) -> Result<(), StepError>;
    /// Makes a page what it was when these bytes were read, whichever page that was.
    ///
    /// # Errors
    /// The device failed.
    fn write(&mut self, group: usize, page: PageId, bytes: &[u8]) -> Result<(), StepError>;
}

/// How much room a model gets for keys and values.
#[derive(Debug, Clone)]
pub struct KvRoom {
    /// Pages for each of [`Architecture::cache_groups`].
    pub n_pages: Vec<usize>,
    /// What keys and values are rounded to.
    pub kv_type: KvType,
}
