//! The pool of keys and values: a buffer for every layer, of pages of slots of records.

use inferno_model::architecture::CacheKind;
use inferno_model::backend::{KV_BLOCK, KvShape, KvType, LayerIdx};
use inferno_model::batch::{PAGE_LEN, PageId};
use inferno_model::error::BackendError;

use crate::device::{Gpu, Storage};
use crate::kernels::{MOST_KEY_WIDTH, MOST_VALUE_WIDTH};

/// Layout of a position's key, and of its value, in a head: a record each, of vectors of 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KvLayout {
    pub(crate) kv_type: KvType,
    pub(crate) key_width: u32,
    pub(crate) value_width: u32,
    /// Keys begin with their values, and their records lack them.
    pub(crate) is_latent: bool,
}

impl KvLayout {
    /// Numbers of a value that its key begins with.
    pub(crate) fn shared_width(self) -> u32 {
        if self.is_latent { self.value_width } else { 0 }
    }

    /// Vectors with the numbers of `width` numbers, without their scales.
    pub(crate) fn n_vectors(self, width: u32) -> u32 {
        width.div_ceil(match self.kv_type {
            KvType::F32 => 4,
            KvType::F16 | KvType::Bf16 => 8,
            KvType::Q8_0 => 16,
        })
    }

    /// Vectors of a record of `width` numbers; scales are f32.
    pub(crate) fn record_len(self, width: u32) -> u32 {
        let scales = match self.kv_type {
            KvType::Q8_0 => width.div_ceil(KV_BLOCK as u32).div_ceil(4),
            _ => 0,
        };
        self.n_vectors(width) + scales
    }
}

/// Keys and values of all sequences.
#[derive(Debug)]
pub struct KvPool {
    pub(crate) groups: Vec<KvGroup>,
    /// By layer, for each group: a layer may have keys and values in one and a state in another.
    layers: Vec<Option<Storage>>,
    n_layers: usize,
}

/// Layout and heads of a cache group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvGroup {
    pub(crate) layout: KvLayout,
    pub(crate) n_kv_heads: usize,
    /// F32 numbers of a recurrent layer's state; pages begin at a vector of 16 bytes.
    pub(crate) state_width: usize,
}

impl KvGroup {
    fn new(kind: CacheKind, kv_type: KvType) -> Result<KvGroup, BackendError> {
        let [n_kv_heads, key_width, value_width] = kind.heads();
        let is_latent = matches!(kind, CacheKind::Latent { .. });
        let whole_key = if is_latent { value_width.next_multiple_of(4) + key_width } else { key_width };
        for (what, width, most) in
            [("key", whole_key, MOST_KEY_WIDTH), ("value", value_width, MOST_VALUE_WIDTH)]
        {
            if width > most {
                let what = format!("{what} heads have {width} numbers, this backend takes {most} at most");
                return Err(BackendError { what });
            }
        }
        let [key_width, value_width] = [key_width, value_width].map(|width| width as u32);
        let layout = KvLayout { kv_type, key_width, value_width, is_latent };
        Ok(KvGroup { layout, n_kv_heads, state_width: kind.state_width() })
    }

    /// Numbers from a page's state to that of the next.
    pub(crate) fn state_words(self) -> usize {
        self.state_width.next_multiple_of(4)
    }

    fn page_bytes(self) -> u64 {
        let KvLayout { key_width, value_width, .. } = self.layout;
        let vectors = self.layout.record_len(key_width) + self.layout.record_len(value_width);
        let state_vectors = self.state_width.div_ceil(4);
        16 * (u64::from(vectors) * (PAGE_LEN * self.n_kv_heads) as u64 + state_vectors as u64)
    }
}

impl KvPool {
    pub(crate) fn new(gpu: &mut Gpu, shape: &KvShape) -> Result<KvPool, BackendError> {
        let mut groups = Vec::new();
        let n_layers = shape.n_layers();
        let mut layers = Vec::new();
        for (group, n_pages) in &shape.groups {
            let here = KvGroup::new(group.kind, shape.kv_type)?;
            let n_bytes = *n_pages as u64 * here.page_bytes();
            let what = || {
                let kept = if here.state_width > 0 { "states" } else { "keys and values" };
                format!("{n_pages} pages of {kept} of a layer (`--kv-memory` asks for less)")
            };
            let first = layers.len();
            layers.resize_with(first + n_layers, || None);
            for &layer in &group.layers {
                layers[first + layer] = Some(gpu.storage(n_bytes, &what)?);
            }
            groups.push(here);
        }
        Ok(KvPool { groups, layers, n_layers })
    }

    /// Bytes of a page of a group, over its layers.
    pub(crate) fn page_bytes(&self, group: usize) -> usize {
        self.storages(group).count() * self.groups[group].page_bytes() as usize
    }

    /// Where a page of a group lies: for each of its layers the buffer, the first byte and the number of bytes.
    pub(crate) fn page_parts(
        &self,
        group: usize,
        page: PageId,
    ) -> impl Iterator<Item = (&Storage, u64, u64)> {
        let n = self.groups[group].page_bytes();
        self.storages(group).map(move |storage| (storage, u64::from(page.0) * n, n))
    }

    fn storages(&self, group: usize) -> impl Iterator<Item = &Storage> {
        self.layers[group * self.n_layers..][..self.n_layers].iter().flatten()
    }

    /// A layer's keys and values, or its states, in the pages of a group.
    pub(crate) fn layer(&self, layer: LayerIdx) -> &Storage {
        let storage = &self.layers[layer.group * self.n_layers + layer.layer];
        storage.as_ref().expect("a layer of the group, which is on this device")
    }
}
