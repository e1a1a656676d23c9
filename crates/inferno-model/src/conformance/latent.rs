//! Latent attention: its products head by head, attention over latent rows, and a model of it.

use inferno_format::{DType, Gguf, Metadata, NewTensor, Value};

use super::{Noise, Precision, Promise, Results, buffer, compare, made_up, read, upload_rows};
use crate::architecture::{CacheGroup, LATENT};
use crate::backend::{Attention, Backend, KvShape, KvType, LayerIdx};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};

/// Query heads, numbers of the value, and those that the key has beside it: ragged, and as DeepSeek has them.
const SHAPES: [[usize; 3]; 3] = [[3, 18, 6], [5, 80, 16], [9, 512, 64]];

const LAYER: LayerIdx = LayerIdx { layer: 1, group: 0 };

/// Products head by head, with something behind them and without.
pub(super) fn matmul_heads<B: Backend>(b: &mut B, dtype: DType, all: &mut Results) {
    let mut noise = Noise(500 + u64::from(dtype.ggml_id()));
    let odd = if dtype.is_float() { 20 } else { dtype.block_len() };
    for (n_rows, n_heads, rows, cols, tail_width) in
        [(1, 3, 40, odd, 6), (2, 2, 17, 256, 0), (9, 3, 24, odd, 16), (17, 2, 32, 256, 0)]
    {
        let weight = noise.tensor(b, dtype, [n_heads, rows, cols]);
        let mut data = noise.numbers(n_rows * n_heads * cols);
        if n_rows == 9 {
            // A number that is none is one head's alone.
            data[4 * n_heads * cols + cols + 1] = f32::INFINITY;
        }
        let x = upload_rows(b, n_heads * cols, data);
        let tail = (tail_width > 0).then(|| {
            let data = noise.numbers(n_rows * n_heads * tail_width);
            upload_rows(b, n_heads * tail_width, data)
        });
        let width = n_heads * (rows + tail_width);
        let mut out = buffer(b, width);
        b.matmul_heads(&mut out, &weight, &x, tail.as_ref(), n_heads);
        all.push((format!("matmul_heads {dtype} {n_rows}x{n_heads}x{rows}x{cols}"), width, read(b, &out)));
    }
}

/// A sequence of latent rows in a shuffled pool, and queries of its last rows.
struct Pool<B: Backend> {
    pool: B::KvPool,
    attention: Attention,
    table: Vec<PageId>,
    len: usize,
    n_rows: usize,
    q: Vec<f32>,
}

impl<B: Backend> Pool<B> {
    fn new(b: &mut B, [n_heads, rank, rope_width]: [usize; 3], kv_type: KvType, len: usize) -> Self {
        let n_pages = len.div_ceil(PAGE_LEN);
        let groups = vec![(CacheGroup::latent(vec![0, 1], rank, rope_width), n_pages + 2)];
        let mut pool = b.kv_pool(&KvShape { groups, kv_type }).expect("a small pool");
        let table: Vec<PageId> = (0..n_pages as u32).rev().map(|page| PageId(page + 1)).collect();
        let mut noise = Noise(31);
        let mut fill = Batch::default();
        let n_stored = n_pages * PAGE_LEN;
        fill.push(&vec![0; n_stored], 0, &[&table], Want::Nothing);
        for layer in 0..2 {
            let [k, v] = [rope_width, rank].map(|width| {
                let mut data = noise.numbers(n_stored * width);
                // No row may look behind the last position.
                data[len * width..].fill(f32::NAN);
                upload_rows(b, width, data)
            });
            b.store_kv(&mut pool, LayerIdx { layer, group: 0 }, &k, &v, &fill);
        }
        let (n_rows, key_width) = (7, rank + rope_width);
        let attention = Attention {
            layer: LAYER,
            n_heads,
            n_kv_heads: 1,
            key_width,
            value_width: rank,
            scale: 0.2,
            softcap: None,
            window: None,
        };
        Pool { pool, attention, table, len, n_rows, q: noise.numbers(n_rows * n_heads * key_width) }
    }

    /// Outputs of rows `first..end` of the queries.
    fn attend(&self, b: &mut B, first: usize, end: usize) -> Vec<f32> {
        let Attention { n_heads, key_width, value_width, .. } = self.attention;
        let width = n_heads * key_width;
        let mut batch = Batch::default();
        batch.push(&vec![0; end - first], self.len - self.n_rows + first, &[&self.table], Want::Nothing);
        let q = upload_rows(b, width, self.q[first * width..end * width].to_vec());
        let mut out = buffer(b, n_heads * value_width);
        b.attend(&mut out, &q, &self.pool, &batch, &self.attention, None);
        read(b, &out)
    }
}

/// Positions of a sequence that ends in its second page, and of one that ends in its second partition.
const SHORT: usize = 45;
const LONG: usize = 530;

/// Positions for a shape: the reference is slow.
fn len_of([_, rank, _]: [usize; 3]) -> usize {
    if rank < 100 { LONG } else { SHORT }
}

/// Attention over latent rows of one type, by name.
pub(super) fn attention<B: Backend>(b: &mut B, stored: KvType, all: &mut Results) {
    for (i, shape) in SHAPES.into_iter().enumerate() {
        // Over the border of a partition once for every small shape.
        let len = if KvType::ALL.get(i) == Some(&stored) { len_of(shape) } else { SHORT };
        let pool = Pool::new(b, shape, stored, len);
        let found = pool.attend(b, 0, pool.n_rows);
        all.push((format!("attend latent {shape:?} {stored:?}"), shape[0] * shape[1], found));
    }
}

/// A row alone and among others gives the same bits.
pub(super) fn rows_attend_alone_as_together<B: Backend>(b: &mut B) {
    for (shape, kv_type) in SHAPES.into_iter().zip([KvType::Q8_0, KvType::F32, KvType::Bf16]) {
        let pool = Pool::new(b, shape, kv_type, len_of(shape));
        let width = shape[0] * shape[1];
        let together = pool.attend(b, 0, pool.n_rows);
        for (first, end) in [(0, 1), (3, 5), (pool.n_rows - 1, pool.n_rows)] {
            let name = format!("attend latent {shape:?} {kv_type:?}, rows {first}..{end}");
            let found = pool.attend(b, first, end);
            let expected = together[first * width..end * width].to_vec();
            compare(&[(name.clone(), width, found)], &[(name, width, expected)], Precision::Bits);
        }
    }
}

const DIM: usize = 32;
const N_HEADS: usize = 3;
const RANK: usize = 24;
const NOPE_WIDTH: usize = 10;
const ROPE_WIDTH: usize = 6;
const VALUE_WIDTH: usize = 12;
const QUERY_RANK: usize = 20;
const FFN_DIM: usize = 64;
const VOCAB_SIZE: usize = 40;

/// A model with latent attention and random weights in F32, whose queries are compressed or not.
///
/// # Panics
/// Never: the file is right.
pub fn latent_layers(compresses_queries: bool) -> Gguf {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String(LATENT.into()));
    metadata.set("general.name", Value::String("latent attention".into()));
    let mut set = |key: &str, value: Value| metadata.set(format!("{LATENT}.{key}"), value);
    for (key, n) in [
        ("block_count", 2),
        ("context_length", 512),
        ("embedding_length", DIM),
        ("vocab_size", VOCAB_SIZE),
        ("feed_forward_length", FFN_DIM),
        ("attention.head_count", N_HEADS),
        ("attention.head_count_kv", 1),
        ("attention.kv_lora_rank", RANK),
        ("attention.key_length", RANK + ROPE_WIDTH),
        ("attention.value_length", RANK),
        ("attention.key_length_mla", NOPE_WIDTH + ROPE_WIDTH),
        ("attention.value_length_mla", VALUE_WIDTH),
        ("rope.dimension_count", ROPE_WIDTH),
    ] {
        set(key, Value::U32(n as u32));
    }
    set("attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    if compresses_queries {
        set("attention.q_lora_rank", Value::U32(QUERY_RANK as u32));
    }

    let mut tensors = Vec::new();
    let mut put = |name: String, dims: &[usize]| {
        tensors.push(NewTensor { name, dtype: DType::F32, dims: dims.to_vec() });
    };
    put("token_embd.weight".into(), &[DIM, VOCAB_SIZE]);
    put("output_norm.weight".into(), &[DIM]);
    for i in 0..2 {
        let mut put = |name: &str, dims: &[usize]| put(format!("blk.{i}.{name}.weight"), dims);
        let q_dim = N_HEADS * (NOPE_WIDTH + ROPE_WIDTH);
        put("attn_norm", &[DIM]);
        if compresses_queries {
            put("attn_q_a", &[DIM, QUERY_RANK]);
            put("attn_q_a_norm", &[QUERY_RANK]);
            put("attn_q_b", &[QUERY_RANK, q_dim]);
        } else {
            put("attn_q", &[DIM, q_dim]);
        }
        put("attn_kv_a_mqa", &[DIM, RANK + ROPE_WIDTH]);
        put("attn_kv_a_norm", &[RANK]);
        put("attn_k_b", &[NOPE_WIDTH, RANK, N_HEADS]);
        put("attn_v_b", &[RANK, VALUE_WIDTH, N_HEADS]);
        put("attn_output", &[N_HEADS * VALUE_WIDTH, DIM]);
        put("ffn_norm", &[DIM]);
        put("ffn_gate", &[DIM, FFN_DIM]);
        put("ffn_up", &[DIM, FFN_DIM]);
        put("ffn_down", &[FFN_DIM, DIM]);
    }
    made_up::file(&metadata, &tensors, Noise(23))
}

/// Models with latent attention on a backend and on the reference: near logits, as bits if that is the promise.
pub(super) fn models<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    for compresses_queries in [false, true] {
        let file = latent_layers(compresses_queries);
        let name = format!("latent attention, queries compressed: {compresses_queries}");
        made_up::compare_model((&name, &file, VOCAB_SIZE), new(), promise);
    }
}
