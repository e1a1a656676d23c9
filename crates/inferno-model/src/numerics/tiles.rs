//! What a tile of bf16 computes, to the bit: `tdpbf16ps` of Intel's Software Developer's Manual, volume 2.

use half::bf16;

/// Pairs of numbers that one instruction multiplies, at most.
pub const TILE_PAIRS: usize = 16;

/// The nearest bf16, ties to even.
pub fn round_bf16(x: f32) -> f32 {
    bf16::from_f32(x).to_f32()
}

/// One number of the sums: `sum` plus the products of the pairs of `a` and `b`, which are bf16.
///
/// The pairs' first numbers are one chain of FMAs from zero and their second ones another; the two are added, and then
/// added to the sum. Denormals are zero, whether they are taken or given, and nothing of this depends on MXCSR.
pub fn dot_pairs(sum: f32, a: &[[f32; 2]], b: &[[f32; 2]]) -> f32 {
    assert!(a.len() == b.len() && a.len() <= TILE_PAIRS, "pairs of one instruction");
    let mut chains = [0.0; 2];
    for (a, b) in a.iter().zip(b) {
        for ((chain, &a), &b) in chains.iter_mut().zip(a).zip(b) {
            *chain = fma(flush(a), flush(b), *chain);
        }
    }
    flush(flush(sum) + flush(chains[0] + chains[1]))
}

/// A denormal is zero of the same sign.
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// `a × b + c` of normal numbers. It is zero if it were below the normal ones with as many digits as they have: what
/// gains the smallest of them only because denormals have fewer is zero, too.
fn fma(a: f32, b: f32, c: f32) -> f32 {
    /// Small enough for what can give so small a result.
    const LARGER: f32 = (1u64 << 40) as f32;
    let x = a.mul_add(b, c);
    let is_small = x.abs() == f32::MIN_POSITIVE
        && (a * LARGER).mul_add(b * LARGER, c * LARGER * LARGER).abs() < f32::MIN_POSITIVE * LARGER * LARGER;
    if is_small { 0.0f32.copysign(x) } else { flush(x) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_and_odd_numbers_are_summed_apart() {
        let big = 2.0f32.powi(30);
        // In one chain, the ones would be lost beside the large numbers.
        let a = [[big, 1.0], [-big, 1.0]];
        assert_eq!(dot_pairs(0.0, &a, &[[1.0; 2]; 2]), 2.0);
        // A chain starts from zero: added to the sum first, its numbers would be lost.
        assert_eq!(dot_pairs(2.0f32.powi(24), &[[1.0, 0.0]; 2], &[[1.0; 2]; 2]), 2.0f32.powi(24) + 2.0);
    }

    #[test]
    fn denormals_are_zero() {
        let tiny = f32::from_bits(0x0040_0000);
        assert_eq!(dot_pairs(0.0, &[[tiny, 0.0]], &[[1e30, 0.0]]), 0.0);
        assert_eq!(dot_pairs(tiny, &[[0.0; 2]], &[[0.0; 2]]), 0.0);
        assert_eq!(dot_pairs(0.0, &[[1e-20, 0.0]], &[[1e-20, 0.0]]), 0.0);
        let least = f32::MIN_POSITIVE;
        assert_eq!(dot_pairs(1.5 * least, &[[-least, 0.0]], &[[1.0, 0.0]]), 0.0);
    }

    #[test]
    fn a_product_just_below_the_normal_numbers_is_zero() {
        // 2^-126 - 2^-150 has as many digits as a normal number; denormals would have it round up.
        let [a, b] = [2.0f32.powi(-63), 2.0f32.powi(-63)];
        let c = -2.0f32.powi(-75);
        assert_eq!(fma(a, b, 0.0), f32::MIN_POSITIVE);
        assert_eq!(fma(2.0f32.powi(-75), c, f32::MIN_POSITIVE), 0.0);
    }
}
