//! Who computes which part of attention: a task is a block of queries that share a key head.

mod tiles;

use std::cell::RefCell;
use std::ops::Range;

use inferno_model::backend::{Attention, AttentionRule, KvType, LayerIdx};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Span};
use inferno_model::numerics::PARTITION_LEN;

use crate::backend::{Buffer, Cpu};
use crate::kernels::Kernels;
use crate::kernels::attention::{Queries, Tile, reset, state_len};
use crate::kernels::tile_attention;
use crate::kv::{GroupPlaces, HeadMut, KvPool};
use crate::memory::Shares;
use crate::simd::{LANES, ROW_GROUP};

/// Queries that meet a tile of keys while it is in the nearest cache.
const BLOCK: usize = 128;

/// Rows × heads from which on more threads store keys.
const SERIAL_HEADS: usize = 64;

/// Reused from step to step.
#[derive(Debug, Default)]
pub(crate) struct AttentionScratch {
    blocks: Vec<Block>,
    /// Of blocks whose partitions are shared out: [partition][query][state]
    states: Vec<f32>,
}

/// Queries of one sequence and one key head: number `i` is head `i % heads per key head` of row `i / …`.
#[derive(Debug, Clone)]
struct Block {
    span: usize,
    kv_head: usize,
    queries: Range<usize>,
    /// Partitions that any of them sees.
    partitions: Range<usize>,
    /// Where its states begin.
    first_state: usize,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

#[derive(Default)]
struct Scratch {
    /// [group][key_width]
    q: Vec<[f32; ROW_GROUP]>,
    visible: Vec<Range<usize>>,
    whole: Vec<f32>,
    part: Vec<f32>,
    /// A tile in f32.
    keys: Vec<f32>,
    values: Vec<f32>,
    /// For tiles of bf16: [group of sixteen queries][step over the dimensions]
    tile_q: Vec<tile_attention::Tile>,
    tiles: Option<Box<tile_attention::Scratch>>,
}

/// What all tasks of a call share.
#[derive(Clone, Copy)]
struct Call<'a> {
    kernels: &'a Kernels,
    q: &'a Buffer,
    pool: &'a KvPool,
    batch: &'a Batch,
    attention: &'a Attention,
    /// (n_heads,)
    sinks: Option<&'a [f32]>,
}

impl Cpu {
    /// Writes keys and values to the slots of the batch's rows. A thread has some of the heads.
    pub(crate) fn store(
        &mut self,
        pool: &mut KvPool,
        layer: LayerIdx,
        k: &Buffer,
        v: &Buffer,
        batch: &Batch,
    ) {
        let kernels = &self.kernels;
        let (places, bytes) = pool.split();
        let group = places.group(layer);
        let (n_heads, key_width, value_width) = (group.n_kv_heads, group.key_width, group.value_width);
        let bytes = Shares::new(bytes);
        let store_head = match (group.rule, &kernels.tiles) {
            (AttentionRule::Bf16Tiles, Some(tiles)) => tiles.store_head,
            _ => kernels.store_head,
        };
        let store = |head: usize| {
            for span in batch.spans() {
                for row in span.rows.clone() {
                    let slot = batch.slot(span, layer.group, batch.positions()[row] as usize).0 as usize;
                    let page = PageId((slot / PAGE_LEN) as u32);
                    let [keys, values] = places.head_range(layer, page, head);
                    // SAFETY: every head is one thread's.
                    let (keys, values) = unsafe { (bytes.at(keys), bytes.at(values)) };
                    let tile = HeadMut { kv_type: places.kv_type, keys, values };
                    let k = &k.row(row)[head * key_width..][..key_width];
                    let v = &v.row(row)[head * value_width..][..value_width];
                    store_head(tile, slot % PAGE_LEN, k, v);
                }
            }
        };
        if batch.n_rows() * n_heads <= SERIAL_HEADS {
            (0..n_heads).for_each(store);
        } else {
            self.pool.run(n_heads, &store);
        }
    }

    /// out = softmax(q kᵀ) v; see `Backend::attend`.
    pub(crate) fn attention(
        &mut self,
        out: &mut Buffer,
        q: &Buffer,
        pool: &KvPool,
        batch: &Batch,
        attention: &Attention,
        sinks: Option<&[f32]>,
    ) {
        let Cpu { kernels, pool: threads, attention: AttentionScratch { blocks, states }, .. } = self;
        let call = Call { kernels, q, pool, batch, attention, sinks };
        let state_len = state_len(attention.value_width);
        let n_states = call.cut(blocks);
        let blocks = &*blocks;
        let width = out.width;
        let outs = Shares::new(&mut out.data);
        let n_parts: usize = blocks.iter().map(|b| b.partitions.len()).sum();
        if blocks.len() >= 4 * threads.n_threads() || n_parts == blocks.len() || threads.n_threads() == 1 {
            threads.run(blocks.len(), &|i| call.attend(&blocks[i], &outs, width));
            return;
        }

        // Few sequences with many keys: threads share their partitions.
        states.resize(n_states * state_len, 0.0);
        let shares = Shares::new(states);
        threads.run(n_parts, &|mut i| {
            let block = blocks.iter().find(|b| {
                let mine = i < b.partitions.len();
                i = if mine { i } else { i - b.partitions.len() };
                mine
            });
            let block = block.expect("as many as all blocks' partitions");
            let n = block.queries.len().next_multiple_of(ROW_GROUP);
            let first = (block.first_state + i * n) * state_len;
            // SAFETY: every partition of a block has states of its own.
            let part = unsafe { shares.at(first..first + n * state_len) };
            SCRATCH.with_borrow_mut(|scratch| {
                call.gather(block, scratch);
                reset(part, attention.value_width);
                call.partition(block, block.partitions.start + i, scratch, part);
            });
        });
        let states = &*states;
        threads.run(blocks.len(), &|i| {
            let block = &blocks[i];
            let n = block.queries.len().next_multiple_of(ROW_GROUP);
            SCRATCH.with_borrow_mut(|scratch| {
                call.gather(block, scratch);
                let Scratch { visible, whole, .. } = scratch;
                for (p, partition) in block.partitions.clone().enumerate() {
                    let part = &states[(block.first_state + p * n) * state_len..][..n * state_len];
                    call.merge(partition, visible, whole, part);
                }
                call.finish(block, whole, &outs, width);
            });
        });
    }
}

impl Call<'_> {
    fn heads_per_key(&self) -> usize {
        self.attention.n_heads / self.attention.n_kv_heads
    }

    /// Where the layer's keys and values lie.
    fn group(&self) -> &GroupPlaces {
        self.pool.group(self.attention.layer)
    }

    fn span(&self, block: &Block) -> &Span {
        &self.batch.spans()[block.span]
    }

    /// Cuts the batch into blocks; returns how many states their partitions need if they are shared out.
    fn cut(&self, blocks: &mut Vec<Block>) -> usize {
        blocks.clear();
        let heads = self.heads_per_key();
        let rows_at_once = (BLOCK / heads).max(1);
        let mut n_states = 0;
        for (i, span) in self.batch.spans().iter().enumerate() {
            let n_rows = span.rows.len();
            // The last blocks see the most keys: they come first.
            for first in (0..n_rows).step_by(rows_at_once).rev() {
                let last = n_rows.min(first + rows_at_once) - 1;
                let visible = self.attention.visible(span.start + first).start..span.start + last + 1;
                let partitions = visible.start / PARTITION_LEN..visible.end.div_ceil(PARTITION_LEN);
                for kv_head in 0..self.attention.n_kv_heads {
                    let queries = first * heads..(last + 1) * heads;
                    let n = queries.len().next_multiple_of(ROW_GROUP) * partitions.len();
                    let partitions = partitions.clone();
                    blocks.push(Block { span: i, kv_head, queries, partitions, first_state: n_states });
                    n_states += n;
                }
            }
        }
        n_states
    }

    /// The whole of a block.
    fn attend(&self, block: &Block, outs: &Shares<'_, f32>, width: usize) {
        SCRATCH.with_borrow_mut(|scratch| {
            self.gather(block, scratch);
            let mut part = std::mem::take(&mut scratch.part);
            part.resize(scratch.whole.len(), 0.0);
            for partition in block.partitions.clone() {
                reset(&mut part, self.attention.value_width);
                self.partition(block, partition, scratch, &mut part);
                self.merge(partition, &scratch.visible, &mut scratch.whole, &part);
            }
            scratch.part = part;
            self.finish(block, &scratch.whole, outs, width);
        });
    }

    /// Interleaves the block's queries, notes what they see and makes room for their states.
    fn gather(&self, block: &Block, scratch: &mut Scratch) {
        let Attention { key_width, value_width, .. } = *self.attention;
        let (span, heads) = (self.span(block), self.heads_per_key());
        let n = block.queries.len();
        let n_groups = n.div_ceil(ROW_GROUP);
        scratch.q.clear();
        scratch.visible.clear();
        scratch.whole.resize(n_groups * ROW_GROUP * state_len(value_width), 0.0);
        if let Some(kernels) = self.tiles() {
            return self.gather_tiles(kernels, block, scratch);
        }
        scratch.q.resize(n_groups * key_width, [0.0; ROW_GROUP]);
        for (i, query) in block.queries.clone().enumerate() {
            let (row, head) = (query / heads, block.kv_head * heads + query % heads);
            let q = self.query(span, row, head);
            let group = &mut scratch.q[i / ROW_GROUP * key_width..][..key_width];
            group.iter_mut().zip(q).for_each(|(out, q)| out[i % ROW_GROUP] = *q);
            scratch.visible.push(self.attention.visible(span.start + row));
        }
        // A group is full, or as wide as the next kernel; the queries that fill it up see what the last one sees.
        let last = scratch.visible[n - 1].clone();
        let rest = n % ROW_GROUP;
        scratch.visible.resize(n - rest + if rest == 0 { 0 } else { rest.next_power_of_two() }, last);
    }

    fn query(&self, span: &Span, row: usize, head: usize) -> &[f32] {
        let key_width = self.attention.key_width;
        &self.q.row(span.rows.start + row)[head * key_width..][..key_width]
    }

    /// Adds a partition's keys to the queries' states, tile by tile.
    fn partition(&self, block: &Block, partition: usize, scratch: &mut Scratch, states: &mut [f32]) {
        if let Some(kernels) = self.tiles() {
            return self.tile_partition(kernels, block, partition, scratch, states);
        }
        let Attention { key_width, value_width, layer, scale, softcap, .. } = *self.attention;
        let Scratch { q, visible, keys, values, .. } = scratch;
        let table = self.batch.page_table(self.span(block), layer.group);
        let state_len = state_len(value_width);
        let pages = pages_of(partition, visible);
        for (i, &page) in table.range(pages.clone()).iter().enumerate() {
            let start = (pages.start + i) * PAGE_LEN;
            let head = self.pool.head(layer, page, block.kv_head);
            let mut tile =
                Tile { kv_type: head.kv_type, keys: head.keys, values: head.values, start, scale, softcap };
            let is_latent = self.group().is_latent;
            let convert = match head.kv_type {
                _ if is_latent => true,
                KvType::F32 => false,
                KvType::F16 | KvType::Bf16 => visible.len() > ROW_GROUP,
                KvType::Q8_0 => true,
            };
            if convert {
                keys.resize(key_width * PAGE_LEN, 0.0);
                values.resize(value_width.next_multiple_of(LANES) * PAGE_LEN, 0.0);
                match is_latent {
                    true => (self.kernels.load_latent)(keys, values, head, value_width),
                    false => (self.kernels.load_head)(keys, values, head),
                }
                tile.kv_type = KvType::F32;
                (tile.keys, tile.values) = (bytemuck::cast_slice(keys), bytemuck::cast_slice(values));
            }
            let groups = visible.chunks(ROW_GROUP).zip(q.chunks_exact(key_width));
            for ((visible, q), states) in groups.zip(states.chunks_exact_mut(ROW_GROUP * state_len)) {
                if visible.iter().any(|v| v.start < start + PAGE_LEN && v.end > start) {
                    (self.kernels.attend_tile)(&mut Queries { q, states, visible }, &tile);
                }
            }
        }
    }

    /// Adds a partition to the sums of the queries that see some of it; it is the first for some.
    fn merge(&self, partition: usize, visible: &[Range<usize>], whole: &mut [f32], part: &[f32]) {
        let n = state_len(self.attention.value_width);
        let start = partition * PARTITION_LEN;
        for ((visible, whole), part) in
            visible.iter().zip(whole.chunks_exact_mut(n)).zip(part.chunks_exact(n))
        {
            if visible.start / PARTITION_LEN == partition {
                whole.copy_from_slice(part);
            } else if visible.start < start && visible.end > start {
                (self.kernels.merge)(whole, part);
            }
        }
    }

    fn finish(&self, block: &Block, whole: &[f32], outs: &Shares<'_, f32>, width: usize) {
        let value_width = self.attention.value_width;
        let (span, heads) = (self.span(block), self.heads_per_key());
        for (query, whole) in block.queries.clone().zip(whole.chunks_exact(state_len(value_width))) {
            let (row, head) = (span.rows.start + query / heads, block.kv_head * heads + query % heads);
            let start = row * width + head * value_width;
            // SAFETY: every head of a row is one thread's.
            let out = unsafe { outs.at(start..start + value_width) };
            (self.kernels.finish)(out, whole, self.sinks.map(|sinks| sinks[head]));
        }
    }
}

/// The pages of a partition that queries see which see those positions, in ascending order.
fn pages_of(partition: usize, visible: &[Range<usize>]) -> Range<usize> {
    let start = visible[0].start.max(partition * PARTITION_LEN);
    let end = visible[visible.len() - 1].end.min((partition + 1) * PARTITION_LEN);
    start / PAGE_LEN..end.div_ceil(PAGE_LEN)
}
