//! The KV pool: pages of keys and values, for every layer, head by head.
//!
//! ```text
//! layer | page | head | keys   [head_dim][32 positions]      scores: positions across lanes
//!                     | values [32 positions][head_dim]      sums: dimensions across lanes
//! ```
//!
//! Where attention computes in tiles of bf16, these are the tiles, as they are multiplied; what fills up the last ones
//! is zero and stays it:
//!
//! ```text
//! keys   [32 dimensions][half of the positions][16 pairs of dimensions][16 positions][2]
//! values [16 dimensions][16 pairs of positions][16 dimensions][2]
//! ```

use std::ops::Range;

use inferno_model::backend::{AttentionRule, KV_BLOCK, KvShape, KvType, LayerIdx};
use inferno_model::batch::{PAGE_LEN, PageId};
use inferno_model::error::BackendError;

use crate::kernels::tile_attention::{STEP, n_steps};
use crate::memory::Region;
use crate::simd::LANES;

/// Keys and values of all sequences.
#[derive(Debug)]
pub struct KvPool {
    places: Places,
    bytes: Region,
}

/// Where everything lies in a pool.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) kv_type: KvType,
    pub(crate) rule: AttentionRule,
    pub(crate) n_kv_heads: usize,
    pub(crate) head_dim: usize,
    key_bytes: usize,
    value_bytes: usize,
    /// Of every layer: the first byte and the number of pages.
    layers: Vec<(usize, usize)>,
}

/// One head's keys and values in a page.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) kv_type: KvType,
    pub(crate) keys: &'a [u8],
    pub(crate) values: &'a [u8],
}

/// The same, to be written.
pub(crate) struct HeadMut<'a> {
    pub(crate) kv_type: KvType,
    pub(crate) keys: &'a mut [u8],
    pub(crate) values: &'a mut [u8],
}

impl KvPool {
    pub(crate) fn new(shape: &KvShape, rule: AttentionRule) -> Result<KvPool, BackendError> {
        let head_dim = shape.head_dim;
        let padded = head_dim.next_multiple_of(LANES);
        let n_blocks = head_dim.div_ceil(KV_BLOCK);
        let (key_bytes, value_bytes) = match shape.kv_type {
            KvType::Bf16 if rule == AttentionRule::Bf16Tiles => (2 * STEP * n_steps(head_dim), 2 * padded),
            KvType::F32 => (4 * head_dim, 4 * padded),
            KvType::F16 | KvType::Bf16 => (2 * head_dim, 2 * padded),
            KvType::Q8_0 => (head_dim + 2 * n_blocks, padded + 2 * n_blocks),
        };
        let mut places = Places {
            kv_type: shape.kv_type,
            rule,
            n_kv_heads: shape.n_kv_heads,
            head_dim,
            key_bytes: (key_bytes * PAGE_LEN).next_multiple_of(64),
            value_bytes: (value_bytes * PAGE_LEN).next_multiple_of(64),
            layers: vec![(0, 0); shape.n_layers()],
        };
        let too_large = || BackendError { what: "the KV cache is larger than an address space".into() };
        let mut end = 0usize;
        for (group, n_pages) in &shape.groups {
            for &layer in &group.layers {
                places.layers[layer] = (end, *n_pages);
                let bytes = places.page_bytes().checked_mul(*n_pages);
                end = bytes.and_then(|n| end.checked_add(n)).ok_or_else(too_large)?;
            }
        }
        Ok(KvPool { places, bytes: Region::new(end, &|| "the KV cache".into())? })
    }

    /// How they are attended to.
    pub(crate) fn rule(&self) -> AttentionRule {
        self.places.rule
    }

    /// A head's keys and values in a page.
    pub(crate) fn head(&self, layer: LayerIdx, page: PageId, head: usize) -> Head<'_> {
        let [keys, values] = self.places.head_range(layer.layer, page, head);
        let bytes = self.bytes.bytes();
        Head { kv_type: self.places.kv_type, keys: &bytes[keys], values: &bytes[values] }
    }

    /// The bytes, and where what lies in them.
    pub(crate) fn split(&mut self) -> (&Places, &mut [u8]) {
        (&self.places, self.bytes.bytes_mut())
    }
}

impl Places {
    /// Bytes of one layer in a page.
    fn page_bytes(&self) -> usize {
        self.n_kv_heads * (self.key_bytes + self.value_bytes)
    }

    /// Where a layer's part of a page lies.
    fn page(&self, layer: usize, page: PageId) -> Range<usize> {
        let (start, n_pages) = self.layers[layer];
        assert!((page.0 as usize) < n_pages, "pages are within the pool");
        let start = start + page.0 as usize * self.page_bytes();
        start..start + self.page_bytes()
    }

    /// Where a head's keys and values of a page lie.
    pub(crate) fn head_range(&self, layer: usize, page: PageId, head: usize) -> [Range<usize>; 2] {
        let start = self.page(layer, page).start + head * (self.key_bytes + self.value_bytes);
        let middle = start + self.key_bytes;
        [start..middle, middle..middle + self.value_bytes]
    }
}
