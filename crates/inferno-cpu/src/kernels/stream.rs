//! Reading memory from one end to the other, as decoding reads weights.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use crate::simd::Simd;

/// Cache lines of a turn.
const LINES: usize = 4;

/// Keeps the bits of every whole line of `bytes` in `seen`, so that no read can be left out.
#[inline(always)]
pub(super) fn stream<S: Simd>(s: S, seen: &mut [i8; 64], bytes: &[u8], ahead: usize) {
    let mut bits = [s.load_bytes(&[0; 64]); 2];
    for lines in bytes.as_chunks::<64>().0.chunks_exact(LINES) {
        for (i, line) in lines.iter().enumerate() {
            s.prefetch(line.as_ptr().wrapping_add(ahead));
            bits[i % 2] = s.or(bits[i % 2], s.load_bytes(line));
        }
    }
    s.store_weights(seen, s.or(bits[0], bits[1]));
}
