//! [`DeviceMemory`]: weights, rows and pages on their way to the device and back.

use inferno_model::backend::{DeviceMemory, HostTensor, KvShape};
use inferno_model::batch::PageId;
use inferno_model::error::{BackendError, LoadError, StepError};

use super::Wgpu;
use crate::buffer::{Buffer, storages};
use crate::kv::KvPool;
use crate::matrix::Weight;

impl DeviceMemory for Wgpu {
    type Weight = Weight;
    type Buffer = Buffer;
    type KvPool = KvPool;

    fn upload(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        Weight::new(&mut self.gpu, tensor)
    }

    fn upload_vectors(&mut self, tensor: &HostTensor<'_>) -> Result<Weight, LoadError> {
        Weight::vectors(&mut self.gpu, tensor)
    }

    fn upload_together(&mut self, tensors: &[HostTensor<'_>]) -> Result<Vec<Weight>, LoadError> {
        Weight::several(&mut self.gpu, tensors)
    }

    fn buffer(&mut self, width: usize) -> Result<Buffer, BackendError> {
        Ok(Buffer::new(width))
    }

    fn kv_pool(&mut self, shape: &KvShape) -> Result<KvPool, BackendError> {
        KvPool::new(&mut self.gpu, shape)
    }

    fn page_bytes(&self, pool: &KvPool, group: usize) -> usize {
        pool.page_bytes(group)
    }

    fn read_page(
        &mut self,
        pool: &KvPool,
        group: usize,
        page: PageId,
        out: &mut [u8],
    ) -> Result<(), StepError> {
        let parts: Vec<_> = pool.page_parts(group, page).collect();
        self.recorder.read_parts(&mut self.gpu, &parts, |bytes| out.copy_from_slice(bytes))
    }

    fn write_page(
        &mut self,
        pool: &mut KvPool,
        group: usize,
        page: PageId,
        bytes: &[u8],
    ) -> Result<(), StepError> {
        assert_eq!(bytes.len(), pool.page_bytes(group), "the bytes of a page");
        // What was recorded before sees what was there before.
        self.recorder.submit(&self.gpu);
        let mut bytes = bytes;
        for (storage, at, n) in pool.page_parts(group, page) {
            let (part, rest) = bytes.split_at(n as usize);
            self.gpu.queue.write_buffer(&storage.buffer, at, part);
            bytes = rest;
        }
        self.gpu.failure.get().map_or(Ok(()), |what| Err(StepError { what }))
    }

    fn write(&mut self, x: &mut Buffer, numbers: &[f32]) {
        x.resize(&mut self.gpu, &mut self.recorder, numbers.len() / x.width);
        let storage = storages!(x);
        let mut filled = vec![0.0f32; x.len()];
        for (filled, row) in filled.chunks_exact_mut(x.stride()).zip(numbers.chunks_exact(x.width)) {
            filled[..x.width].copy_from_slice(row);
        }
        // What was recorded before sees what was there before.
        self.recorder.submit(&self.gpu);
        self.recorder.forget_quantized();
        self.gpu.queue.write_buffer(&storage.buffer, 0, bytemuck::cast_slice(&filled));
    }

    fn read(&mut self, x: &Buffer, out: &mut Vec<f32>) -> Result<(), StepError> {
        out.clear();
        let Some(storage) = x.storage() else {
            return self.gpu.failure.get().map_or(Ok(()), |what| Err(StepError { what }));
        };
        let take = |bytes: &[u8]| {
            let numbers: &[f32] = bytemuck::cast_slice(bytes);
            numbers.chunks_exact(x.stride()).for_each(|row| out.extend_from_slice(&row[..x.width]));
        };
        self.recorder.read(&mut self.gpu, storage, (0, 4 * x.len() as u64), take)
    }

    fn finish(&mut self) -> Result<(), StepError> {
        self.recorder.finish(&mut self.gpu)
    }
}
