//! Every instruction set of this machine against the reference, bit for bit.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::Gguf;
use inferno_model::conformance::{Precision, Promise, check, first_layers};

const BITS: Promise = Promise { operations: Precision::Bits, attention: Precision::Bits };

fn cpu(isa: Isa, n_threads: usize) -> Cpu {
    Cpu::new(isa, NonZeroUsize::new(n_threads).unwrap()).unwrap()
}

fn models() -> Vec<Gguf> {
    let ember = concat!(env!("CARGO_MANIFEST_DIR"), "/../inferno/models/ember/ember-q8_0.gguf");
    let goldens = ["llama", "qwen2", "qwen3moe", "phi3", "gemma2", "gemma3"]
        .map(|name| xtask::testing::testdata(&format!("goldens/{name}.gguf")));
    let mut models: Vec<Gguf> = goldens.iter().map(|path| Gguf::open(path).unwrap()).collect();
    // Layers are alike: three of the nine have all their shapes.
    models.push(first_layers(&Gguf::open(ember.as_ref()).unwrap(), 3));
    models
}

fn conforms(isa: Isa) {
    if !isa.is_available() {
        return xtask::testing::skip(isa.name(), &format!("this machine has no `{isa}`"));
    }
    check(|| cpu(isa, 1), BITS, &models());
    check(|| cpu(isa, 3), BITS, &[]);
}

#[test]
fn scalar_gives_the_bits_of_the_reference() {
    conforms(Isa::Scalar);
}

#[test]
fn neon_gives_the_bits_of_the_reference() {
    conforms(Isa::Neon);
}

#[test]
fn avx2_gives_the_bits_of_the_reference() {
    conforms(Isa::Avx2);
}

#[test]
fn avx_vnni_gives_the_bits_of_the_reference() {
    conforms(Isa::AvxVnni);
}

#[test]
fn avx512_gives_the_bits_of_the_reference() {
    conforms(Isa::Avx512);
}

#[test]
fn amx_gives_the_bits_of_the_reference() {
    conforms(Isa::Amx);
}
