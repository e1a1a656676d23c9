//! The pool of keys and values: a buffer for every layer, of pages of slots of records.

use inferno_model::backend::{KV_BLOCK, KvShape, KvType};
use inferno_model::batch::PAGE_LEN;
use inferno_model::error::BackendError;

use crate::device::{Gpu, Storage};
use crate::kernels::MOST_HEAD_DIM;

/// How a position's keys, or values, of a head are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KvLayout {
    pub(crate) kv_type: KvType,
    pub(crate) head_dim: u32,
}

impl KvLayout {
    /// Vectors of 16 bytes with numbers: of a record, without scales.
    pub(crate) fn n_quant_vectors(self) -> usize {
        let in_vector = match self.kv_type {
            KvType::F32 => 4,
            KvType::F16 | KvType::Bf16 => 8,
            KvType::Q8_0 => 16,
        };
        (self.head_dim as usize).div_ceil(in_vector)
    }

    /// Vectors of a record; scales are f32.
    pub(crate) fn record_len(self) -> usize {
        let scales = match self.kv_type {
            KvType::Q8_0 => (self.head_dim as usize).div_ceil(KV_BLOCK).div_ceil(4),
            _ => 0,
        };
        self.n_quant_vectors() + scales
    }

    fn page_bytes(self, n_kv_heads: usize) -> u64 {
        (PAGE_LEN * 2 * n_kv_heads * self.record_len() * 16) as u64
    }
}

/// Keys and values of all sequences.
#[derive(Debug)]
pub struct KvPool {
    pub(crate) layout: KvLayout,
    pub(crate) n_kv_heads: usize,
    /// By layer.
    pub(crate) layers: Vec<Storage>,
    pub(crate) n_groups: usize,
}

impl KvPool {
    pub(crate) fn new(gpu: &mut Gpu, shape: &KvShape) -> Result<KvPool, BackendError> {
        if shape.head_dim > MOST_HEAD_DIM {
            let what =
                format!("heads have {} numbers, this backend takes {MOST_HEAD_DIM} at most", shape.head_dim);
            return Err(BackendError { what });
        }
        let layout = KvLayout { kv_type: shape.kv_type, head_dim: shape.head_dim as u32 };
        let page_bytes = layout.page_bytes(shape.n_kv_heads);
        let mut pool =
            KvPool { layout, n_kv_heads: shape.n_kv_heads, layers: Vec::new(), n_groups: shape.groups.len() };
        let mut n_pages = vec![0; shape.n_layers()];
        for (group, n) in &shape.groups {
            group.layers.iter().for_each(|&layer| n_pages[layer] = *n);
        }
        for n_pages in n_pages {
            let n_bytes = n_pages as u64 * page_bytes;
            let what =
                || format!("{n_pages} pages of keys and values of a layer (`--kv-memory` asks for less)");
            pool.layers.push(gpu.storage(n_bytes, &what)?);
        }
        Ok(pool)
    }
}
