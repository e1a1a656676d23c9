//! The whole level against the reference, bit for bit: with emulated tiles where there is AVX-512, and with the
//! machine's where there are any (`tests/it/conformance.rs` has the suite for these).

use std::num::NonZeroUsize;

use inferno_format::{DType, Gguf, dequantize};
use inferno_model::backend::{AttentionRule, Backend, DeviceMemory, HostTensor, KvType, Source};
use inferno_model::conformance::{Precision, Promise, check};
use inferno_model::reference::Reference;
use xtask::testing::{Random, skip, testdata};

use crate::backend::Cpu;
use crate::isa::Isa;
use crate::kernels::Kernels;

/// With no threads of its own.
fn cpu(kernels: Kernels) -> Cpu {
    Cpu::with(kernels, NonZeroUsize::MIN).unwrap()
}

fn has_vectors() -> bool {
    let has = Isa::Avx512.is_available();
    if !has {
        skip("avx512", "this machine has no `avx512`, which is not emulated");
    }
    has
}

#[test]
fn emulated_tiles_give_the_bits_of_the_reference() {
    if !has_vectors() {
        return;
    }
    let models = ["qwen2", "qwen3moe", "gemma3"]
        .map(|name| Gguf::open(&testdata(&format!("goldens/{name}.gguf"))).unwrap());
    let bits = Promise { operations: Precision::Bits, attention: Precision::Bits };
    check(|| cpu(Kernels::with_emulated_tiles()), bits, &models);
}

#[test]
fn a_machine_whose_tiles_multiply_bf16_otherwise_attends_in_floats() {
    if !has_vectors() {
        return;
    }
    let bits = Promise { operations: Precision::Bits, attention: Precision::Bits };
    let kernels = || Kernels { tiles: None, ..Kernels::with_emulated_tiles() };
    assert_eq!(cpu(kernels()).attention_rule(KvType::Bf16), AttentionRule::Floats);
    check(|| cpu(kernels()), bits, &[]);
}

#[test]
fn products_of_every_shape_in_emulated_tiles_are_the_reference_s() {
    if has_vectors() {
        multiply_as_reference(Kernels::with_emulated_tiles);
    }
}

#[test]
fn products_of_every_shape_in_tiles_are_the_reference_s() {
    if !Isa::Amx.is_available() {
        return skip("amx", "this machine has no `amx`");
    }
    multiply_as_reference(|| Kernels::of(Isa::Amx));
}

/// On two threads, as each has tiles of its own.
fn multiply_as_reference(kernels: fn() -> Kernels) {
    let is_quantized = |dtype: &&DType| dtype.can_dequantize() && !dtype.is_float();
    let quantized: Vec<DType> = DType::ALL.iter().filter(is_quantized).copied().collect();
    std::thread::scope(|scope| {
        for dtypes in quantized.chunks(quantized.len().div_ceil(2)) {
            scope.spawn(move || multiplies_as_reference(&mut cpu(kernels()), dtypes));
        }
    });
}

fn multiplies_as_reference(cpu: &mut Cpu, dtypes: &[DType]) {
    let mut random = Random(32);
    for &dtype in dtypes {
        for cols in [32usize, 96, 256, 1280] {
            if !cols.is_multiple_of(dtype.block_len()) {
                continue;
            }
            for rows in [16, 17, 40, 100] {
                let weights = random_weights(&mut random, dtype, rows * cols);
                for n_rows in [4, 5, 8, 9, 16, 17, 33, 100] {
                    let mut x = random.numbers(n_rows * cols);
                    match n_rows {
                        9 => x[3 * cols + 7] = f32::NAN,
                        17 => x[2 * cols..3 * cols].fill(0.0),
                        // The ends of a byte, all of a sign.
                        33 => x.iter_mut().for_each(|x| *x = 1.0f32.copysign(*x)),
                        _ => {}
                    }
                    let found = product(cpu, dtype, [rows, cols], &weights, &x);
                    let expected = product(&mut Reference::default(), dtype, [rows, cols], &weights, &x);
                    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!(
                            found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                            "{dtype}, {n_rows} rows of {cols} to {rows}: number {i} is {found:e}, expected {expected:e}"
                        );
                    }
                }
            }
        }
    }
}

fn product<B: Backend>(
    b: &mut B,
    dtype: DType,
    [rows, cols]: [usize; 2],
    weights: &[u8],
    x: &[f32],
) -> Vec<f32> {
    let mut upload = |dtype, rows, bytes: &[u8]| {
        let source = Source::Memory(bytes);
        b.upload(&HostTensor { name: "noise".into(), dtype, n_experts: 1, rows, cols, source }).unwrap()
    };
    let weights = upload(dtype, rows, weights);
    let table = upload(DType::F32, x.len() / cols, bytemuck::cast_slice(x));
    let (mut input, mut out) = (b.buffer(cols).unwrap(), b.buffer(rows).unwrap());
    let tokens: Vec<u32> = (0..(x.len() / cols) as u32).collect();
    b.embed(&mut input, &table, &tokens, 1.0);
    b.matmul(&mut [&mut out], &[&weights], &input);
    let mut numbers = Vec::new();
    b.read(&out, &mut numbers).unwrap();
    numbers
}

/// Blocks of random bytes whose values are of like size.
fn random_weights(random: &mut Random, dtype: DType, n: usize) -> Vec<u8> {
    let mut values = vec![0.0; dtype.block_len()];
    let mut bytes = vec![0; dtype.row_bytes(n).unwrap()];
    for block in bytes.chunks_exact_mut(dtype.block_bytes()) {
        loop {
            block.fill_with(|| random.bits() as u8);
            dequantize(dtype, block, &mut values).unwrap();
            if values.iter().all(|x| x.abs() < 10.0) && values.iter().any(|x| x.abs() > 1e-4) {
                break;
            }
        }
    }
    bytes
}
