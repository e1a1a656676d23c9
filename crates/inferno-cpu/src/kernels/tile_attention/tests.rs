//! Attention in emulated tiles, and in the machine's where there are any: the bits of the reference, whatever the
//! chunks, the threads and the pages, with keys and values among them that are no numbers.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::num::NonZeroUsize;
use std::ops::Range;

use inferno_format::DType;
use inferno_model::architecture::CacheGroup;
use inferno_model::backend::{
    Attention, AttentionRule, Backend, HostTensor, KvShape, KvType, LayerIdx, Source,
};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::reference::Reference;
use xtask::testing::{Random, skip};

use crate::backend::Cpu;
use crate::isa::Isa;
use crate::kernels::Kernels;

const LAYER: LayerIdx = LayerIdx { layer: 0, group: 0 };

/// Over the border of a partition, and some way into the second one.
const LEN: usize = 600;

/// Query heads, key heads, numbers in a key and numbers in a value.
type Heads = [usize; 4];

/// A sequence: what goes into attention, row by row.
struct Sequence {
    heads: Heads,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Sequence {
    fn new(heads: Heads) -> Sequence {
        let [n_heads, n_kv_heads, key_width, value_width] = heads;
        let mut random = Random(16);
        let [q, k, v] = [n_heads * key_width, n_kv_heads * key_width, n_kv_heads * value_width]
            .map(|width| random.numbers(LEN * width));
        Sequence { heads, q, k, v }
    }

    /// Values that are no numbers: whoever sees one has none either.
    fn poisoned(heads: Heads) -> Sequence {
        let mut sequence = Sequence::new(heads);
        let width = heads[1] * heads[3];
        sequence.v[70 * width] = f32::NAN;
        sequence.v[555 * width + width - 1] = f32::INFINITY;
        let width = heads[1] * heads[2];
        sequence.k[300 * width + 1] = f32::NAN;
        // A key that nobody cares for.
        sequence.k[301 * width..302 * width].fill(1e-40);
        sequence
    }

    /// The outputs of positions `wanted`, as bits with one NaN, of attention run in chunks that end where `ends` says.
    fn run<B: Backend>(
        &self,
        b: &mut B,
        window: Option<usize>,
        ends: &[usize],
        reverse: bool,
        wanted: Range<usize>,
    ) -> Vec<u32> {
        let [n_heads, n_kv_heads, key_width, value_width] = self.heads;
        let n_pages = LEN.div_ceil(PAGE_LEN);
        let groups = vec![(CacheGroup::pages(vec![0], [n_kv_heads, key_width, value_width], None), n_pages)];
        let kv_type = KvType::Bf16;
        let mut pool = b.kv_pool(&KvShape { groups, kv_type }).unwrap();
        let id = |i: usize| PageId(if reverse { n_pages - 1 - i } else { i } as u32);
        let table: Vec<PageId> = (0..n_pages).map(id).collect();
        let mut batch = Batch::default();
        // What was in the pages before.
        batch.push(&vec![0; n_pages * PAGE_LEN], 0, &[&table], Want::Nothing);
        let widths = [n_heads * key_width, n_kv_heads * key_width, n_kv_heads * value_width];
        let [_, k, v] = widths.map(|width| rows(b, width, &vec![f32::NAN; batch.n_rows() * width]));
        b.store_kv(&mut pool, LAYER, &k, &v, &batch);

        let (scale, softcap) = (1.5 / (key_width as f32).sqrt(), (key_width == 80).then_some(2.0));
        let layer = LAYER;
        let shape = Attention { layer, n_heads, n_kv_heads, key_width, value_width, scale, softcap, window };
        let (mut start, mut all) = (0, Vec::new());
        for &end in ends {
            batch.clear();
            batch.push(&vec![0; end - start], start, &[&table], Want::Nothing);
            let [q, k, v] = [(&self.q, widths[0]), (&self.k, widths[1]), (&self.v, widths[2])]
                .map(|(x, width)| rows(b, width, &x[start * width..end * width]));
            b.store_kv(&mut pool, LAYER, &k, &v, &batch);
            if end > wanted.start {
                let mut out = b.buffer(n_heads * value_width).unwrap();
                b.attend(&mut out, &q, &pool, &batch, &shape, None);
                let mut numbers = Vec::new();
                b.read(&out, &mut numbers).unwrap();
                let first = wanted.start.saturating_sub(start) * n_heads * value_width;
                all.extend(numbers[first..].iter().map(|x| if x.is_nan() { f32::NAN } else { *x }.to_bits()));
            }
            start = end;
        }
        all
    }
}

fn rows<B: Backend>(b: &mut B, width: usize, data: &[f32]) -> B::Buffer {
    let n_rows = data.len() / width;
    let source = Source::Memory(bytemuck::cast_slice(data));
    let tensor = HostTensor {
        name: "rows".into(),
        dtype: DType::F32,
        n_experts: 1,
        rows: n_rows,
        cols: width,
        source,
    };
    let (table, mut out) = (b.upload(&tensor).unwrap(), b.buffer(width).unwrap());
    b.embed(&mut out, &table, &(0..n_rows as u32).collect::<Vec<_>>(), 1.0);
    out
}

/// Where chunks of that many rows end.
fn chunks(n: usize) -> Vec<usize> {
    (n..LEN).step_by(n).chain([LEN]).collect()
}

fn attends_as_the_reference(kernels: fn() -> Kernels) {
    let cpu = |n_threads| Cpu::with(kernels(), NonZeroUsize::new(n_threads).unwrap()).unwrap();
    for (sequence, window) in [
        (Sequence::new([4, 2, 64, 64]), None),
        (Sequence::poisoned([2, 1, 80, 80]), Some(40)),
        (Sequence::poisoned([20, 2, 7, 7]), None),
        (Sequence::new([1, 1, 128, 128]), Some(513)),
        (Sequence::poisoned([7, 1, 16, 16]), Some(1)),
        (Sequence::poisoned([6, 2, 24, 40]), None),
        (Sequence::new([3, 1, 192, 128]), Some(70)),
    ] {
        let mut reference = Reference::with_bf16_rule(AttentionRule::Bf16Tiles);
        let expected = sequence.run(&mut reference, window, &[LEN], false, 0..LEN);
        let row = sequence.heads[0] * sequence.heads[3];
        let found = |n_threads, ends: &[usize], reverse, wanted: Range<usize>| {
            let found = sequence.run(&mut cpu(n_threads), window, ends, reverse, wanted.clone());
            let expected = &expected[wanted.start * row..];
            let wrong = found.iter().zip(expected).position(|(f, e)| f != e);
            let heads = sequence.heads;
            let at = wrong.map(|i| (wanted.start + i / row, i % row, found[i], expected[i]));
            assert!(
                found.len() == expected.len() && wrong.is_none(),
                "{heads:?} {window:?} {ends:?}: {at:x?}"
            );
        };
        found(3, &[LEN], true, 0..LEN);
        found(1, &chunks(64), true, 0..LEN);
        found(2, &chunks(7), false, 0..LEN);
        // One row at a time, on more threads than it has key heads.
        let single: Vec<usize> = [505].into_iter().chain(506..=518).chain([580]).chain(581..=LEN).collect();
        found(4, &single, true, 505..LEN);
    }
}

#[test]
fn attention_in_emulated_tiles_is_the_reference_s_however_it_is_run() {
    if Isa::Avx512.is_available() {
        attends_as_the_reference(Kernels::with_emulated_tiles);
    } else {
        skip("avx512", "this machine has no `avx512`, which is not emulated");
    }
}

#[test]
fn attention_in_tiles_is_the_reference_s_however_it_is_run() {
    if Isa::Amx.is_available() && Isa::Amx.half_kv() == KvType::Bf16 {
        attends_as_the_reference(|| Kernels::of(Isa::Amx));
    } else {
        skip("amx-bf16", "this machine has no tiles of bf16");
    }
}

#[test]
fn a_number_that_is_hidden_does_no_harm() {
    if !Isa::Avx512.is_available() {
        return skip("avx512", "this machine has no `avx512`, which is not emulated");
    }
    let sequence = Sequence::poisoned([4, 1, 16, 16]);
    let mut cpu = Cpu::with(Kernels::with_emulated_tiles(), NonZeroUsize::MIN).unwrap();
    let found = sequence.run(&mut cpu, Some(9), &[LEN], false, 0..LEN);
    for (i, x) in found.into_iter().enumerate() {
        let (position, dim) = (i / 64, i % 16);
        let sees = |p: usize| (p..p + 9).contains(&position);
        let has_none = sees(300) || sees(70) && dim == 0 || sees(555) && dim == 15;
        assert_eq!(f32::from_bits(x).is_finite(), !has_none, "position {position}, dimension {dim}");
    }
}
