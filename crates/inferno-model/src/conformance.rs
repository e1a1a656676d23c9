//! The test that every backend passes: the operations against [`Reference`](crate::reference::Reference), and batch invariance as bits.
//!
//! Inputs are noise from fixed seeds with ragged sizes. A failed check panics and names the operation.

use inferno_format::{DType, Gguf, dequantize, quantize};

use crate::architecture::{Activation, Architecture, Xielu};
use crate::backend::{AttentionRule, Backend, HostTensor, KvType, Source};
use crate::batch::{Batch, PAGE_LEN, PageId, Want};
use crate::model::{KvRoom, Model};
use crate::rope::{Angles, Pairing, Rope, Scaling};
use crate::transformer::Transformer;

mod attention;
mod choices;
mod compounds;
mod delta_net;
mod experts;
mod goldens;
mod groups;
mod kda;
mod latent;
mod made_up;
mod mixtures;
mod pages;
mod recurrent;
mod shallow;
mod ssm;
mod uneven;

use attention::rows_attend_alone_as_together;
use choices::{chains_choose_what_steps_do, choices};
use compounds::compounds;
pub use delta_net::delta_net_layers;
use experts::experts;
pub use goldens::{GOLDEN_TOLERANCE, Oracle, Sequence, check_golden, compare_golden};
use groups::attention_conforms;
pub use groups::{Group, Model as MadeUpModel};
pub use kda::kda_layers;
pub use latent::latent_layers;
pub use mixtures::mixtures;
use mixtures::mixtures_are_right;
pub use shallow::first_layers;
use uneven::layers_may_differ;
pub use uneven::uneven_layers;

/// How near to the reference a backend promises to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Precision {
    /// The same bits.
    Bits,
    /// Within this fraction of the largest finite number in the row; NaN and infinities where the reference has them.
    Close(f32),
}

/// What a backend promises.
#[derive(Debug, Clone, Copy)]
pub struct Promise {
    /// Of all operations but attention.
    pub operations: Precision,
    /// Of attention, which each backend may define for itself.
    pub attention: Precision,
}

/// Runs every check on fresh backends made by `new`. Batch invariance is checked on each of `models`.
pub fn check<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
    models: &[Gguf],
) {
    check_operations(&new, promise);
    check_made_up(&new, promise);
    check_models(&new, models);
}

/// The checks of operations, which [`check`] begins with.
pub fn check_operations<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    let mut backend = new();
    for group in Group::of_operations() {
        compare(&group.results(&mut backend), &group.expected(), promise.operations);
    }
    for kv_type in KvType::ALL {
        attention_conforms(Group::Attention(kv_type), &mut backend, promise);
    }
    rows_attend_alone_as_together(&mut new());
    latent::rows_attend_alone_as_together(&mut new());
    recurrent::chunks_continue_as_whole(&mut new());
    ssm::chunks_continue_as_whole(&mut new());
    pages::pages_are_the_same_elsewhere(&new);
    if B::HAS_COMPOUNDS {
        compounds::ROWS.into_iter().for_each(|n_rows| compounds(&mut new(), n_rows));
    }
    if new().device_sampling().is_some() {
        choices(&mut new());
    }
}

/// Small models made here against the reference, as [`check`] does.
pub fn check_made_up<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    promise: Promise,
) {
    layers_may_differ(&new, promise);
    mixtures_are_right(&new, promise);
    latent::models(&new, promise);
    delta_net::models(&new, promise);
}

/// Batch invariance on each of `models`, which [`check`] ends with.
pub fn check_models<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    new: impl Fn() -> B,
    models: &[Gguf],
) {
    let backend = new();
    for file in models {
        rows_do_not_depend_on_the_batch(&new, file, KvType::F32);
        if backend.attention_rule(KvType::Bf16) != AttentionRule::Floats {
            rows_do_not_depend_on_the_batch(&new, file, KvType::Bf16);
        }
    }
}

/// Every activation. Inputs are within ±1: the constants of xIELU are such that both of its branches and its bound show.
const ACTIVATIONS: [Activation; 6] = [
    Activation::Identity,
    Activation::Silu,
    Activation::GeluTanh,
    Activation::ReluSquared,
    Activation::ClampedSwiglu,
    Activation::Xielu(Xielu { alpha_p: 0.8, alpha_n: 1.3, beta: 0.5, eps: -0.1 }),
];

/// A name, the width of a row, and rows of numbers.
type Named = (String, usize, Vec<f32>);
type Results = Vec<Named>;

fn compare(found: &[Named], expected: &[Named], precision: Precision) {
    assert_eq!(found.len(), expected.len(), "number of results");
    for ((name, width, found), (_, _, expected)) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "{name}: shape");
        for (row, (found, expected)) in found.chunks(*width).zip(expected.chunks(*width)).enumerate() {
            let finite = expected.iter().filter(|x| x.is_finite());
            let largest = finite.fold(0.0f32, |m, x| m.max(x.abs()));
            for (i, (&f, &e)) in found.iter().zip(expected).enumerate() {
                let same = f.to_bits() == e.to_bits() || f.is_nan() && e.is_nan();
                let close = |fraction: f32| e.is_finite() && (f - e).abs() <= fraction * largest;
                let kept = same || matches!(precision, Precision::Close(fraction) if close(fraction));
                assert!(kept, "{name}: row {row}, number {i} is {f:e}, expected {e:e} ({precision:?})");
            }
        }
    }
}

/// Rows, outputs and inputs of products; without a number of inputs it is one that no kernel likes.
type Shapes = [(usize, usize, Option<usize>)];

const SHAPES: &Shapes = &[
    (1, 40, Some(256)),
    (2, 19, None),
    (7, 19, None),
    (3, 17, Some(512)),
    (33, 24, Some(768)),
    (9, 13, Some(2304)),
    (16, 70, Some(256)),
];

/// One row and many.
const FEW_SHAPES: &Shapes = &[(1, 40, Some(256)), (33, 24, None)];

const TWO_ROWS: &Shapes = &[(2, 19, None)];

fn matmul<B: Backend>(b: &mut B, dtype: DType, shapes: &Shapes, all: &mut Results) {
    let mut noise = Noise(dtype.ggml_id().into());
    // A width that is no multiple of anything a kernel likes, as far as the type allows it.
    let odd = if dtype.is_float() { 172 } else { 9 * dtype.block_len() };
    for &(n_rows, rows, cols) in shapes {
        let cols = cols.unwrap_or(odd);
        // Together as the layers' matrices are, and one on its own.
        let widths = [rows, 2 * rows + 3, 5];
        let weights = noise.tensors(b, dtype, &widths, cols);
        let mut data = noise.numbers(n_rows * cols);
        if n_rows == 33 {
            data[5 * cols + 7] = f32::INFINITY;
            data[6 * cols..7 * cols].fill(0.0);
        }
        let x = upload_rows(b, cols, data);
        let [mut y, mut z, mut v] = widths.map(|width| buffer(b, width));
        let [first, second, third] = weights.each_ref();
        b.matmul(&mut [&mut y, &mut z, &mut v], &[first, second, third], &x);
        for (out, width) in [&y, &z, &v].into_iter().zip(widths) {
            all.push((format!("matmul {dtype} {n_rows}x{width}x{cols}"), width, read(b, out)));
        }
        if [1, 33].contains(&n_rows) {
            b.matmul(&mut [&mut z], &[second], &x);
            all.push((format!("matmul {dtype} {n_rows}x{}x{cols} alone", widths[1]), widths[1], read(b, &z)));
        }
        // What is embedded does not depend on the rows.
        if n_rows != 2 {
            let mut embedded = buffer(b, cols);
            b.embed(&mut embedded, second, &[2, 0, rows as u32], 0.7);
            all.push((format!("embed {dtype}"), cols, read(b, &embedded)));
        }
    }
}

/// Operations without matrices.
fn rows<B: Backend>(b: &mut B, n_rows: usize, all: &mut Results) {
    let mut noise = Noise(n_rows as u64);
    let (head_dim, width) = (24, 72);
    let data = noise.numbers(n_rows * width);
    let x = upload_rows(b, width, data.clone());
    let [weight, bias, head_weight] =
        [width, width, head_dim].map(|n| noise.tensor(b, DType::F32, [1, 1, n]));
    let mut out = buffer(b, width);

    b.rms_norm(&mut out, &x, &weight, 1e-5);
    all.push(("rms_norm".into(), width, read(b, &out)));
    b.take_rows(&mut out, &x, &[n_rows - 1, 0]);
    all.push(("take_rows".into(), width, read(b, &out)));
    for (first, n) in [(0, head_dim), (head_dim, head_dim), (5, 33), (width - 1, 1)] {
        let mut out = buffer(b, n);
        b.take_columns(&mut out, &x, first);
        all.push((format!("take_columns {first} {n}"), n, read(b, &out)));
    }

    let mut written = buffer(b, width);
    b.write(&mut written, &data);
    b.add(&mut written, &x);
    all.push(("write".into(), width, read(b, &written)));

    let mut in_place = |name: &str, op: &mut dyn FnMut(&mut B, &mut B::Buffer)| {
        let mut x = upload_rows(b, width, data.clone());
        op(b, &mut x);
        all.push((name.into(), width, read(b, &x)));
    };
    in_place("add", &mut |b, y| b.add(y, &x));
    in_place("add_bias", &mut |b, y| b.add_bias(y, &bias));
    in_place("head_norm", &mut |b, y| b.head_norm(y, &head_weight, 1e-6));
    in_place("row norm", &mut |b, y| b.head_norm(y, &weight, 1e-6));
    in_place("group_norm", &mut |b, y| b.group_norm(y, &weight, 3, 1e-6));
    in_place("softcap", &mut |b, y| b.softcap(y, 0.5));
    in_place("scale", &mut |b, y| b.scale(y, 0.3));
    let factors: Vec<f32> = (0..n_rows).map(|row| 1.0 + 0.1 * row as f32).collect();
    in_place("scale_rows", &mut |b, y| b.scale_rows(y, &factors));
    for activation in ACTIVATIONS {
        in_place(&format!("glu {activation:?}"), &mut |b, y| b.glu(y, &x, activation));
        in_place(&format!("activate {activation:?}"), &mut |b, y| b.activate(y, activation));
    }
    for gate_width in [1, 3, 12, width] {
        let gates = noise.numbers(n_rows * gate_width);
        in_place(&format!("sigmoid_gate {gate_width}"), &mut |b, y| {
            let gate = upload_rows(b, gate_width, gates.clone());
            b.sigmoid_gate(y, &gate);
        });
    }
    for (pairing, dims) in [(Pairing::Adjacent, 24), (Pairing::Halves, 24), (Pairing::Halves, 16)] {
        let rope = Rope::new(pairing, dims, 10_000.0, &Scaling::None, None, 1.1);
        let mut angles = Angles::new(&rope);
        angles.fill(&rope, &(0..n_rows as u32).map(|i| 1000 * i + 3).collect::<Vec<_>>());
        in_place(&format!("rope {pairing:?} {dims}"), &mut |b, y| b.rope(y, head_dim, &angles));
    }
}

/// A sequence alone, token by token, and the same one in every other company: equal logits, as bits.
fn rows_do_not_depend_on_the_batch<B: Backend + Send>(new: impl Fn() -> B, file: &Gguf, kv_type: KvType)
where
    B::Weight: Send,
    B::Buffer: Send,
    B::KvPool: Send,
{
    // Over a page boundary, not over two.
    const LEN: usize = 37;
    const N_MATES: usize = 31;
    let n_pages = LEN.div_ceil(PAGE_LEN);
    let arch = Architecture::read(file, None).expect("a model that loads");
    let (n_groups, vocab_size) = (arch.cache_groups.len(), arch.vocab_size as u64);
    let mut noise = Noise(5);
    let mut tokens = || (0..LEN).map(|_| (noise.next() % vocab_size) as u32).collect::<Vec<u32>>();
    let (ours, mates) = (tokens(), (0..N_MATES).map(|_| tokens()).collect::<Vec<_>>());
    // Table i has pages far apart and in descending order.
    let pages = |i: usize| (0..n_pages).rev().map(|p| PageId((p * 32 + i) as u32)).collect::<Vec<_>>();
    let room = KvRoom { n_pages: vec![n_pages * 32; n_groups], kv_type };
    let mut model = Transformer::load(file, arch, new(), &room).expect("a model that loads");
    // Every run has other pages, in which there is nothing or what a mate left.
    let mut n_runs = 0;

    let mut run = |name: &str, chunk: usize, n_mates: usize, place: usize| -> Results {
        let mut logits = Vec::new();
        for start in (0..LEN).step_by(chunk) {
            let end = LEN.min(start + chunk);
            let mut batch = Batch::default();
            let mut first_row = 0;
            for i in 0..=n_mates {
                if i == place {
                    first_row = batch.n_rows();
                    let wants = vec![Want::Logits; end - start];
                    let table = pages(n_runs);
                    batch.push_each(&ours[start..end], start, &vec![table.as_slice(); n_groups], &wants);
                } else {
                    let mate = if i < place { i } else { i - 1 };
                    let table = pages((n_runs + 1 + mate) % (N_MATES + 1));
                    let tables = vec![table.as_slice(); n_groups];
                    batch.push(&mates[mate][start..end], start, &tables, Want::Nothing);
                }
            }
            let output = model.step(&batch).expect("a step");
            (0..end - start).for_each(|i| logits.extend(output.logits(first_row + i).expect("wanted")));
        }
        n_runs += 1;
        let name = format!("{} {name}", file.metadata().str("general.name").unwrap_or("model"));
        vec![(name, vocab_size as usize, logits)]
    };
    let alone = run("token by token", 1, 0, 0);
    if new().device_sampling().is_some() {
        chains_choose_what_steps_do(&new, file, kv_type);
    }
    for (name, chunk, n_mates, place) in [
        ("in one chunk", LEN, 0, 0),
        ("in chunks of 7", 7, 0, 0),
        ("among 31 others", 1, N_MATES, 17),
        ("in chunks of 9 among 3 others", 9, 3, 3),
    ] {
        compare(&run(name, chunk, n_mates, place), &alone, Precision::Bits);
    }
}

fn buffer<B: Backend>(b: &mut B, width: usize) -> B::Buffer {
    b.buffer(width).expect("room for a small buffer")
}

fn read<B: Backend>(b: &mut B, x: &B::Buffer) -> Vec<f32> {
    let mut out = Vec::new();
    b.read(x, &mut out).expect("a device that lives");
    out
}

/// A buffer with these numbers, by way of an embedding table.
fn upload_rows<B: Backend>(b: &mut B, width: usize, data: Vec<f32>) -> B::Buffer {
    let n_rows = data.len() / width;
    let bytes = data.iter().flat_map(|x| x.to_le_bytes()).collect();
    let table = upload(b, DType::F32, [1, n_rows, width], bytes);
    let mut out = buffer(b, width);
    b.embed(&mut out, &table, &(0..n_rows as u32).collect::<Vec<_>>(), 1.0);
    out
}

fn upload<B: Backend>(b: &mut B, dtype: DType, shape: [usize; 3], bytes: Vec<u8>) -> B::Weight {
    let [n_experts, rows, cols] = shape;
    let source = Source::Memory(&bytes);
    let tensor = HostTensor { name: "noise".into(), dtype, n_experts, rows, cols, source };
    b.upload(&tensor).expect("a small tensor")
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// Uniform in [-1, 1).
    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }

    fn tensor<B: Backend>(&mut self, b: &mut B, dtype: DType, shape: [usize; 3]) -> B::Weight {
        let bytes = self.bytes(dtype, shape.iter().product());
        upload(b, dtype, shape, bytes)
    }

    /// The bytes of random numbers. Quantized ones are random bytes, block by block, so that every bit pattern
    /// of quants and scales occurs, leaving out blocks with huge, tiny or non-finite values.
    fn bytes(&mut self, dtype: DType, n: usize) -> Vec<u8> {
        if dtype.is_float() {
            return quantize(dtype, &self.numbers(n)).expect("floats are written as they are");
        }
        let mut values = vec![0.0; dtype.block_len()];
        let mut bytes = vec![0; dtype.row_bytes(n).expect("whole blocks")];
        for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
            loop {
                block.chunks_mut(8).for_each(|c| c.copy_from_slice(&self.next().to_le_bytes()[..c.len()]));
                dequantize(dtype, block, &mut values).expect("one block");
                if values.iter().all(|x| x.abs() < 10.0) && values.iter().any(|x| x.abs() > 1e-4) {
                    break;
                }
            }
        }
        bytes
    }

    /// Matrices of so many rows each, uploaded together.
    fn tensors<B: Backend, const N: usize>(
        &mut self,
        b: &mut B,
        dtype: DType,
        rows: &[usize; N],
        cols: usize,
    ) -> [B::Weight; N] {
        let bytes = rows.map(|rows| self.bytes(dtype, rows * cols));
        let tensors = std::array::from_fn::<_, N, _>(|i| {
            let source = Source::Memory(&bytes[i]);
            HostTensor { name: "noise".into(), dtype, n_experts: 1, rows: rows[i], cols, source }
        });
        let weights = b.upload_together(&tensors).expect("small tensors");
        weights.try_into().ok().expect("a weight for every tensor")
    }
}
