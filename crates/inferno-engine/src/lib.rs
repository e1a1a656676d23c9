//! Many sequences on one model: continuous batching over a paged, prefix-shared KV pool.
//!
//! It knows tokens, page ids, budgets and time, and of floats only the logits it samples from. It must not know strings,
//! sockets, JSON or futures, nor a device.
#![forbid(unsafe_code)]

mod sampler;

pub use sampler::{
    Chooser, Chosen, Constraint, Distribution, History, InvalidSampling, Logprobs, MAX_TOP_LOGPROBS,
    SampleError, Sampling, TokenLogprob, TokenMask,
};
