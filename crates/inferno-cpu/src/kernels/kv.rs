//! Between rows of f32 and a head's page of keys and values.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

use half::{bf16, f16};
use inferno_model::backend::{KV_BLOCK, KvType, quantize_kv};
use inferno_model::batch::PAGE_LEN;

use crate::kernels::float::{Bf16, Element, F16};
use crate::kv::{Head, HeadMut};
use crate::simd::{LANES, Simd};

/// Vectors of a page's positions.
const TILE_VECTORS: usize = PAGE_LEN / LANES;

#[inline(always)]
pub(super) fn store_head<S: Simd>(s: S, tile: HeadMut<'_>, place: usize, k: &[f32], v: &[f32]) {
    let padded = v.len().next_multiple_of(LANES);
    match tile.kv_type {
        KvType::F32 => {
            put(bytemuck::cast_slice_mut(tile.keys), place, k);
            let values: &mut [f32] = bytemuck::cast_slice_mut(tile.values);
            values[place * padded..][..v.len()].copy_from_slice(v);
        }
        KvType::F16 | KvType::Bf16 => {
            let keys: &mut [u16] = bytemuck::cast_slice_mut(tile.keys);
            let values: &mut [u16] = bytemuck::cast_slice_mut(tile.values);
            let values = &mut values[place * padded..][..v.len()];
            for (keys, k) in keys.chunks_mut(LANES * PAGE_LEN).zip(k.chunks(LANES)) {
                put(keys, place, &half(s, tile.kv_type, k)[..k.len()]);
            }
            for (values, v) in values.chunks_mut(LANES).zip(v.chunks(LANES)) {
                values.copy_from_slice(&half(s, tile.kv_type, v)[..v.len()]);
            }
        }
        KvType::Q8_0 => {
            let (keys, key_scales) = tile.keys.split_at_mut(k.len() * PAGE_LEN);
            let (values, value_scales) = tile.values.split_at_mut(padded * PAGE_LEN);
            let (keys, values): (&mut [i8], &mut [i8]) =
                (bytemuck::cast_slice_mut(keys), bytemuck::cast_slice_mut(values));
            let (key_scales, value_scales): (&mut [u16], &mut [u16]) =
                (bytemuck::cast_slice_mut(key_scales), bytemuck::cast_slice_mut(value_scales));
            for (b, k) in k.chunks(KV_BLOCK).enumerate() {
                let (q, d) = quantize_kv(k);
                put(&mut keys[b * KV_BLOCK * PAGE_LEN..], place, &q[..k.len()]);
                key_scales[b * PAGE_LEN + place] = d.to_bits();
            }
            let n_blocks = v.len().div_ceil(KV_BLOCK);
            for (b, v) in v.chunks(KV_BLOCK).enumerate() {
                let (q, d) = quantize_kv(v);
                values[place * padded + b * KV_BLOCK..][..v.len()].copy_from_slice(&q[..v.len()]);
                value_scales[place * n_blocks + b] = d.to_bits();
            }
        }
    }
}

/// Column `place` of [len][PAGE_LEN].
#[inline(always)]
fn put<T: Copy>(keys: &mut [T], place: usize, k: &[T]) {
    for (keys, k) in keys.chunks_exact_mut(PAGE_LEN).zip(k) {
        keys[place] = *k;
    }
}

/// Up to sixteen numbers in 16 bits.
#[inline(always)]
fn half<S: Simd>(s: S, kv_type: KvType, x: &[f32]) -> [u16; LANES] {
    let mut wide = [0.0; LANES];
    wide[..x.len()].copy_from_slice(x);
    match kv_type {
        KvType::Bf16 => wide.map(|x| bf16::from_f32(x).to_bits()),
        _ => {
            let mut out = [0; LANES];
            s.store_f16(&mut out, s.load(&wide));
            out
        }
    }
}

#[inline(always)]
pub(super) fn load_head<S: Simd>(s: S, keys: &mut [f32], values: &mut [f32], tile: Head<'_>) {
    match tile.kv_type {
        KvType::F32 => {
            keys.copy_from_slice(bytemuck::cast_slice(tile.keys));
            values.copy_from_slice(bytemuck::cast_slice(tile.values));
        }
        KvType::F16 => {
            widen::<S, F16>(s, keys, tile.keys);
            widen::<S, F16>(s, values, tile.values);
        }
        KvType::Bf16 => {
            widen::<S, Bf16>(s, keys, tile.keys);
            widen::<S, Bf16>(s, values, tile.values);
        }
        KvType::Q8_0 => {
            let (q, scales) = tile.keys.split_at(keys.len());
            let scales = bytemuck::cast_slice::<_, [u16; LANES]>(scales).as_chunks::<TILE_VECTORS>().0;
            let q: &[[[i8; LANES]; TILE_VECTORS]] = bytemuck::cast_slice(q);
            let keys = keys.as_chunks_mut().0.as_chunks_mut::<TILE_VECTORS>().0;
            // A block of dimensions has a scale for every position.
            for ((keys, q), scales) in keys.chunks_mut(KV_BLOCK).zip(q.chunks(KV_BLOCK)).zip(scales) {
                for i in 0..TILE_VECTORS {
                    let scale = s.load_f16(&scales[i]);
                    for (out, q) in keys.iter_mut().zip(q) {
                        s.store(&mut out[i], s.mul(scale, s.load_i8(&q[i])));
                    }
                }
            }
            let (q, scales) = tile.values.split_at(values.len());
            let n_vectors = values.len() / (PAGE_LEN * LANES);
            let scales: &[u16] = bytemuck::cast_slice(scales);
            let n_blocks = scales.len() / PAGE_LEN;
            let values = values.as_chunks_mut().0.chunks_exact_mut(n_vectors);
            let q = bytemuck::cast_slice::<_, [i8; LANES]>(q).chunks_exact(n_vectors);
            for ((values, q), scales) in values.zip(q).zip(scales.chunks_exact(n_blocks)) {
                const PER_BLOCK: usize = KV_BLOCK / LANES;
                for ((values, q), scale) in values.chunks_mut(PER_BLOCK).zip(q.chunks(PER_BLOCK)).zip(scales)
                {
                    let scale = s.splat(f16::from_bits(*scale).to_f32());
                    for (out, q) in values.iter_mut().zip(q) {
                        s.store(out, s.mul(scale, s.load_i8(q)));
                    }
                }
            }
        }
    }
}

/// `keys` is [rank + rope_width][PAGE_LEN].
#[inline(always)]
pub(super) fn load_latent<S: Simd>(s: S, keys: &mut [f32], values: &mut [f32], tile: Head<'_>, rank: usize) {
    let (latents, ropes) = keys.split_at_mut(rank * PAGE_LEN);
    load_head(s, ropes, values, tile);
    let n_vectors = rank.div_ceil(LANES);
    let values = values.as_chunks::<LANES>().0;
    // Sixteen dimensions of sixteen positions at a time.
    for (i, latents) in latents.chunks_mut(LANES * PAGE_LEN).enumerate() {
        for half in 0..TILE_VECTORS {
            let mut square = [[0.0; LANES]; LANES];
            for (j, x) in square.iter_mut().enumerate() {
                *x = values[(half * LANES + j) * n_vectors + i];
            }
            s.transpose(&mut square);
            for (keys, x) in latents.chunks_exact_mut(PAGE_LEN).zip(&square) {
                keys[half * LANES..][..LANES].copy_from_slice(x);
            }
        }
    }
}

#[inline(always)]
fn widen<S: Simd, E: Element>(s: S, out: &mut [f32], x: &[u8]) {
    for (out, x) in out.as_chunks_mut().0.iter_mut().zip(bytemuck::cast_slice(x)) {
        s.store(out, E::load(s, x));
    }
}
