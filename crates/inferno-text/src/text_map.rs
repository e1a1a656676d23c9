//! From a token's bytes to its id: an open-addressed table beside the bytes themselves. Its hash has a random key, as a
//! file could otherwise be made so that all its tokens collide.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

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

    /// All strings, end to end.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The end of string `id` in [`bytes`](Self::bytes).
    pub(crate) fn end(&self, id: u32) -> usize {
        self.ends[id as usize] as usize
    }

    #[inline]
    pub(crate) fn get(&self, id: u32) -> Option<&[u8]> {
        let id = id as usize;
        let end = *self.ends.get(id)? as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize };
        Some(&self.bytes[start..end])
    }
}

/// No id. Not 0: memory that is zero to begin with is mapped anew when a slot is first looked at and again when it is
/// written, and the second time interrupts all other threads.
const FREE: u32 = u32::MAX;

/// Ids of the strings of a [`Texts`], by content.
#[derive(Debug)]
pub(crate) struct TextMap {
    /// A power of two of them, at most half in use: a part of the hash, and the id or [`FREE`].
    slots: Vec<(u32, u32)>,
    key: RandomState,
}

impl TextMap {
    /// A table of those strings that `ids` names. Of equal strings the first is kept.
    pub(crate) fn new(texts: &Texts, ids: impl Iterator<Item = u32>) -> TextMap {
        let n_slots = (texts.len() * 2).next_power_of_two().max(2);
        let mut map = TextMap { slots: vec![(0, FREE); n_slots], key: RandomState::default() };
        for id in ids {
            let Some(text) = texts.get(id) else { continue };
            let (mut slot, tag) = map.place(text);
            while map.slots[slot].1 != FREE {
                let (other_tag, taken) = map.slots[slot];
                if other_tag == tag && texts.get(taken) == Some(text) {
                    break;
                }
                slot = (slot + 1) & (map.slots.len() - 1);
            }
            if map.slots[slot].1 == FREE {
                map.slots[slot] = (tag, id);
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
            if taken == FREE {
                return None;
            }
            if other_tag == tag && texts.get(taken) == Some(text) {
                return Some(taken);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
    }

    #[inline]
    fn place(&self, text: &[u8]) -> (usize, u32) {
        let mut hasher = self.key.build_hasher();
        hasher.write(text);
        let hash = hasher.finish();
        (hash as usize & (self.slots.len() - 1), (hash >> 32) as u32)
    }
}

#[cfg(test)]
mod tests;
