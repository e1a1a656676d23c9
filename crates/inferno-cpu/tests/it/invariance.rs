//! Whole models: a sequence's logits are the reference's, and the same bits in any company, in any chunks, on any
//! number of threads and wherever its pages lie.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::{Backend, KvType};
use inferno_model::batch::{Batch, PAGE_LEN, PageId, Want};
use inferno_model::conformance::{delta_net_layers, kda_layers};
use inferno_model::model::{KvRoom, Model};
use inferno_model::reference::Reference;
use inferno_model::transformer::Transformer;
use xtask::testing::{Random, testdata};

/// How a sequence is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    /// Rows a step.
    chunk: usize,
    /// Other sequences in every step, with tokens of their own.
    n_mates: usize,
    /// 1 for pages in order; else they are spread by steps of this odd number.
    stride: usize,
}

pub(crate) const PLAIN: Way = Way { chunk: usize::MAX, n_mates: 0, stride: 1 };

fn tokens(seed: u64, n: usize, vocab_size: usize) -> Vec<u32> {
    let mut random = Random(seed);
    (0..n).map(|_| random.below(vocab_size) as u32).collect()
}

/// The bits of the logits of every position from `first` on.
pub(crate) fn logits<B: Backend + Send>(
    file: &Gguf,
    backend: B,
    kv_type: KvType,
    len: usize,
    first: usize,
    way: Way,
) -> Vec<u32>
where
    B::Weight: Send,
    B::Buffer: Send,
    B::KvPool: Send,
{
    let arch = Architecture::read(file, None).unwrap();
    let (vocab_size, n_groups) = (arch.vocab_size, arch.cache_groups.len());
    let pages_each = len.div_ceil(PAGE_LEN);
    let n_sequences = way.n_mates + 1;
    // A power of two, so that an odd step meets every page.
    let n_pages = (pages_each * n_sequences).next_power_of_two();
    let room = KvRoom { n_pages: vec![n_pages; n_groups], kv_type };
    let mut model = Transformer::load(file, arch, backend, &room).unwrap();
    let table = |s: usize| -> Vec<PageId> {
        (0..pages_each).map(|p| PageId(((s * pages_each + p) * way.stride % n_pages) as u32)).collect()
    };
    let tables: Vec<Vec<PageId>> = (0..n_sequences).map(table).collect();
    let all: Vec<Vec<u32>> = (0..n_sequences).map(|s| tokens(s as u64, len, vocab_size)).collect();
    let ours = n_sequences / 2; // sequence 0 is ours, in the middle of the batch
    let mut out = Vec::new();
    let mut start = 0;
    while start < len {
        let end = len.min(start.saturating_add(way.chunk));
        let mut batch = Batch::default();
        let mut first_row = 0;
        for i in 0..n_sequences {
            let s = if i == ours {
                0
            } else if i < ours {
                i + 1
            } else {
                i
            };
            let tables = vec![tables[s].as_slice(); n_groups];
            if s == 0 {
                first_row = batch.n_rows();
                let want = |p| if p >= first { Want::Logits } else { Want::Nothing };
                batch.push_each(
                    &all[s][start..end],
                    start,
                    &tables,
                    &(start..end).map(want).collect::<Vec<_>>(),
                );
            } else {
                batch.push(&all[s][start..end], start, &tables, Want::Nothing);
            }
        }
        let output = model.step(&batch).unwrap();
        for position in first.max(start)..end {
            out.extend(output.logits(first_row + position - start).unwrap().iter().map(|x| x.to_bits()));
        }
        start = end;
    }
    out
}

pub(crate) fn cpu(isa: Isa, n_threads: usize) -> Cpu {
    Cpu::new(isa, NonZeroUsize::new(n_threads).unwrap()).unwrap()
}

fn ember() -> Gguf {
    Gguf::open(concat!(env!("CARGO_MANIFEST_DIR"), "/../inferno/models/ember/ember-q8_0.gguf").as_ref())
        .unwrap()
}

const GOLDENS: &[&str] = &[
    "llama",
    "llama3-scaled",
    "llama-yarn",
    "llama-linear",
    "mistral-swa",
    "mistral-window",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3-untied",
    "qwen3-yarn-factor",
    "qwen3moe",
    "qwen3moe-plain-shares",
    "phi3",
    "phi3-longrope",
    "gemma2",
    "gemma3",
    "gemma3-linear",
    "gemma4-e2b",
    "gemma4-moe",
    "nemotron-h",
    "lfm2",
];

/// The reference matches the goldens (within 2e-4 of float64); a level that has its bits does too.
fn every_golden_model_has_the_bits_of_the_reference(isa: Isa) {
    for name in GOLDENS {
        let file = Gguf::open(&testdata(&format!("goldens/{name}.gguf"))).unwrap();
        let expected = logits(&file, Reference::default(), KvType::F32, 60, 0, PLAIN);
        let found = logits(&file, cpu(isa, 2), KvType::F32, 60, 0, PLAIN);
        assert!(found == expected, "{name} on {isa}");
    }
}

/// Rows of 172 in F16 and F32, trained weights.
fn stories_have_the_bits_of_the_reference(isa: Isa) {
    for name in ["weights/stories260K-f16.gguf", "weights/stories260K-f32.gguf"] {
        let Some(path) = xtask::testing::data(name) else { return };
        let file = Gguf::open(&path).unwrap();
        let expected = logits(&file, Reference::default(), KvType::F32, 40, 0, PLAIN);
        let found = logits(&file, cpu(isa, 2), KvType::F32, 40, 0, Way { chunk: 9, ..PLAIN });
        assert!(found == expected, "{name} on {isa}");
    }
}

fn no_bit_depends_on_how_a_sequence_is_run(isa: Isa) {
    let moe = Gguf::open(&testdata("goldens/qwen3moe.gguf")).unwrap();
    let windowed = Gguf::open(&testdata("goldens/gemma3.gguf")).unwrap();
    // Over the border of a partition (512) where the model's context allows it.
    let ember = ember();
    let recurrent = Gguf::open(&testdata("goldens/nemotron-h.gguf")).unwrap();
    let cases = [
        (&moe, KvType::F32, 100),
        (&windowed, KvType::Bf16, 100),
        (&ember, KvType::F16, 530),
        (&ember, KvType::Q8_0, 100),
        (&recurrent, KvType::F32, 130),
    ];
    // The scalar level rounds its multiply-adds in software where the target's baseline has none: minutes of it.
    let n_cases = if isa == Isa::Scalar { 2 } else { cases.len() };
    for (file, kv_type, len) in cases.into_iter().take(n_cases) {
        let name = file.metadata().str("general.name").unwrap_or("a model").to_owned();
        let first = len - 7;
        let run = |n_threads, way| logits(file, cpu(isa, n_threads), kv_type, len, first, way);
        let expected = run(1, Way { chunk: 1, ..PLAIN });
        for (n_threads, way) in [
            (1, PLAIN),
            (4, PLAIN),
            (2, Way { chunk: 7, ..PLAIN }),
            (3, Way { chunk: 64, stride: 13, ..PLAIN }),
            (1, Way { chunk: 512, ..PLAIN }),
            (2, Way { chunk: 1, stride: 5, ..PLAIN }),
            (2, Way { chunk: 50, n_mates: 31, stride: 7 }),
        ] {
            assert!(
                run(n_threads, way) == expected,
                "{name} on {isa}, {kv_type:?}, {n_threads} threads: {way:?}"
            );
        }
    }
    // One row of each of 32 sequences at a time.
    let run = |n_threads, way| logits(&moe, cpu(isa, n_threads), KvType::F16, 45, 0, way);
    let alone = run(1, Way { chunk: 1, ..PLAIN });
    assert!(run(2, Way { chunk: 1, n_mates: 31, stride: 3 }) == alone, "one of 32 on {isa}");
}

/// As bits: in chunks shorter and longer than the tail of a convolution, on both sides of pages, and in company.
fn no_bit_of_a_recurrent_model_depends_on_how_a_sequence_is_run(isa: Isa) {
    for file in [delta_net_layers(false), kda_layers()] {
        let run = |n_threads, way| logits(&file, cpu(isa, n_threads), KvType::F32, 70, 0, way);
        let expected = logits(&file, Reference::default(), KvType::F32, 70, 0, PLAIN);
        for (n_threads, way) in [
            (1, Way { chunk: 1, ..PLAIN }),
            (2, Way { chunk: 2, stride: 5, ..PLAIN }),
            (2, Way { chunk: 7, ..PLAIN }),
            (3, Way { chunk: 63, stride: 3, ..PLAIN }),
            (2, Way { chunk: 64, ..PLAIN }),
            (4, Way { chunk: 65, stride: 13, ..PLAIN }),
            (2, Way { chunk: 512, ..PLAIN }),
            (2, Way { chunk: 50, n_mates: 31, stride: 7 }),
            (2, Way { chunk: 1, n_mates: 2, stride: 3 }),
        ] {
            let name = file.metadata().str("general.name").unwrap();
            assert!(run(n_threads, way) == expected, "{name} on {isa}, {n_threads} threads: {way:?}");
        }
    }
}

macro_rules! levels {
    ($($module:ident: $isa:expr,)*) => { $(
        mod $module {
            use super::*;

            #[test]
            fn gives_every_golden_model_the_bits_of_the_reference() {
                if $isa.is_available() {
                    every_golden_model_has_the_bits_of_the_reference($isa);
                    stories_have_the_bits_of_the_reference($isa);
                } else {
                    xtask::testing::skip($isa.name(), &format!("this machine has no `{}`", $isa));
                }
            }

            #[test]
            fn computes_a_sequence_the_same_however_it_is_run() {
                if $isa.is_available() {
                    no_bit_depends_on_how_a_sequence_is_run($isa);
                    no_bit_of_a_recurrent_model_depends_on_how_a_sequence_is_run($isa);
                } else {
                    xtask::testing::skip($isa.name(), &format!("this machine has no `{}`", $isa));
                }
            }
        }
    )* };
}

levels! {
    scalar: Isa::Scalar,
    neon: Isa::Neon,
    avx2: Isa::Avx2,
    avx_vnni: Isa::AvxVnni,
    avx512: Isa::Avx512,
    amx: Isa::Amx,
}
