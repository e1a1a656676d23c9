//! Operations that are one dispatch together, and the same one by one: equal bits.

use inferno_format::DType;
use inferno_model::architecture::CacheGroup;
use inferno_model::backend::{
    Attention, Backend, DeviceMemory, HostTensor, KvShape, KvType, LayerIdx, Source,
};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::rope::{Angles, Pairing, Rope, Scaling};
use inferno_wgpu::Wgpu;
use inferno_wgpu::backend::{Buffer, Weight};
use xtask::testing::Random;

use crate::backend;

const LAYER: LayerIdx = LayerIdx { layer: 0, group: 0 };

fn rows(b: &mut Wgpu, width: usize, numbers: &[f32]) -> Buffer {
    let mut buffer = b.buffer(width).unwrap();
    b.write(&mut buffer, numbers);
    buffer
}

fn vector(b: &mut Wgpu, numbers: &[f32]) -> Weight {
    let (name, bytes) = ("a vector".into(), bytemuck::cast_slice(numbers));
    let (cols, source) = (numbers.len(), Source::Memory(bytes));
    b.upload(&HostTensor { name, dtype: DType::F32, n_experts: 1, rows: 1, cols, source }).unwrap()
}

fn read(b: &mut Wgpu, x: &Buffer) -> Vec<u32> {
    let mut numbers = Vec::new();
    b.read(x, &mut numbers).unwrap();
    numbers.iter().map(|x| x.to_bits()).collect()
}

/// Queries, keys, and attention to what was stored, after everything that is done to heads.
fn heads(b: &mut Wgpu, shape: (usize, KvType, bool, Pairing), one_by_one: bool) -> [Vec<u32>; 3] {
    let (head_dim, kv_type, is_normed, pairing) = shape;
    let (n, n_heads, n_kv_heads) = (PAGE_LEN - 3, 6, 2);
    let mut random = Random(9);
    let groups = vec![(CacheGroup::pages(vec![0], [n_kv_heads, head_dim, head_dim], None), 1)];
    let mut pool = b.kv_pool(&KvShape { groups, n_kv_heads, head_dim, kv_type }).unwrap();
    let mut batch = Batch::default();
    batch.push(&vec![0; n], 1, &[&[PageId(0)]], Want::Nothing);
    let [mut q, mut k, v] = [n_heads, n_kv_heads, n_kv_heads].map(|n_heads| {
        let numbers = random.numbers(n * n_heads * head_dim);
        rows(b, n_heads * head_dim, &numbers)
    });
    // Half of a head rotates, and only whole pairs.
    let rope = Rope::new(pairing, head_dim / 4 * 2, 10_000.0, &Scaling::None, None, 1.0);
    let mut angles = Angles::new(&rope);
    angles.fill(&rope, batch.positions());
    let weights = [(); 2].map(|()| random.numbers(head_dim));
    let [q_norm, k_norm] = weights.map(|numbers| vector(b, &numbers));
    let end = |b: &mut Wgpu| {
        if one_by_one {
            b.finish().unwrap();
        }
    };
    if is_normed {
        b.head_norm(&mut q, &q_norm, 1e-6);
        end(b);
        b.head_norm(&mut k, &k_norm, 1e-6);
        end(b);
    }
    b.rope(&mut q, head_dim, &angles);
    end(b);
    b.rope(&mut k, head_dim, &angles);
    end(b);
    b.store_kv(&mut pool, LAYER, &k, &v, &batch);
    // Keys and values as they are read again.
    let (scale, softcap, window) = (0.3, None, None);
    let attention = Attention { layer: LAYER, n_heads, n_kv_heads, head_dim, scale, softcap, window };
    let mut attended = b.buffer(n_heads * head_dim).unwrap();
    b.attend(&mut attended, &q, &pool, &batch, &attention);
    [read(b, &q), read(b, &k), read(b, &attended)]
}

#[test]
fn heads_are_prepared_in_one_as_one_by_one() {
    let Some(mut b) = backend() else { return };
    for (head_dim, is_normed, pairing) in [
        (64, true, Pairing::Halves),
        (128, true, Pairing::Adjacent),
        (80, false, Pairing::Halves),
        (7, true, Pairing::Adjacent),
    ] {
        for kv_type in KvType::ALL {
            let shape = (head_dim, kv_type, is_normed, pairing);
            assert!(heads(&mut b, shape, false) == heads(&mut b, shape, true), "{shape:?}");
        }
    }
}

#[test]
fn a_sum_is_normed_as_after_it() {
    let Some(mut b) = backend() else { return };
    let (n, width) = (3, 1500);
    let mut random = Random(7);
    let numbers = [(); 3].map(|()| random.numbers(n * width));
    let norm = vector(&mut b, &numbers[2][..width]);
    let mut run = |one_by_one, over_what_was_added| {
        let mut x = rows(&mut b, width, &numbers[0]);
        let mut y = rows(&mut b, width, &numbers[1]);
        let mut out = b.buffer(width).unwrap();
        b.add(&mut x, &y);
        if one_by_one {
            b.finish().unwrap();
        }
        let out = if over_what_was_added { &mut y } else { &mut out };
        b.rms_norm(out, &x, &norm, 1e-6);
        (read(&mut b, &x), read(&mut b, out))
    };
    let expected = run(true, false);
    assert!(run(false, false) == expected);
    assert!(run(false, true) == expected);
}

#[test]
fn what_waits_is_not_lost_where_something_else_follows() {
    let Some(mut b) = backend() else { return };
    let mut random = Random(3);
    let numbers = [(); 2].map(|()| random.numbers(64));
    let [mut x, y] = numbers.each_ref().map(|numbers| rows(&mut b, 64, numbers));
    let norm = vector(&mut b, &numbers[1]);
    let mut out = b.buffer(64).unwrap();
    b.add(&mut x, &y);
    // A norm of something else, and a second sum.
    b.rms_norm(&mut out, &y, &norm, 1e-6);
    b.add(&mut x, &y);
    b.add(&mut x, &y);
    let expected: Vec<u32> =
        numbers[0].iter().zip(&numbers[1]).map(|(x, y)| (((x + y) + y) + y).to_bits()).collect();
    assert_eq!(read(&mut b, &x), expected);
}
