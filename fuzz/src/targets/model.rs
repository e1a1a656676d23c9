//! Whole tiny models: the input is a file's header, and the weights are noise.
//!
//! A model is refused, or loads and computes on the reference backend and on the CPU backend alike.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::{DType, Gguf};
use inferno_model::architecture::Architecture;
use inferno_model::backend::Backend;
use inferno_model::conformance::Sequence;
use inferno_model::reference::Reference;

use super::gguf::{SEEDS, header};
use super::input::Bits;
use crate::Target;

pub(crate) const TARGET: Target =
    Target { name: "model", check, max_len: 16 << 10, seeds, words: super::gguf::TARGET.words };

/// Bytes of weights that are worth computing with.
const WEIGHTS: u64 = 4 << 20;
/// Positions of the prompt, and room for as many more.
const PROMPT: usize = 6;

fn seeds() -> Vec<Vec<u8>> {
    SEEDS.iter().map(|name| header(name)).collect()
}

fn check(data: &[u8]) {
    let Some(file) = with_noise(data) else { return };
    let Ok(arch) = Architecture::read(&file, None) else { return };
    let n_layers = arch.layers.len();
    if arch.vocab_size < PROMPT || arch.vocab_size > 1 << 16 || n_layers > 16 {
        return;
    }
    let expected = logits(&file, Reference::default(), arch.vocab_size);
    let cpu = Cpu::new(Isa::best(), NonZeroUsize::MIN).expect("this machine's own instructions");
    let found = logits(&file, cpu, arch.vocab_size);
    match (expected, found) {
        (Some(expected), Some(found)) => {
            assert_eq!(found.len(), expected.len());
            // Quantized weights are multiplied with quantized rows, which only goldens have bounds for.
            if file.tensors().iter().all(|t| t.dtype == DType::F32) {
                near(&found, &expected);
            }
        }
        (expected, found) => assert_eq!(found.is_some(), expected.is_some(), "one backend refuses the model"),
    }
}

/// The file of this header, with small numbers as weights; `None` if it is refused or too large.
fn with_noise(data: &[u8]) -> Option<Gguf> {
    let shape = Gguf::from_header(data.to_vec(), 1 << 40).ok()?;
    let n_bytes: u64 = shape.tensors().iter().map(|t| t.n_bytes).sum();
    if n_bytes == 0 || n_bytes > WEIGHTS {
        return None;
    }
    let mut bits = Bits(1);
    // As F32 and BF16 about 0.01, as F16 about 1; of both signs.
    let mut noise = move || ((bits.next() as u16) & 0x807f | 0x3c00).to_le_bytes();
    let mut bytes = data.to_vec();
    // More than the table says, for gaps between tensors.
    let most = bytes.len() as u64 + n_bytes + (1 << 16);
    while (bytes.len() as u64) < most {
        bytes.extend(noise());
    }
    Gguf::from_bytes(bytes).ok()
}

/// (PROMPT, vocab_size) logits; `None` if the model is refused.
fn logits<B>(file: &Gguf, backend: B, vocab_size: usize) -> Option<Vec<f32>>
where
    B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send,
{
    let mut sequence = Sequence::new(file, backend, 2 * PROMPT).ok()?;
    let tokens: Vec<u32> = (0..PROMPT as u32).collect();
    let logits = sequence.append(&tokens).concat();
    assert_eq!(logits.len(), PROMPT * vocab_size);
    // The next token, whatever the logits are.
    let next = logits.iter().rev().take(vocab_size).position(|x| x.is_finite()).unwrap_or_default();
    sequence.append(&[next as u32]);
    Some(logits)
}

/// Small finite logits differ by little.
fn near(found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    if expected.iter().all(|x| x.is_finite()) && largest < 1e3 {
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let difference = (found - expected).abs();
            assert!(difference <= 1e-2 * largest.max(1.0), "logit {i}: {found}, expected {expected}");
        }
    }
}
