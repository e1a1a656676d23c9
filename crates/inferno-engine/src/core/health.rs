//! What panics say, and whether the model still computes what it did.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use foldhash::fast::FixedState;
use inferno_model::batch::{Batch, PageId, Want};
use inferno_model::model::Model;

use super::Sink;
use crate::request::Event;

/// The logits of one row at the start of pages, of which each cache group has one, as a hash.
pub(super) fn self_test(model: &mut dyn Model, pages: &[PageId]) -> Result<u64, String> {
    let mut batch = Batch::default();
    let tables: Vec<&[PageId]> = pages.chunks(1).collect();
    batch.push(&[0], 0, &tables, Want::Logits);
    let step = catch_unwind(AssertUnwindSafe(|| match model.step(&batch) {
        Ok(output) => Ok(logits_hash(output.logits(0).expect("the row wants logits"))),
        Err(e) => Err(e.to_string()),
    }));
    step.unwrap_or_else(|panic| Err(words(&*panic)))
}

/// FNV-1a (64 bits) over the little-endian bytes: equal on every machine that computes the same bits.
pub fn logits_hash(logits: &[f32]) -> u64 {
    let bytes = logits.iter().flat_map(|x| x.to_le_bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3))
}

pub(super) fn prompt_hash(prompt: &[u32]) -> u64 {
    use std::hash::BuildHasher;
    FixedState::default().hash_one(prompt)
}

/// Tells an event; if that panics, what it says.
pub(super) fn tell(sink: &Sink, event: Event) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| sink(event))).map_err(|panic| words(&*panic))
}

/// What a panic says.
pub fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".into())
}
