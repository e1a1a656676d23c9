//! Taking inputs apart.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// A file of the repository.
pub(crate) fn repository_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

/// The contents of a file of the repository.
pub(crate) fn read(name: &str) -> Vec<u8> {
    std::fs::read(repository_file(name)).expect("a file of the repository")
}

/// The first `N` bytes, zeros where there are fewer, and the rest.
pub(crate) fn head<const N: usize>(data: &[u8]) -> ([u8; N], &[u8]) {
    let n = data.len().min(N);
    let mut head = [0; N];
    head[..n].copy_from_slice(&data[..n]);
    (head, &data[n..])
}

/// The text, with U+FFFD for what is not UTF-8.
pub(crate) fn text(data: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(data)
}

/// The text in pieces, whose lengths follow from `seed`.
pub(crate) fn pieces(text: &str, seed: u64) -> Vec<&str> {
    let mut bits = Bits(seed);
    let (mut pieces, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let at = rest.ceil_char_boundary(1 + bits.below(9));
        let (piece, after) = rest.split_at(at);
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Pseudo-random numbers: SplitMix64.
pub(crate) struct Bits(pub(crate) u64);

impl Bits {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}
