//! Attention in partitions at the same time, and in partitions one after the other: equal bits.

use inferno_format::DType;
use inferno_model::architecture::CacheGroup;
use inferno_model::backend::{
    Attention, Backend, DeviceMemory, HostTensor, KvShape, KvType, LayerIdx, Source,
};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_wgpu::Wgpu;
use inferno_wgpu::backend::Buffer;
use xtask::testing::Random;

use crate::backend;

/// Of the one sequence: three partitions of 256.
const LEN: usize = 520;
/// Rows for 512 workgroups, each of which has 4.
const MANY: usize = 272;
const LAYER: LayerIdx = LayerIdx { layer: 0, group: 0 };

fn rows(b: &mut Wgpu, width: usize, numbers: &[f32]) -> Buffer {
    let mut buffer = b.buffer(width).unwrap();
    b.write(&mut buffer, numbers);
    buffer
}

/// The outputs of the last `n` rows, asked for together; with sinks for keys and values in integers.
fn attend(b: &mut Wgpu, kv_type: KvType, window: Option<usize>, n: usize) -> Vec<f32> {
    let (n_heads, n_kv_heads, head_dim) = (32, 8, 32);
    let has_sinks = kv_type == KvType::Q8_0;
    let mut random = Random(4);
    let groups =
        vec![(CacheGroup::pages(vec![0], [n_kv_heads, head_dim, head_dim], window), LEN.div_ceil(PAGE_LEN))];
    let mut pool = b.kv_pool(&KvShape { groups, kv_type }).unwrap();
    let table: Vec<PageId> = (0..LEN.div_ceil(PAGE_LEN) as u32).rev().map(PageId).collect();
    let mut all = Batch::default();
    all.push(&[0; LEN], 0, &[&table], Want::Nothing);
    let [k, v] = [(); 2].map(|()| {
        let numbers = random.numbers(LEN * n_kv_heads * head_dim);
        rows(b, n_kv_heads * head_dim, &numbers)
    });
    b.store_kv(&mut pool, LAYER, &k, &v, &all);
    let queries = random.numbers(LEN * n_heads * head_dim);
    let q = rows(b, n_heads * head_dim, &queries[(LEN - n) * n_heads * head_dim..]);
    let mut batch = Batch::default();
    batch.push(&vec![0; n], LEN - n, &[&table], Want::Nothing);
    let (layer, key_width, value_width, scale, softcap) = (LAYER, head_dim, head_dim, 0.8, None);
    let shape = Attention { layer, n_heads, n_kv_heads, key_width, value_width, scale, softcap, window };
    let sinks = has_sinks.then(|| {
        let bytes: Vec<u8> = random.numbers(n_heads).into_iter().flat_map(f32::to_le_bytes).collect();
        let source = Source::Memory(&bytes);
        let name = "attn_sinks".into();
        let tensor = HostTensor { name, dtype: DType::F32, n_experts: 1, rows: 1, cols: n_heads, source };
        b.upload(&tensor).unwrap()
    });
    let mut out = b.buffer(n_heads * head_dim).unwrap();
    b.attend(&mut out, &q, &pool, &batch, &shape, sinks.as_ref());
    let mut numbers = Vec::new();
    b.read(&out, &mut numbers).unwrap();
    numbers
}

#[test]
fn a_row_alone_is_split_and_among_many_is_not_and_gets_the_same_bits() {
    let Some(mut b) = backend() else { return };
    for (kv_type, window) in [(KvType::F16, None), (KvType::Q8_0, None), (KvType::F16, Some(400))] {
        // Tiles of many rows keep the device busy.
        let many = attend(&mut b, kv_type, window, MANY);
        for n in [1, 3, 40] {
            let few = attend(&mut b, kv_type, window, n);
            let same =
                few.iter().zip(&many[many.len() - few.len()..]).all(|(f, m)| f.to_bits() == m.to_bits());
            assert!(same, "{n} rows, {kv_type:?}, window {window:?}");
        }
    }
}

#[test]
fn a_head_that_no_workgroup_holds_is_refused() {
    let Some(mut b) = backend() else { return };
    let groups = vec![(CacheGroup::pages(vec![0], [1, 1024, 1024], None), 1)];
    let shape = KvShape { groups, kv_type: KvType::F16 };
    let message = b.kv_pool(&shape).unwrap_err().to_string();
    assert_eq!(message, "value heads have 1024 numbers, this backend takes 512 at most");
}

#[test]
fn what_a_device_has_no_room_for_is_said_with_numbers() {
    let Some(mut b) = backend() else { return };
    let groups = vec![(CacheGroup::pages(vec![0], [64, 128, 128], None), 1 << 24)];
    let shape = KvShape { groups, kv_type: KvType::F32 };
    let message = b.kv_pool(&shape).unwrap_err().to_string();
    assert!(message.contains("16777216 pages") && message.contains("--kv-memory"), "{message}");
    let bytes = [0u8; 4];
    let source = Source::Memory(&bytes);
    let name = "odd".into();
    let tensor = HostTensor { name, dtype: DType::I32, n_experts: 1, rows: 1, cols: 1, source };
    let message = b.upload(&tensor).unwrap_err().to_string();
    assert!(message.contains("tensor `odd` has type I32"), "{message}");
}
