//! The KV pool: pages of keys and values, for every layer, head by head.
//!
//! ```text
//! layer | page | head | keys   [key_width][32 positions]      scores: positions across lanes
//!                     | values [32 positions][value_width]    sums: dimensions across lanes
//! ```
//!
//! Each cache group has heads of its own number and widths, and pages of its own; memory is taken as pages are written.
//!
//! A page of a recurrent layer is its state. A latent cache has one head, whose values are the latent rows and whose keys are the numbers that a key has beside its value:
//! attention puts both together, a page at a time.
//!
//! Where attention computes in tiles of bf16, these are the tiles, as they are multiplied; what fills up the last ones
//! is zero and stays it:
//!
//! ```text
//! keys   [32 dimensions][half of the positions][16 pairs of dimensions][16 positions][2]
//! values [16 dimensions][16 pairs of positions][16 dimensions][2]
//! ```

use std::ops::Range;

use inferno_model::architecture::CacheKind;
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
    groups: Vec<GroupPlaces>,
    /// The first byte of every layer, for each group: a layer may have keys and values in one and a state in another.
    layers: Vec<usize>,
    n_layers: usize,
}

/// The pages of a cache group: in each of its layers the same.
#[derive(Debug)]
pub(crate) struct GroupPlaces {
    pub(crate) rule: AttentionRule,
    /// Keys begin with their values.
    pub(crate) is_latent: bool,
    pub(crate) n_kv_heads: usize,
    pub(crate) key_width: usize,
    pub(crate) value_width: usize,
    /// Of one head in a page.
    key_bytes: usize,
    value_bytes: usize,
    /// Of a recurrent layer's state, in a page.
    state_bytes: usize,
    n_pages: usize,
    /// The first byte of each of its layers.
    starts: Vec<usize>,
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
        let n_layers = shape.n_layers();
        let layers = vec![0; shape.groups.len() * n_layers];
        let mut places = Places { kv_type: shape.kv_type, groups: Vec::new(), layers, n_layers };
        let too_large = || BackendError {
            what: "the KV cache is larger than an address space (`--kv-memory` asks for less)".into(),
        };
        let mut end = 0usize;
        for (i, (group, n_pages)) in shape.groups.iter().enumerate() {
            let mut here = GroupPlaces::new(group.kind, shape.kv_type, rule, *n_pages);
            for &layer in &group.layers {
                places.layers[i * n_layers + layer] = end;
                here.starts.push(end);
                let bytes = here.page_bytes().checked_mul(*n_pages);
                end = bytes.and_then(|n| end.checked_add(n)).ok_or_else(too_large)?;
            }
            places.groups.push(here);
        }
        Ok(KvPool {
            places,
            bytes: Region::new(end, &|| "the KV cache (`--kv-memory` asks for less)".into())?,
        })
    }

    /// The pages that a layer's keys and values are in.
    pub(crate) fn group(&self, layer: LayerIdx) -> &GroupPlaces {
        self.places.group(layer)
    }

    /// A head's keys and values in a page.
    pub(crate) fn head(&self, layer: LayerIdx, page: PageId, head: usize) -> Head<'_> {
        let [keys, values] = self.places.head_range(layer, page, head);
        let bytes = self.bytes.bytes();
        Head { kv_type: self.places.kv_type, keys: &bytes[keys], values: &bytes[values] }
    }

    /// Bytes of a page of a group, over its layers.
    pub(crate) fn page_bytes(&self, group: usize) -> usize {
        let group = &self.places.groups[group];
        group.starts.len() * group.page_bytes()
    }

    /// Copies a page of a group to `out`, layer after layer.
    pub(crate) fn read_page(&self, group: usize, page: PageId, out: &mut [u8]) {
        assert_eq!(out.len(), self.page_bytes(group), "the bytes of a page");
        let mut out = out;
        for range in self.places.page_ranges(group, page) {
            let (part, rest) = out.split_at_mut(range.len());
            part.copy_from_slice(&self.bytes.bytes()[range]);
            out = rest;
        }
    }

    /// Makes a page of a group what it was when `bytes` were read.
    pub(crate) fn write_page(&mut self, group: usize, page: PageId, bytes: &[u8]) {
        assert_eq!(bytes.len(), self.page_bytes(group), "the bytes of a page");
        let mut bytes = bytes;
        for range in self.places.page_ranges(group, page) {
            let (part, rest) = bytes.split_at(range.len());
            self.bytes.bytes_mut()[range].copy_from_slice(part);
            bytes = rest;
        }
    }

    /// The bytes, and where what lies in them.
    pub(crate) fn split(&mut self) -> (&Places, &mut [u8]) {
        (&self.places, self.bytes.bytes_mut())
    }
}

impl GroupPlaces {
    fn new(kind: CacheKind, kv_type: KvType, rule: AttentionRule, n_pages: usize) -> GroupPlaces {
        let [n_kv_heads, key_width, value_width] = kind.heads();
        let rule = kind.rule(rule);
        let padded = value_width.next_multiple_of(LANES);
        let scales = |width: usize| 2 * width.div_ceil(KV_BLOCK);
        // Of one position.
        let (key_bytes, value_bytes) = match kv_type {
            KvType::Bf16 if rule == AttentionRule::Bf16Tiles => (2 * STEP * n_steps(key_width), 2 * padded),
            KvType::F32 => (4 * key_width, 4 * padded),
            KvType::F16 | KvType::Bf16 => (2 * key_width, 2 * padded),
            KvType::Q8_0 => (key_width + scales(key_width), padded + scales(value_width)),
        };
        GroupPlaces {
            rule,
            is_latent: matches!(kind, CacheKind::Latent { .. }),
            n_kv_heads,
            key_width,
            value_width,
            key_bytes: (key_bytes * PAGE_LEN).next_multiple_of(64),
            value_bytes: (value_bytes * PAGE_LEN).next_multiple_of(64),
            state_bytes: (size_of::<f32>() * kind.state_width()).next_multiple_of(64),
            n_pages,
            starts: Vec::new(),
        }
    }

    /// Bytes of one layer in a page.
    fn page_bytes(&self) -> usize {
        self.n_kv_heads * (self.key_bytes + self.value_bytes) + self.state_bytes
    }
}

impl Places {
    /// The pages that a layer's keys and values are in.
    pub(crate) fn group(&self, layer: LayerIdx) -> &GroupPlaces {
        &self.groups[layer.group]
    }

    /// Where a head's keys and values of a page lie.
    pub(crate) fn head_range(&self, layer: LayerIdx, page: PageId, head: usize) -> [Range<usize>; 2] {
        let group = self.group(layer);
        let start = self.page_start(layer, page) + head * (group.key_bytes + group.value_bytes);
        let middle = start + group.key_bytes;
        [start..middle, middle..middle + group.value_bytes]
    }

    /// Where a recurrent layer's state of a page lies.
    pub(crate) fn state_range(&self, layer: LayerIdx, page: PageId) -> Range<usize> {
        let start = self.page_start(layer, page);
        start..start + self.group(layer).state_bytes
    }

    /// Where a page of a group lies, in each of its layers.
    fn page_ranges(&self, group: usize, page: PageId) -> impl Iterator<Item = Range<usize>> {
        let group = &self.groups[group];
        assert!((page.0 as usize) < group.n_pages, "pages are within the pool");
        let n = group.page_bytes();
        let at = page.0 as usize * n;
        group.starts.iter().map(move |start| start + at..start + at + n)
    }

    fn page_start(&self, layer: LayerIdx, page: PageId) -> usize {
        let group = self.group(layer);
        assert!((page.0 as usize) < group.n_pages, "pages are within the pool");
        let start = self.layers[layer.group * self.n_layers + layer.layer];
        start + page.0 as usize * group.page_bytes()
    }
}
