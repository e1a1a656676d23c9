//! The random numbers of sampling: a function of (seed, choice, position, draw) and nothing else.
//!
//! This is a promise to whoever stored a seed, so it never changes:
//!
//! ```text
//! generator   Philox4x32-10
//! key         [seed & 0xFFFF_FFFF, seed >> 32]
//! counter     [choice_idx, position, draw, 0]
//! output      [r0, r1, r2, r3]; r2 and r3 are not used
//! number      (((r0 << 32) | r1) >> 11) / 2^53, in [0, 1): r0 has the upper bits
//! ```
//!
//! `position` is that of the row whose logits the token is chosen from: the first token of a completion is drawn at
//! the position of the prompt's last token. Draw 0 chooses the token: the first candidate, best first, for which
//! the sum of weights up to and with it exceeds number × sum of all. Whatever needs more random numbers at the same
//! position takes draws 1, 2, … in the order in which its stages are applied.

/// A number in [0, 1) with 53 random bits.
pub fn uniform(seed: u64, choice_idx: u32, position: u32, draw: u32) -> f64 {
    let r = philox([choice_idx, position, draw, 0], seed);
    let bits = (u64::from(r[0]) << 32 | u64::from(r[1])) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Philox4x32-10: 128 random bits from a counter and a key. Source: Salmon et al., "Parallel random numbers:
/// as easy as 1, 2, 3" (SC 2011).
fn philox(mut c: [u32; 4], key: u64) -> [u32; 4] {
    let (mut k0, mut k1) = (key as u32, (key >> 32) as u32);
    for _ in 0..10 {
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [(p1 >> 32) as u32 ^ c[1] ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k1, p0 as u32];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], 0), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([u32::MAX; 4], u64::MAX), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox(pi, 0x299f_31d0_a409_3822), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn a_seed_gives_the_numbers_that_were_promised() {
        let numbers = |at: [u32; 3], seed| (uniform(seed, at[0], at[1], at[2]) * (1u64 << 53) as f64) as u64;
        // The first is the published answer for zeros: 0x6627e8d5_e169c58d >> 11.
        assert_eq!(numbers([0, 0, 0], 0), 0x000c_c4fd_1abc_2d38);
        assert_eq!(numbers([1, 0, 0], 0), 0x001f_1c99_948b_9640);
        assert_eq!(numbers([0, 1, 0], 0), 0x000d_5a18_bd9d_446c);
        assert_eq!(numbers([0, 0, 1], 0), 0x0010_88a2_bc3e_11ad);
        assert_eq!(numbers([0, 0, 0], 1), 0x001c_7d00_ce1c_a141);
        assert_eq!(numbers([0, 0, 0], 1 << 32), 0x001f_bbc7_c17f_4fcb);
        assert_eq!(numbers([2, 4095, 0], 0x0123_4567_89ab_cdef), 0x0010_c01a_5e17_bc77);
    }
}
