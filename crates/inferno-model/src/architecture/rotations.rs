//! The rotations of one file.

use inferno_format::Gguf;

use super::families::Family;
use super::keys::Keys;
use super::read::MAX_CONTEXT;
use crate::error::LoadError;
use crate::rope::{Rope, Scaling};

pub(super) struct RopeShape {
    pub(super) key_width: usize,
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
    let dims = keys.opt_count("rope.dimension_count", shape.key_width)?.unwrap_or(shape.key_width);
    if !dims.is_multiple_of(2) {
        return Err(keys.unfit("rope.dimension_count", dims, "an even number"));
    }
    let theta = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let factor = match keys.positive("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.positive("rope.scale_linear")?.unwrap_or(1.0),
    };
    let original_context = keys.opt_count("rope.scaling.original_context_length", MAX_CONTEXT)?;
    let attn_factor = keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let scaling = match keys.opt_str("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Scaling::None,
        "linear" if factor == 1.0 => Scaling::None,
        "linear" => Scaling::Linear { factor },
        "yarn" => Scaling::Yarn {
            factor,
            original_context: original_context.unwrap_or(shape.trained_context),
            magnitude: keys.positive("rope.scaling.yarn_attn_factor")?,
            beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        },
        // Its factors are tensors, read below.
        "longrope" => Scaling::None,
        _ => return Err(keys.unfit_text("rope.scaling.type", "none, linear, yarn or longrope")),
    };
    let long = original_context.is_some_and(|original| shape.context_len > original);
    let factors_name = match (file.tensor("rope_factors_long.weight"), long) {
        (Some(_), true) => "rope_factors_long.weight",
        (Some(_), false) => "rope_factors_short.weight",
        (None, _) => "rope_freqs.weight",
    };
    let factors = crate::weights::rope_factors(file, factors_name, dims / 2)?;
    let mut ropes = vec![Rope::new(family.pairing, dims, theta, &scaling, factors.as_deref(), attn_factor)];
    let window_theta = keys.positive("rope.freq_base_swa")?.or(family.window_theta);
    if let Some(theta) = window_theta {
        ropes.push(Rope::new(family.pairing, dims, theta, &Scaling::None, None, 1.0));
    }
    Ok(ropes)
}
