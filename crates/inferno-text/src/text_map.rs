//! From a token's bytes to its id: an open-addressed table beside the bytes themselves. And the hash of it, keyed,
//! as a file could otherwise be made so that all its tokens collide.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Many byte strings end to end in one allocation, by index.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    bytes: Vec<u8>,
    /// Where string `i` ends; it starts where the one before ends.
    ends: Vec<u32>,
}

impl Texts {
    /// Adds a string. The caller keeps the total below 4 GiB.
    pub(crate) fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
        self.ends.push(u32::try_from(self.bytes.len()).expect("token texts are limited to 2 GiB"));
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        Some(&self.bytes[start..end])
    }
}

/// Ids of the strings of a [`Texts`], by content.
#[derive(Debug)]
pub(crate) struct TextMap {
    /// A power of two of them, at most half in use: a part of the hash, and id + 1 or 0 for a free slot.
    slots: Vec<(u32, u32)>,
    key: Key,
}

impl TextMap {
    /// A table of those strings that `ids` names. Of equal strings the first is kept.
    pub(crate) fn new(texts: &Texts, ids: impl Iterator<Item = u32>) -> TextMap {
        let n_slots = (texts.len() * 2).next_power_of_two().max(2);
        let mut map = TextMap { slots: vec![(0, 0); n_slots], key: Key::random() };
        for id in ids {
            let Some(text) = texts.get(id) else { continue };
            let (mut slot, tag) = map.place(text);
            while let (other_tag, taken @ 1..) = map.slots[slot] {
                if other_tag == tag && texts.get(taken - 1) == Some(text) {
                    break;
                }
                slot = (slot + 1) & (map.slots.len() - 1);
            }
            if map.slots[slot].1 == 0 {
                map.slots[slot] = (tag, id + 1);
            }
        }
        map
    }

    /// The id of `text`.
    #[inline]
    pub(crate) fn get(&self, texts: &Texts, text: &[u8]) -> Option<u32> {
        let (mut slot, tag) = self.place(text);
        loop {
            let (other_tag, taken) = self.slots[slot];
            if taken == 0 {
                return None;
            }
            if other_tag == tag && texts.get(taken - 1) == Some(text) {
                return Some(taken - 1);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    #[inline]
    fn place(&self, text: &[u8]) -> (usize, u32) {
        let hash = self.key.hash(text);
        (hash as usize & (self.slots.len() - 1), (hash >> 32) as u32)
    }
}

/// A hash function that nobody outside this process knows. It is rustc-hash's for byte strings (by Orson Peters,
/// after wyhash), whose constants are here random: as all input meets a random number before it is multiplied,
/// no strings collide under more than a few keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key([u64; 4]);

impl Key {
    pub(crate) fn random() -> Key {
        let random = RandomState::new();
        Key([0u64, 1, 2, 3].map(|i| random.hash_one(i)))
    }

    #[inline]
    fn hash(&self, bytes: &[u8]) -> u64 {
        let [mut a, mut b, c, d] = self.0;
        let n = bytes.len();
        if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            let mut bulk = &bytes[..n - 1];
            while let Some((chunk, rest)) = bulk.split_first_chunk::<16>() {
                let [x, y] = halves(chunk);
                (a, b) = (b, multiply_mix(a ^ x, c ^ y));
                bulk = rest;
            }
            let [x, y] = match bytes.last_chunk::<16>() {
                Some(last) if n > 16 => halves(last),
                _ => [u64::from_le_bytes(*first), u64::from_le_bytes(*last)],
            };
            (a, b) = (a ^ x, b ^ y);
        } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            a ^= u64::from(u32::from_le_bytes(*first));
            b ^= u64::from(u32::from_le_bytes(*last));
        } else if n > 0 {
            a ^= u64::from(bytes[0]);
            b ^= u64::from(bytes[n - 1]) << 8 | u64::from(bytes[n / 2]);
        }
        multiply_mix(multiply_mix(a, b) ^ n as u64, d)
    }
}

#[inline]
fn halves(chunk: &[u8; 16]) -> [u64; 2] {
    let both = u128::from_le_bytes(*chunk);
    [both as u64, (both >> 64) as u64]
}

/// The product's halves together.
#[inline]
fn multiply_mix(x: u64, y: u64) -> u64 {
    let product = u128::from(x) * u128::from(y);
    product as u64 ^ (product >> 64) as u64
}

/// For maps of one `u64` each.
impl BuildHasher for Key {
    type Hasher = U64Hasher;

    #[inline]
    fn build_hasher(&self) -> U64Hasher {
        U64Hasher { hash: self.0[0], factor: self.0[1] | 1 }
    }
}

#[derive(Debug)]
pub(crate) struct U64Hasher {
    hash: u64,
    factor: u64,
}

impl Hasher for U64Hasher {
    #[inline]
    fn write_u64(&mut self, x: u64) {
        self.hash = multiply_mix(self.hash ^ x, self.factor);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests;
