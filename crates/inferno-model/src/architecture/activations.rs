//! Activations with parameters.

use inferno_format::{Array, MetadataError, Value};

use super::keys::Keys;
use super::{Activation, Xielu};
use crate::error::LoadError;

/// xIELU of every layer, from numbers that training left before their softplus. The keys have no family's name before them.
pub(super) fn xielu(keys: &Keys<'_>) -> Result<Vec<Activation>, LoadError> {
    let [alpha_p, alpha_n, beta, eps] =
        ["alpha_p", "alpha_n", "beta", "eps"].map(|name| each(keys, &format!("xielu.{name}")));
    let (alpha_p, alpha_n, beta, eps) = (alpha_p?, alpha_n?, beta?, eps?);
    let layer = |i: usize| {
        Activation::Xielu(Xielu {
            alpha_p: softplus(alpha_p[i]),
            alpha_n: beta[i] + softplus(alpha_n[i]),
            beta: beta[i],
            eps: eps[i],
        })
    };
    Ok((0..keys.n_layers).map(layer).collect())
}

/// A number for every layer, from one for all or an array of them.
fn each(keys: &Keys<'_>, key: &str) -> Result<Vec<f32>, LoadError> {
    const EXPECTED: &str = "a finite number, or an array with one per layer (`block_count`)";
    let Some(value) = keys.metadata.get(key) else {
        return Err(LoadError::Metadata(MetadataError::Missing { key: key.into(), expected: EXPECTED }));
    };
    let numbers = match value {
        Value::F32(x) => vec![*x; keys.n_layers],
        Value::Array(Array::F32(numbers)) => numbers.clone(),
        _ => Vec::new(),
    };
    if numbers.len() != keys.n_layers || !numbers.iter().all(|x| x.is_finite()) {
        let found = value.to_string();
        return Err(LoadError::Metadata(MetadataError::Unfit { key: key.into(), expected: EXPECTED, found }));
    }
    Ok(numbers)
}

/// `ln(1 + e^x)` without overflow.
fn softplus(x: f32) -> f32 {
    let x = f64::from(x);
    (x.max(0.0) + libm::log1p(libm::exp(-x.abs()))) as f32
}
