//! A model as its callers see it, whatever it runs on.

use std::sync::Arc;

use crate::architecture::Architecture;
use crate::backend::KvType;
use crate::batch::Batch;
use crate::error::StepError;
use crate::heartbeat::Heartbeat;
use crate::output::Output;

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

/// How much room a model gets for keys and values.
#[derive(Debug, Clone)]
pub struct KvRoom {
    /// Pages for each of [`Architecture::cache_groups`].
    pub n_pages: Vec<usize>,
    /// What keys and values are rounded to.
    pub kv_type: KvType,
}
