//! Attention in tiles of bf16, a partition at a time: `reference::tiles` of inferno-model, bit for bit.
//!
//! Sixteen queries are the rows of a tile, so the heads of one row that share keys are one product. Keys and values are
//! weights as they lie in the pool. Two groups of queries meet two tiles of keys at once, so that every tile that is
//! loaded serves two products; one group of queries meets four tiles of values.
//!
//! A core's rates for 32 queries and heads of 128, by counting, an estimate (not measured: no machine with AMX at
//! hand): 256 products for every query and key are half a cycle of the tile unit; scale, exponential and rounding are
//! some 20 operations on sixteen keys, two thirds of a cycle of two vector ports. In F32 the products alone are 8
//! cycles. One row reads each byte of its keys and values once.

#[cfg(target_arch = "x86_64")]
pub(super) mod kernel;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use inferno_model::batch::PAGE_LEN;
use inferno_model::numerics::PARTITION_LEN;

use crate::kv::{Head, HeadMut};
use crate::simd::LANES;

/// Queries that are rows of one tile.
pub(crate) const GROUP: usize = 16;

/// Numbers that one step of a product sums over.
pub(crate) const STEP: usize = 32;

/// Sixteen outputs that a tile's columns are.
pub(crate) const COLUMNS: usize = LANES;

/// Pages of a partition.
pub(crate) const PAGES: usize = PARTITION_LEN / PAGE_LEN;

/// A tile of bf16: 16 rows of 32 numbers to be multiplied with what is [pair][16 columns][2].
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Tile(pub(crate) [[u16; STEP]; 16]);

// SAFETY: it is an array of integers whose size is a multiple of its alignment.
unsafe impl Zeroable for Tile {}
// SAFETY: as above, and every bit pattern is a number.
unsafe impl Pod for Tile {}

/// A tile of sums.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct SumTile(pub(crate) [[f32; COLUMNS]; GROUP]);

/// What a level with tiles of bf16 does otherwise.
#[derive(Clone, Copy)]
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there are no tiles"))]
pub(crate) struct TileKernels {
    /// Writes the keys and values of one position, place `place` of a page, to a head's tiles.
    pub(crate) store_head: fn(tile: HeadMut<'_>, place: usize, k: &[f32], v: &[f32]),
    /// Writes a query to row `row` of its group's tiles, rounded.
    pub(crate) gather: fn(tiles: &mut [Tile], row: usize, q: &[f32]),
    /// Computes the queries' softmax over a partition.
    pub(crate) attend: fn(part: &mut Partition<'_>),
}

/// Queries that share a key head, and their keys of one partition.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there are no tiles"))]
pub(crate) struct Partition<'a> {
    /// [group][step over the dimensions]
    pub(crate) q: &'a [Tile],
    /// The positions each query sees, in ascending order.
    pub(crate) visible: &'a [Range<usize>],
    /// One for every query, as `attention::reset` leaves them.
    pub(crate) states: &'a mut [f32],
    /// Those that any query sees.
    pub(crate) pages: &'a [Head<'a>],
    /// Position of the first page's first key.
    pub(crate) start: usize,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
    pub(crate) scratch: &'a mut Scratch,
}

/// Reused from partition to partition.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "there are no tiles"))]
pub(crate) struct Scratch {
    /// Of two groups: [page][half of its positions]
    scores: [[[SumTile; 2]; PAGES]; 2],
    /// Of two groups, what queries give to keys: [page]
    p: [[Tile; PAGES]; 2],
    /// Of two groups: up to four times sixteen outputs.
    out: [[SumTile; 4]; 2],
    /// Where the weights of each step lie.
    weights: Vec<*const Tile>,
    /// Values of which some are replaced by zero.
    values: Vec<Tile>,
}

impl Scratch {
    pub(crate) fn new() -> Box<Scratch> {
        const SUMS: SumTile = SumTile([[0.0; COLUMNS]; GROUP]);
        Box::new(Scratch {
            scores: [[[SUMS; 2]; PAGES]; 2],
            p: [[Tile::zeroed(); PAGES]; 2],
            out: [[SUMS; 4]; 2],
            weights: Vec::new(),
            values: Vec::new(),
        })
    }
}

/// Tiles of a query, or of a page's keys by half its positions.
pub(crate) fn n_steps(key_width: usize) -> usize {
    key_width.div_ceil(STEP)
}
