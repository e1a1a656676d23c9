//! Merging one word: always the pair with the lowest rank, the leftmost of several.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Bpe;
use crate::bounds::{Meter, reserve};
use crate::vocab::Vocab;

/// Words up to this length are merged by scanning for the lowest rank, which beats a heap by its simplicity.
const SHORT: usize = 48;

/// Merges between two questions whether the word is still wanted, which is some milliseconds.
const MERGES: u32 = 1 << 16;

/// Room that is kept from word to word, in bytes of a word.
const KEPT: usize = 1 << 16;

const NO_RANK: u32 = u32::MAX;
const NONE: u32 = u32::MAX;

/// Room for the symbols of a word, kept from word to word.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<u32>,
    /// What each symbol and its right neighbour merge to: rank ([`NO_RANK`]: nothing) and symbol.
    ranks: Vec<u32>,
    merged: Vec<u32>,
    /// Neighbours in a long word; the place of a symbol that was merged into its left neighbour is left empty.
    prev: Vec<u32>,
    next: Vec<u32>,
    /// Pairs that could be merged when they were put in: rank above place, in one integer.
    heap: BinaryHeap<Reverse<u64>>,
}

impl Merger {
    /// The symbols that `word` merges to; none if `meter` stops it.
    pub(super) fn merge(&mut self, bpe: &Bpe, vocab: &Vocab, word: &[u8], meter: &mut Meter<'_>) -> &[u32] {
        if self.symbols.capacity() > KEPT {
            *self = Merger::default();
        }
        self.symbols.clear();
        if word.len() <= KEPT || self.has_room(word.len(), meter) {
            bpe.start(vocab, word, &mut self.symbols);
            self.merge_all(bpe, meter);
        }
        &self.symbols
    }

    /// Makes room for `n` symbols, if there is memory.
    fn has_room(&mut self, n: usize, meter: &mut Meter<'_>) -> bool {
        let mut heap = std::mem::take(&mut self.heap).into_vec();
        heap.clear();
        let has_heap = reserve(&mut heap, n, meter);
        self.heap = heap.into();
        let vectors = [&mut self.symbols, &mut self.ranks, &mut self.merged, &mut self.prev, &mut self.next];
        has_heap && vectors.into_iter().all(|vector| reserve(vector, n, meter))
    }

    fn merge_all(&mut self, bpe: &Bpe, meter: &mut Meter<'_>) {
        self.ranks.clear();
        self.merged.clear();
        for i in 0..self.symbols.len() {
            let (rank, merged) = rank_at(bpe, &self.symbols, i, i + 1);
            self.ranks.push(rank);
            self.merged.push(merged);
        }
        // Places in a long word are counted in u32. A word of 4 GiB is not to be had from a request.
        if self.symbols.len() <= SHORT || self.symbols.len() >= NONE as usize {
            self.merge_short(bpe)
        } else {
            self.merge_long(bpe, meter)
        }
    }

    /// Time: quadratic in the length.
    fn merge_short(&mut self, bpe: &Bpe) {
        loop {
            let mut at = 0;
            let mut lowest = NO_RANK;
            for (i, &rank) in self.ranks.iter().enumerate() {
                if rank < lowest {
                    (at, lowest) = (i, rank);
                }
            }
            if lowest == NO_RANK {
                return;
            }
            self.symbols[at] = self.merged[at];
            self.symbols.remove(at + 1);
            self.ranks.remove(at + 1);
            self.merged.remove(at + 1);
            (self.ranks[at], self.merged[at]) = rank_at(bpe, &self.symbols, at, at + 1);
            if at > 0 {
                (self.ranks[at - 1], self.merged[at - 1]) = rank_at(bpe, &self.symbols, at - 1, at);
            }
        }
    }

    /// Time: n log n in the length.
    fn merge_long(&mut self, bpe: &Bpe, meter: &mut Meter<'_>) {
        let n = self.symbols.len() as u32;
        self.prev.clear();
        self.prev.extend((0..n).map(|i| i.wrapping_sub(1)));
        self.next.clear();
        self.next.extend((1..n).chain([NONE]));
        let mut start = std::mem::take(&mut self.heap).into_vec();
        start.clear();
        let pairs = (0..).zip(&self.ranks).filter(|&(_, &rank)| rank != NO_RANK);
        start.extend(pairs.map(|(at, &rank)| entry(rank, at)));
        self.heap = start.into();
        let mut n_merges: u32 = 0;
        while let Some(Reverse(lowest)) = self.heap.pop() {
            n_merges += 1;
            if n_merges.is_multiple_of(MERGES) && !meter.is_wanted() {
                self.symbols.clear();
                return;
            }
            let at = lowest as u32;
            let place = at as usize;
            if self.ranks[place] != (lowest >> 32) as u32 {
                continue; // the pair is gone
            }
            let right = self.next[place] as usize;
            self.symbols[place] = self.merged[place];
            self.symbols[right] = NONE;
            self.ranks[right] = NO_RANK;
            let after = self.next[right];
            self.next[place] = after;
            if after != NONE {
                self.prev[after as usize] = at;
            }
            self.rank_again(bpe, at);
            if self.prev[place] != NONE {
                self.rank_again(bpe, self.prev[place]);
            }
        }
        self.symbols.retain(|&symbol| symbol != NONE);
    }

    fn rank_again(&mut self, bpe: &Bpe, at: u32) {
        let place = at as usize;
        let (rank, merged) = rank_at(bpe, &self.symbols, place, self.next[place] as usize);
        if rank != NO_RANK {
            self.heap.push(entry(rank, at));
        }
        (self.ranks[place], self.merged[place]) = (rank, merged);
    }
}

/// Orders by rank, then by place.
fn entry(rank: u32, at: u32) -> Reverse<u64> {
    Reverse(u64::from(rank) << 32 | u64::from(at))
}

#[inline]
fn rank_at(bpe: &Bpe, symbols: &[u32], left: usize, right: usize) -> (u32, u32) {
    let merge = symbols.get(right).and_then(|&right| bpe.merge_of(symbols[left], right));
    merge.map_or((NO_RANK, NONE), |merge| (merge.rank, merge.symbol))
}
