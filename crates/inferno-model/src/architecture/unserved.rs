//! Keys that would change what a model computes, and that are not implemented.

use inferno_format::{Array, Value};

use super::keys::Keys;
use crate::error::LoadError;

/// (key, expected value). Zeros, `false` and empty arrays switch them off. Source of the names: llama.cpp, `src/llama-arch.cpp`.
const UNSERVED: &[(&str, &str)] = &[
    ("activation_sparsity_scale", "0 or no such key: sparse activations are not implemented"),
    ("attention.clamp_kqv", "0 or no such key: clamped queries, keys and values are not implemented"),
    ("attention.max_alibi_bias", "0 or no such key: ALiBi is not implemented"),
    ("attention.output_scale", "0 or no such key: scaled outputs of attention are not implemented"),
    ("attention.value_scale", "0 or no such key: scaled values are not implemented"),
    ("expert_chunk_feed_forward_length", "0 or no such key: chunk experts are not implemented"),
    ("expert_group_scale", "0 or no such key: scaled groups of experts are not implemented"),
    ("router_logit_softcapping", "0 or no such key: softcapped routers are not implemented"),
    ("swiglu_clamp_exp", "0 or no such key: clamped experts are not implemented"),
    ("swiglu_clamp_shexp", "0 or no such key: clamped shared experts are not implemented"),
    ("use_parallel_residual", "false or no such key: parallel halves of layers are not implemented"),
];

/// Refuses a file that asks for one of them: a model that leaves it out is another model.
pub(super) fn refuse_unserved(keys: &Keys<'_>) -> Result<(), LoadError> {
    let is_on = |key: &str| keys.metadata.get(&keys.key(key)).is_some_and(is_on);
    match UNSERVED.iter().find(|(key, _)| is_on(key)) {
        Some(&(key, expected)) => Err(keys.unfit_text(key, expected)),
        None => Ok(()),
    }
}

fn is_on(value: &Value) -> bool {
    match value {
        Value::F32(x) => *x != 0.0,
        Value::F64(x) => *x != 0.0,
        Value::Bool(is) => *is,
        Value::Array(Array::F32(numbers)) => numbers.iter().any(|&x| x != 0.0),
        Value::Array(array) => (0..array.len()).any(|i| array.integer(i) != Some(0)),
        other => other.integer() != Some(0),
    }
}
