//! Memory of a device: how tensors, activations, keys and values get there, and how results come back.

use super::{AttentionRule, HostTensor, KvShape, KvType};
use crate::batch::PageId;
use crate::error::{BackendError, LoadError, StepError};

/// A device's memory: weights, activations and KV pools of one model.
pub trait DeviceMemory {
    /// A tensor in the layout this device computes with.
    type Weight;
    /// Activations.
    type Buffer: Activations;
    /// Keys and values of all sequences.
    type KvPool;

    /// Reads and packs a tensor: nothing borrows from the file afterwards.
    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Self::Weight, LoadError>;
    /// The same for matrices that are multiplied with the same input by one call: a device may keep them together.
    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Self::Weight>, LoadError> {
        tensors.iter().map(|tensor| self.upload(tensor)).collect()
    }
    /// The same for a vector of floats per expert: `n_experts` of (1, cols), which are added and never multiplied.
    fn upload_vectors(&mut self, tensor: &HostTensor<'_>) -> Result<Self::Weight, LoadError> {
        self.upload(tensor)
    }
    /// A buffer of rows of `width`; it grows to the largest batch seen.
    fn buffer(&mut self, width: usize) -> Result<Self::Buffer, BackendError>;
    /// How this device attends to keys and values of that type.
    fn attention_rule(&self, _kv_type: KvType) -> AttentionRule {
        AttentionRule::Floats
    }
    /// Room for keys and values.
    fn kv_pool(&mut self, shape: &KvShape) -> Result<Self::KvPool, BackendError>;
    /// Bytes of a page in cache group `group`, over the layers that the pool has of it.
    fn page_bytes(&self, pool: &Self::KvPool, group: usize) -> usize;
    /// Waits for everything asked so far and copies a page to `out`, which has [`page_bytes`](Self::page_bytes): one layer after
    /// the other, in the pool's own layout.
    fn read_page(
        &mut self,
        pool: &Self::KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError>;
    /// Makes a page what it was when these bytes were read.
    fn write_page(
        &mut self,
        pool: &mut Self::KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError>;

    /// x (n, width) = these numbers, row after row.
    fn write(&mut self, x: &mut Self::Buffer, numbers: &[f32]);
    /// Waits for everything asked so far and copies x to `out`, row after row.
    fn read(&mut self, x: &Self::Buffer, out: &mut Vec<f32>) -> Result<(), StepError>;
    /// Waits for everything asked so far, where nothing of it is read.
    fn finish(&mut self) -> Result<(), StepError> {
        Ok(())
    }
}

/// The shape of a buffer: (n_rows, width).
pub trait Activations {
    /// Rows of the last operation that wrote it.
    fn n_rows(&self) -> usize;
    /// Numbers in a row.
    fn width(&self) -> usize;
}
