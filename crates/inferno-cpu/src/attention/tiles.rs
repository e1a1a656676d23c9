//! The same in tiles of bf16, where the level has them and keys and values are stored for them.

use bytemuck::Zeroable;
use inferno_model::backend::{AttentionRule, KvType};
use inferno_model::batch::PAGE_LEN;

use super::{Block, Call, Scratch, pages_of};
use crate::kernels::tile_attention::{self, GROUP, PAGES, Partition, Tile, TileKernels, n_steps};
use crate::kv::Head;

impl Call<'_> {
    /// The kernels for the pool's tiles, if it holds any.
    pub(super) fn tiles(&self) -> Option<&TileKernels> {
        self.kernels.tiles.as_ref().filter(|_| self.group().rule == AttentionRule::Bf16Tiles)
    }

    /// Rounds the block's queries to tiles and notes what they see.
    pub(super) fn gather_tiles(&self, kernels: &TileKernels, block: &Block, scratch: &mut Scratch) {
        let (span, heads) = (self.span(block), self.heads_per_key());
        let n_steps = n_steps(self.attention.key_width);
        let n_groups = block.queries.len().div_ceil(GROUP);
        // What fills up rows and groups is zero.
        scratch.tile_q.clear();
        scratch.tile_q.resize(n_groups * n_steps, Tile::zeroed());
        for (i, query) in block.queries.clone().enumerate() {
            let (row, head) = (query / heads, block.kv_head * heads + query % heads);
            let tiles = &mut scratch.tile_q[i / GROUP * n_steps..][..n_steps];
            (kernels.gather)(tiles, i % GROUP, self.query(span, row, head));
            scratch.visible.push(self.attention.visible(span.start + row));
        }
    }

    /// The queries' softmax over a partition.
    pub(super) fn tile_partition(
        &self,
        kernels: &TileKernels,
        block: &Block,
        partition: usize,
        scratch: &mut Scratch,
        states: &mut [f32],
    ) {
        let attention = self.attention;
        let Scratch { tile_q, visible, tiles, .. } = scratch;
        let table = self.batch.page_table(self.span(block), attention.layer.group);
        let pages = pages_of(partition, visible);
        let start = pages.start * PAGE_LEN;
        let mut heads = [Head { kv_type: KvType::Bf16, keys: &[], values: &[] }; PAGES];
        for (head, &page) in heads.iter_mut().zip(table.range(pages.clone())) {
            *head = self.pool.head(attention.layer, page, block.kv_head);
        }
        (kernels.attend)(&mut Partition {
            q: tile_q,
            visible,
            states,
            pages: &heads[..pages.len()],
            start,
            scale: attention.scale,
            softcap: attention.softcap,
            scratch: tiles.get_or_insert_with(tile_attention::Scratch::new),
        });
    }
}
