//! Tensors of floats as numbers on the host.

use inferno_format::{Gguf, TensorEntry, dequantize};

use super::{check_float, check_shape};
use crate::error::LoadError;

/// The factors that divide RoPE frequencies, if the file has them: `n` positive numbers.
pub(crate) fn rope_factors(file: &Gguf, name: &str, n: usize) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(entry) = file.tensor(name) else { return Ok(None) };
    check_shape(entry, &[n])?;
    numbers(file, entry, |x| x.is_finite() && x > 0.0, "finite numbers above zero").map(Some)
}

/// The floats of a tensor, if all of them fit.
pub(super) fn numbers(
    file: &Gguf,
    entry: &TensorEntry,
    fits: impl Fn(f32) -> bool,
    expected: &'static str,
) -> Result<Vec<f32>, LoadError> {
    check_float(entry)?;
    let mut numbers = vec![0.0; entry.n_elements()];
    let bytes = file.read(entry)?;
    dequantize(entry.dtype, &bytes, &mut numbers).expect("floats of the length just checked");
    match numbers.iter().all(|&x| fits(x)) {
        true => Ok(numbers),
        false => Err(LoadError::Values { name: entry.name.clone(), expected }),
    }
}
