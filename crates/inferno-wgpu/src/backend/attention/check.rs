//! Whether a device attends by cooperative matrices: whether it has them, and computes a row alone as among others.

use std::sync::Arc;

use inferno_model::architecture::CacheGroup;
use inferno_model::backend::{Attention, Backend, DeviceMemory, KvShape, KvType, LayerIdx};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::error::{BackendError, StepError};

use super::super::Wgpu;
use crate::buffer::Buffer;
use crate::kernels::{Heads, Kernel, Sums};
use crate::kv::{KvLayout, KvPool};
use crate::tuning::file::fnv;

/// A sequence of five partitions, with heads as in Qwen3-0.6B.
const LEN: usize = 1100;
const N_KV_HEADS: usize = 8;
const N_HEADS: usize = 16;
const WIDTH: usize = 128;
/// Rows that are attended to together. The most of them keep the device busy, so that partitions follow each other; those of
/// fewer rows are computed at the same time and merged.
const N_ROWS: [usize; 4] = [512, 64, 8, 1];
/// Difference from what vectors compute, as a part of the largest number, at most.
const TOLERANCE: f32 = 1e-4;
const LAYER: LayerIdx = LayerIdx { layer: 0, group: 0 };

impl Wgpu {
    /// Attends by cooperative matrices from now on if the device has them and does it right; the outcome is kept.
    pub(in crate::backend) fn choose_attention(&mut self) {
        let Some(size) = self.gpu.matrices else { return };
        let compiled = Arc::clone(&self.gpu.compiled);
        // Not within `get_or_init`: the check compiles kernels.
        let is_right = compiled.attends.get().copied().unwrap_or_else(|| self.finds_right(size));
        let _ = compiled.attends.set(is_right);
        self.attention_matrices = is_right.then_some(size);
    }

    fn finds_right(&mut self, size: u32) -> bool {
        let texts = kernels_to_check(size).map(|kernel| self.recorder.pipelines.text(kernel)).concat();
        let key = format!("{:016x} attention", fnv(&texts));
        if let Some(kept) = self.gpu.tuned.as_ref().and_then(|file| file.get(&key)) {
            return kept == "right";
        }
        // A processor that acts as a GPU would take seconds; tests check it.
        if self.gpu.is_processor() {
            return true;
        }
        let found = self.attends_rightly(size);
        if let (Some(is_right), Some(file)) = (found, &mut self.gpu.tuned) {
            file.set(key, if is_right { "right" } else { "wrong" }.into());
        }
        found == Some(true)
    }

    /// Whether the driver takes the kernels, rows have the bits that they have among others, and these are near those of vectors;
    /// `None` if the device has no memory for the check, or failed.
    fn attends_rightly(&mut self, size: u32) -> Option<bool> {
        let is_taken = |kernel| self.recorder.pipelines.try_get(&self.gpu, kernel);
        if !kernels_to_check(size).into_iter().all(is_taken) {
            return Some(false);
        }
        let trial = Trial::new(self).ok()?;
        let is_right = self.compare(&trial, size);
        trial.end(self);
        is_right.ok()
    }

    fn compare(&mut self, trial: &Trial, size: u32) -> Result<bool, BackendError> {
        self.attention_matrices = None;
        let expected = trial.attend(self, N_ROWS[0])?;
        self.attention_matrices = Some(size);
        let found = trial.attend(self, N_ROWS[0])?;
        let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        let is_near = |(found, expected): (&f32, &f32)| (found - expected).abs() <= TOLERANCE * largest;
        let mut is_right = largest > 0.0 && found.iter().zip(&expected).all(is_near);
        for n_rows in &N_ROWS[1..] {
            let few = trial.attend(self, *n_rows)?;
            let among = &found[found.len() - few.len()..];
            is_right &= few.iter().zip(among).all(|(few, among)| few.to_bits() == among.to_bits());
        }
        Ok(is_right)
    }
}

fn kernels_to_check(size: u32) -> [Kernel; 2] {
    let width = WIDTH as u32;
    let layout = KvLayout { kv_type: KvType::F16, key_width: width, value_width: width, is_latent: false };
    [Sums::Parts, Sums::Whole { has_sinks: false }]
        .map(|sums| Kernel::AttendMatrices(layout, size, Heads::Stored, sums))
}

/// A sequence with keys and values, and queries of its last rows.
struct Trial {
    pool: KvPool,
    table: Vec<PageId>,
    /// (N_ROWS[0], N_HEADS × WIDTH)
    queries: Vec<f32>,
}

impl Trial {
    fn new(b: &mut Wgpu) -> Result<Trial, BackendError> {
        let mut state = 1u32;
        let mut noise = |n: usize| -> Vec<f32> {
            let mut number = || {
                // Xorshift (https://www.jstatsoft.org/article/view/v008i14).
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            };
            (0..n).map(|_| number()).collect()
        };
        let n_pages = LEN.div_ceil(PAGE_LEN);
        let group = CacheGroup::pages(vec![0], [N_KV_HEADS, WIDTH, WIDTH], None);
        let mut pool = b.kv_pool(&KvShape { groups: vec![(group, n_pages)], kv_type: KvType::F16 })?;
        // Neighbours in a sequence are none in the pool.
        let table: Vec<PageId> = (0..n_pages as u32).rev().map(PageId).collect();
        let mut batch = Batch::default();
        batch.push(&[0; LEN], 0, &[&table[..]], Want::Nothing);
        let [k, v] = [(); 2].map(|()| rows(b, N_KV_HEADS * WIDTH, &noise(LEN * N_KV_HEADS * WIDTH)));
        b.store_kv(&mut pool, LAYER, &k, &v, &batch);
        [k, v].iter().for_each(|buffer| forget(b, buffer));
        Ok(Trial { pool, table, queries: noise(N_ROWS[0] * N_HEADS * WIDTH) })
    }

    /// The outputs of the last `n_rows` rows.
    fn attend(&self, b: &mut Wgpu, n_rows: usize) -> Result<Vec<f32>, BackendError> {
        let width = N_HEADS * WIDTH;
        let mut batch = Batch::default();
        batch.push(&vec![0; n_rows], LEN - n_rows, &[&self.table[..]], Want::Nothing);
        let q = rows(b, width, &self.queries[(N_ROWS[0] - n_rows) * width..]);
        let mut out = Buffer::new(width);
        let attention = Attention {
            layer: LAYER,
            n_heads: N_HEADS,
            n_kv_heads: N_KV_HEADS,
            key_width: WIDTH,
            value_width: WIDTH,
            scale: 0.5,
            softcap: None,
            window: None,
        };
        b.attend(&mut out, &q, &self.pool, &batch, &attention, None);
        let mut numbers = Vec::new();
        let read = b.read(&out, &mut numbers);
        [q, out].iter().for_each(|buffer| forget(b, buffer));
        read.map_err(|StepError { what }| BackendError { what })?;
        Ok(numbers)
    }

    fn end(self, b: &mut Wgpu) {
        let storage = self.pool.layer(LAYER).clone();
        b.recorder.forget(storage.id);
        b.gpu.release(storage);
    }
}

fn rows(b: &mut Wgpu, width: usize, numbers: &[f32]) -> Buffer {
    let mut buffer = Buffer::new(width);
    b.write(&mut buffer, numbers);
    buffer
}

fn forget(b: &mut Wgpu, buffer: &Buffer) {
    if let Some(storage) = buffer.storage() {
        b.recorder.forget(storage.id);
        b.gpu.release(storage.clone());
    }
}

#[cfg(test)]
mod tests {
    use inferno_model::conformance::Group;

    use super::*;
    use crate::PROMISE;
    use crate::device::Gpu;
    use crate::tests::gpu;

    /// A device with cooperative matrices, and their size; `None`, said aloud, if there is none.
    fn with_matrices() -> Option<(Gpu, u32)> {
        let gpu = gpu()?;
        if gpu.matrices.is_none() {
            xtask::testing::skip("matrices", &format!("`{}` has no cooperative matrices", gpu.name()));
        }
        gpu.matrices.map(|size| (gpu, size))
    }

    #[test]
    fn matrices_attend_to_a_row_alone_as_among_many_and_near_what_vectors_compute() {
        let Some((gpu, size)) = with_matrices() else { return };
        assert_eq!(Wgpu::new(gpu).unwrap().attends_rightly(size), Some(true));
    }

    #[test]
    fn matrices_attend_near_the_reference() {
        let Some((gpu, size)) = with_matrices() else { return };
        let new = || {
            let backend = Wgpu::new(gpu.share()).unwrap();
            assert_eq!(backend.attention_matrices, Some(size));
            backend
        };
        assert_eq!(Group::Attention(KvType::F16).check(new, PROMISE), Ok(()));
    }
}
