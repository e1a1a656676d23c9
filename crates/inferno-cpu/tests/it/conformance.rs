//! Every instruction set of this machine against the reference, bit for bit.

use std::num::NonZeroUsize;

use inferno_cpu::{Cpu, Isa};
use inferno_format::{DType, Gguf, dequantize};
use inferno_model::backend::{Backend, DeviceMemory, HostTensor, Source};
use inferno_model::conformance::{
    Precision, Promise, check, delta_net_layers, first_layers, kda_layers, latent_layers, mixtures,
    uneven_layers,
};

const BITS: Promise = Promise { operations: Precision::Bits, attention: Precision::Bits };

fn cpu(isa: Isa, n_threads: usize) -> Cpu {
    Cpu::new(isa, NonZeroUsize::new(n_threads).unwrap()).unwrap()
}

fn models() -> Vec<Gguf> {
    let ember = concat!(env!("CARGO_MANIFEST_DIR"), "/../inferno/models/ember/ember-q8_0.gguf");
    let goldens =
        ["llama", "qwen2", "qwen3moe", "phi3", "gemma2", "gemma3", "gemma4-e2b", "nemotron-h", "lfm2"]
            .map(|name| xtask::testing::testdata(&format!("goldens/{name}.gguf")));
    let mut models: Vec<Gguf> = goldens.iter().map(|path| Gguf::open(path).unwrap()).collect();
    // Layers are alike: three of the nine have all their shapes.
    models.push(first_layers(&Gguf::open(ember.as_ref()).unwrap(), 3));
    models.extend(mixtures());
    models.extend([latent_layers(true), uneven_layers(), delta_net_layers(true), kda_layers()]);
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

/// Of the powers of two that MXFP4 scales by, two are subnormal, and the largest take its numbers to infinity.
#[test]
fn every_scale_and_code_of_mxfp4_is_exact() {
    let row = |e| std::iter::once(e).chain((0..16).map(|code| code | (15 - code) << 4));
    let bytes: Vec<u8> = (0..=u8::MAX).flat_map(row).collect();
    let mut expected = vec![0.0; 256 * 32];
    dequantize(DType::MXFP4, &bytes, &mut expected).unwrap();
    for isa in Isa::available() {
        let mut cpu = cpu(isa, 1);
        let source = Source::Memory(&bytes);
        let (name, dtype) = ("powers".into(), DType::MXFP4);
        let table =
            cpu.upload(&HostTensor { name, dtype, n_experts: 1, rows: 256, cols: 32, source }).unwrap();
        let (mut out, mut found) = (cpu.buffer(32).unwrap(), Vec::new());
        cpu.embed(&mut out, &table, &(0..256).collect::<Vec<_>>(), 1.0);
        cpu.read(&out, &mut found).unwrap();
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&found) == bits(&expected), "{isa}");
    }
}
