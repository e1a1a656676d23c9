//! Many sequences on one model: continuous batching over a paged, prefix-shared KV pool.
//!
//! It knows tokens, page ids, budgets and time, and of floats only the logits it samples from. It must not know strings,
//! sockets, JSON or futures, nor a device.
#![forbid(unsafe_code)]
// Of that build only the mailbox is tested.
#![cfg_attr(loom, allow(dead_code))]

mod budget;
mod cache;
mod cache_file;
mod core;
mod draft;
mod engine;
#[cfg(test)]
#[cfg(not(loom))]
mod fake;
mod forecast;
mod group;
mod mailbox;
mod metrics;
mod pages;
mod queue;
mod request;
mod sampler;
mod scheduler;
mod stop;
#[cfg(test)]
#[cfg(not(loom))]
mod tests;

pub use cache::{CacheCounts, Stop as Miss};
pub use cache_file::{CacheFileError, CacheFileSummary, CacheIdentity, checksum as cache_file_checksum};
pub use core::{Broken, DiskCache, SequenceState, Shape, Sink, Snapshot, logits_hash, words as panic_words};
pub use engine::{Config, Engine, Handle, Pulse, Stopped, Ticket};
pub use group::{KvGroup, longest_sequence, pages_of_sequence, pool_len};
pub use metrics::{DraftModelCounts, FinishCounts, Histogram, Metrics, ROW_BUCKETS, TIME_BUCKETS};
pub use pages::PageCounts;
pub use request::{Event, Finish, Micros, Refusal, Request, RequestId, SeqId, Usage};
pub use sampler::{
    Breakers, Chain, Chooser, Chosen, Distribution, Dry, Grammar, History, Infill, InvalidSampling, Logprobs,
    MAX_TOP_LOGPROBS, Prefixes, SampleError, SamplerKind, Samplers, Sampling, TokenLogprob, TokenMask,
};
pub use scheduler::{Limits, ScheduleCounts};
pub use stop::StopCondition;
