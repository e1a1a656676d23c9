//! From floats to blocks. Quality is that of llama.cpp's reference quantizers without an importance
//! matrix: `quantize_row_*_ref` in `ggml-quants.c`.

use half::{bf16, f16};

use super::{QuantError, whole};
use crate::dtype::DType;

/// Encodes a row, or many rows laid end to end, as F32, F16, BF16, Q8_0, Q4_0, Q4_K or Q6_K.
///
/// NaN and infinity are errors, as is a value so large that its block's scale would not be finite.
pub fn quantize(dtype: DType, x: &[f32]) -> Result<Vec<u8>, QuantError> {
    whole(dtype, "values", dtype.block_len(), x.len())?;
    if let Some(index) = x.iter().position(|x| !x.is_finite()) {
        return Err(QuantError::NotFinite { index });
    }
    match dtype {
        DType::F32 => Ok(x.iter().flat_map(|x| x.to_le_bytes()).collect()),
        DType::F16 => encode(dtype, x, |&[x]| finite(x).map(f16::to_le_bytes)),
        DType::BF16 => {
            encode(dtype, x, |&[x]| Some(bf16::from_f32(x)).filter(|y| y.is_finite()).map(bf16::to_le_bytes))
        }
        DType::Q8_0 => encode(dtype, x, q8_0),
        DType::Q4_0 => encode(dtype, x, q4_0),
        DType::Q4_K => encode(dtype, x, q4_k),
        DType::Q6_K => encode(dtype, x, q6_k),
        _ => Err(QuantError::Unsupported { action: "quantize", dtype }),
    }
}

/// Each block by `block`, which has no answer to a block that is too large.
fn encode<const N: usize, const B: usize>(
    dtype: DType,
    x: &[f32],
    block: impl Fn(&[f32; N]) -> Option<[u8; B]>,
) -> Result<Vec<u8>, QuantError> {
    let mut bytes = Vec::with_capacity(x.len() / N * B);
    for (k, x) in x.as_chunks::<N>().0.iter().enumerate() {
        let index = || N * k + index_of_largest(x);
        bytes.extend(block(x).ok_or_else(|| QuantError::TooLarge { index: index(), dtype })?);
    }
    Ok(bytes)
}

fn q8_0(x: &[f32; 32]) -> Option<[u8; 34]> {
    let d = x[index_of_largest(x)].abs() / 127.0;
    let per_unit = inverse(d);
    let mut b = [0; 34];
    b[..2].copy_from_slice(&finite(d)?.to_le_bytes());
    for i in 0..32 {
        b[2 + i] = (x[i] * per_unit).round() as i8 as u8; // halves away from zero, as `roundf`
    }
    Some(b)
}

fn q4_0(x: &[f32; 32]) -> Option<[u8; 18]> {
    // The value farthest from zero becomes -8, the one end of the range that has no opposite.
    let d = x[index_of_largest(x)] / -8.0;
    let per_unit = inverse(d);
    let q = |i: usize| ((x[i] * per_unit + 8.5) as u8).min(15);
    let mut b = [0; 18];
    b[..2].copy_from_slice(&finite(d)?.to_le_bytes());
    for i in 0..16 {
        b[2 + i] = q(i) | q(16 + i) << 4;
    }
    Some(b)
}

fn q4_k(x: &[f32; 256]) -> Option<[u8; 144]> {
    let (x, _) = x.as_chunks::<32>();
    let fits: [Affine; 8] = std::array::from_fn(|k| fit_affine(&x[k]));
    let largest = |of: fn(&Affine) -> f64| fits.iter().map(of).fold(0.0, f64::max) as f32;
    let d = finite(largest(|f| f.scale) / 63.0)?;
    let dmin = finite(largest(|f| f.min) / 63.0)?;

    let units = |x: f64, unit: f16| nearest(x * f64::from(inverse(unit.to_f32())), 63);
    let scales = fits.map(|f| units(f.scale, d));
    let mins = fits.map(|f| units(f.min, dmin));

    let mut b = [0; 144];
    b[..2].copy_from_slice(&d.to_le_bytes());
    b[2..4].copy_from_slice(&dmin.to_le_bytes());
    for k in 0..4 {
        b[4 + k] = scales[k] | scales[4 + k] >> 4 << 6;
        b[8 + k] = mins[k] | mins[4 + k] >> 4 << 6;
        b[12 + k] = scales[4 + k] & 15 | mins[4 + k] << 4;
    }
    for k in 0..8 {
        // The weights are rounded anew, as the scale they get is not quite the one fitted.
        let scale = d.to_f32() * f32::from(scales[k]);
        let min = dmin.to_f32() * f32::from(mins[k]);
        let per_unit = inverse(scale);
        for i in 0..32 {
            let q = nearest(f64::from((x[k][i] + min) * per_unit), 15);
            b[16 + 32 * (k / 2) + i] |= q << (4 * (k % 2));
        }
    }
    Some(b)
}

fn q6_k(x: &[f32; 256]) -> Option<[u8; 210]> {
    let (x, _) = x.as_chunks::<16>();
    let fits: [f32; 16] = std::array::from_fn(|s| fit_scale(&x[s]) as f32);
    // The scale farthest from zero becomes -128.
    let d = finite(fits[index_of_largest(&fits)] / -128.0)?;
    let scales = fits.map(|f| (f * inverse(d.to_f32())).round() as i8);

    let mut b = [0; 210];
    for k in 0..8 {
        for i in 0..32 {
            let s = 2 * k + i / 16;
            let per_unit = inverse(d.to_f32() * f32::from(scales[s]));
            let q = nearest(f64::from(x[s][i % 16] * per_unit) + 32.0, 63);
            b[64 * (k / 4) + 32 * (k % 2) + i] |= (q & 15) << (4 * (k % 4 / 2));
            b[128 + 32 * (k / 4) + i] |= (q >> 4) << (2 * (k % 4));
        }
    }
    b[192..208].copy_from_slice(&scales.map(|s| s as u8));
    b[208..].copy_from_slice(&d.to_le_bytes());
    Some(b)
}

/// Values as `scale*q - min`, `q` from 0 to 15, `min` not negative.
#[derive(Clone, Copy)]
struct Affine {
    scale: f64,
    min: f64,
}

/// The best of 22 tries at fitting 32 values, by weighted squares of the error: each try rounds with some
/// step, then solves for the scale and minimum that suit the rounded integers best. Large values
/// weigh more, as they move a product more (`make_qkx2_quants`). In f64, where no square overflows.
fn fit_affine(x: &[f32; 32]) -> Affine {
    let x = x.map(f64::from);
    let mean_square = x.iter().map(|x| x * x).sum::<f64>() / 32.0;
    let weights = x.map(|x| mean_square.sqrt() + x.abs());
    let low = x.iter().copied().fold(0.0, f64::min);
    let high = x.iter().copied().fold(low, f64::max);
    if high == low {
        return Affine { scale: 0.0, min: -low };
    }
    let error = |f: Affine| {
        let per_unit = 1.0 / f.scale;
        let square = |(x, w): (&f64, &f64)| {
            let q = f64::from(nearest((x + f.min) * per_unit, 15));
            let e = f.scale * q - f.min - x;
            w * e * e
        };
        x.iter().zip(&weights).map(square).sum::<f64>()
    };
    let mut best = Affine { scale: (high - low) / 15.0, min: -low };
    let mut least = error(best);
    for step in 0..=20 {
        // 14 to 16 steps between the lowest and the highest value.
        let per_unit = (14.0 + 0.1 * f64::from(step)) / (high - low);
        let q = x.map(|x| f64::from(nearest((x - low) * per_unit, 15)));
        let Some(fit) = solve_affine(&x, &weights, &q) else { continue };
        let e = error(fit);
        if e < least {
            (best, least) = (fit, e);
        }
    }
    best
}

/// Scale and minimum with the least weighted squares for given integers.
fn solve_affine(x: &[f64; 32], weights: &[f64; 32], q: &[f64; 32]) -> Option<Affine> {
    let (mut w_, mut wx, mut wq, mut wqq, mut wqx) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for i in 0..32 {
        let w = weights[i];
        w_ += w;
        wx += w * x[i];
        wq += w * q[i];
        wqq += w * q[i] * q[i];
        wqx += w * q[i] * x[i];
    }
    let det = w_ * wqq - wq * wq;
    if det <= 0.0 {
        return None;
    }
    let fit = Affine { scale: (w_ * wqx - wx * wq) / det, min: -(wqq * wx - wq * wqx) / det };
    // A minimum above zero cannot be stored: then zero is the lowest value.
    let fit = if fit.min < 0.0 { Affine { scale: wqx / wqq, min: 0.0 } } else { fit };
    (fit.scale > 0.0).then_some(fit)
}

/// The scale that fits 16 values as `scale*q`, `q` from -32 to 31, best among 19 tries, by squares of the
/// error that weigh as the square of the value (`make_qx_quants`). In f64, where no power overflows.
fn fit_scale(x: &[f32; 16]) -> f64 {
    let farthest = f64::from(x[index_of_largest(x)]);
    if farthest == 0.0 {
        return 0.0;
    }
    let x = x.map(f64::from);
    let (mut best, mut most) = (0.0, 0.0);
    for step in -9..=9 {
        // The value farthest from zero becomes -31.1 to -32.9.
        let per_unit = -(32.0 + 0.1 * f64::from(step)) / farthest;
        let (mut wqx, mut wqq) = (0.0, 0.0);
        for x in x {
            let q = f64::from(nearest(x * per_unit + 32.0, 63)) - 32.0;
            wqx += x * x * q * x;
            wqq += x * x * q * q;
        }
        // For these integers the best scale is wqx/wqq, which explains wqx^2/wqq of the squares.
        if wqx * wqx > most * wqq {
            (best, most) = (wqx / wqq, wqx * wqx / wqq);
        }
    }
    best
}

/// The first value with the greatest magnitude.
fn index_of_largest(x: &[f32]) -> usize {
    let mut largest = 0;
    for i in 1..x.len() {
        if x[i].abs() > x[largest].abs() {
            largest = i;
        }
    }
    largest
}

/// The nearest integer from 0 to `max`. (The conversion to `u8` drops the fraction and saturates; `round`
/// would be a call on a CPU of which nothing is known.)
fn nearest(x: f64, max: u8) -> u8 {
    ((x + 0.5) as u8).min(max)
}

fn inverse(d: f32) -> f32 {
    if d == 0.0 { 0.0 } else { 1.0 / d }
}

fn finite(x: f32) -> Option<f16> {
    Some(f16::from_f32(x)).filter(|h| h.is_finite())
}
