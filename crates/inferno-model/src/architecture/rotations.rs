//! The rotations of one file.

use inferno_format::{Gguf, Value};

use super::families::Family;
use super::keys::Keys;
use super::read::MAX_CONTEXT;
use crate::error::LoadError;
use crate::rope::{Pairing, Rope, Scaling, Temperature};

pub(super) struct RopeShape {
    /// Of layers that see everything, and of windowed ones.
    pub(super) key_widths: [usize; 2],
    pub(super) has_windows: bool,
    pub(super) trained_context: usize,
    pub(super) context_len: usize,
}

/// The rotation of full layers first, that of windowed layers last (the same one if they do not differ).
pub(super) fn ropes(
    file: &Gguf,
    keys: &Keys<'_>,
    family: &Family,
    shape: RopeShape,
) -> Result<Vec<Rope>, LoadError> {
    let [key_width, window_key_width] = shape.key_widths;
    let dims = dims(keys, "rope.dimension_count", key_width)?;
    let theta = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let original_context = keys.opt_count("rope.scaling.original_context_length", MAX_CONTEXT)?;
    let attn_factor = keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let scaling = scaling(keys, family, original_context.unwrap_or(shape.trained_context))?;
    let long = original_context.is_some_and(|original| shape.context_len > original);
    let factors_name = match (file.tensor("rope_factors_long.weight"), long) {
        (Some(_), true) => "rope_factors_long.weight",
        (Some(_), false) => "rope_factors_short.weight",
        (None, _) => "rope_freqs.weight",
    };
    let factors = crate::weights::rope_factors(file, factors_name, dims / 2)?;
    if family.has_rope_freqs && factors.is_none() {
        return Err(LoadError::MissingTensor { name: factors_name.into(), expected: vec![dims / 2] });
    }
    let pairing = pairing(keys, family)?;
    let mut ropes = vec![Rope::new(pairing, dims, theta, &scaling, factors.as_deref(), attn_factor)];
    let window_theta = keys.positive("rope.freq_base_swa")?.or(family.window_theta);
    let says_dims = keys.metadata.get(&keys.key(WINDOW_DIMS)).is_some() || window_key_width != key_width;
    if shape.has_windows && (window_theta.is_some() || says_dims || family.windows_unscaled) {
        let dims = if says_dims { self::dims(keys, WINDOW_DIMS, window_key_width)? } else { dims };
        let theta = window_theta.unwrap_or(theta);
        ropes.push(Rope::new(pairing, dims, theta, &Scaling::None, None, 1.0));
    }
    let temperature = temperature(keys, original_context)?;
    ropes.iter_mut().for_each(|rope| rope.temperature = temperature);
    Ok(ropes)
}

const WINDOW_DIMS: &str = "rope.dimension_count_swa";

/// The pairs that rotate together: some families permute heads where rotations have sections for images.
fn pairing(keys: &Keys<'_>, family: &Family) -> Result<Pairing, LoadError> {
    const SECTIONS: &str = "rope.dimension_sections";
    let has_sections = match keys.metadata.get(&keys.key(SECTIONS)) {
        Some(Value::Array(sections)) => sections.integer(0).is_some_and(|n| n > 0),
        Some(_) => return Err(keys.unfit_text(SECTIONS, "an array of integers")),
        None => false,
    };
    Ok(if family.sections_pair_halves && has_sections { Pairing::Halves } else { family.pairing })
}

/// Numbers of a head that rotate: all of them if the file is silent.
fn dims(keys: &Keys<'_>, key: &str, key_width: usize) -> Result<usize, LoadError> {
    let dims = keys.opt_count(key, key_width)?.unwrap_or(key_width);
    match dims.is_multiple_of(2) {
        true => Ok(dims),
        false => Err(keys.unfit(key, dims, "an even number")),
    }
}

/// The scaling of rotations to longer contexts.
fn scaling(keys: &Keys<'_>, family: &Family, original_context: usize) -> Result<Scaling, LoadError> {
    let factor = match keys.positive("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.positive("rope.scale_linear")?.unwrap_or(1.0),
    };
    Ok(match keys.opt_str("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Scaling::None,
        "linear" if factor == 1.0 => Scaling::None,
        "linear" => Scaling::Linear { factor },
        "yarn" => Scaling::Yarn {
            factor,
            original_context,
            magnitude: magnitude(keys, family, factor)?,
            beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
            rounds_borders: family.yarn_rounds,
        },
        // Its factors are tensors.
        "longrope" => Scaling::None,
        _ => return Err(keys.unfit_text("rope.scaling.type", "none, linear, yarn or longrope")),
    })
}

/// YaRN's magnitude of cosines and sines, if the file says it: as such, or as the multiplier of the logarithm that the usual
/// magnitude is divided by. With latent attention the scale of scores has it instead.
fn magnitude(keys: &Keys<'_>, family: &Family, factor: f32) -> Result<Option<f32>, LoadError> {
    let log = 0.1 * factor.max(1.0).ln();
    let multiplier = keys.positive("rope.scaling.yarn_log_multiplier")?;
    let ratio = multiplier.map(|multiplier| match family.latent {
        true => 1.0,
        false => (1.0 + log) / (1.0 + multiplier * log),
    });
    Ok(keys.positive("rope.scaling.yarn_attn_factor")?.or(ratio))
}

/// The scaling of queries far from the start.
fn temperature(keys: &Keys<'_>, original_context: Option<usize>) -> Result<Option<Temperature>, LoadError> {
    const LENGTH: &str = "attention.temperature_length";
    let Some(beta) = keys.positive("attention.temperature_scale")? else { return Ok(None) };
    let length = keys.opt_count(LENGTH, MAX_CONTEXT)?.or(original_context);
    let length = length.ok_or_else(|| keys.missing(LENGTH, "an integer, as there is a temperature"))?;
    Ok(Some(Temperature { beta, length }))
}
