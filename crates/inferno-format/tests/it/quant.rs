//! Blocks mean what ggml says: bit for bit against values that its library and the `gguf` Python package computed
//! (`testdata/quant/`), and quantizing loses no more than it must.

use inferno_format::{DType, Gguf, QuantError, dequantize, quantize, unpack_row};
use proptest::prelude::*;

fn fixture() -> Gguf {
    Gguf::from_static(include_bytes!("../../../../testdata/quant/blocks.gguf")).unwrap()
}

fn tensor(gguf: &Gguf, name: &str) -> (DType, Vec<u8>) {
    let t = gguf.tensor(name).unwrap_or_else(|| panic!("no tensor {name}"));
    (t.dtype, gguf.read(t).unwrap())
}

fn floats(gguf: &Gguf, name: &str) -> Vec<f32> {
    let (dtype, bytes) = tensor(gguf, name);
    assert_eq!(dtype, DType::F32);
    bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

/// Values of `bytes`, which must be whole blocks.
fn values(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![f32::NAN; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut values).unwrap();
    values
}

fn same(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan()
}

/// The first `n` bytes of splitmix64 with seed 0.
fn random_bytes(n: usize) -> Vec<u8> {
    let word = |i: u64| {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    };
    (1..).flat_map(|i| word(i).to_le_bytes()).take(n).collect()
}

/// 512 random blocks of a type, one of zeros and one of ones.
fn random_blocks(dtype: DType) -> Vec<u8> {
    let size = dtype.block_bytes();
    [random_bytes(512 * size), vec![0; size], vec![255; size]].concat()
}

/// FNV-1a over the bits of values, each NaN as the same one.
fn hash(values: &[f32]) -> u64 {
    values.iter().fold(0xcbf2_9ce4_8422_2325, |hash, x| {
        let bits = if x.is_nan() { 0x7fc0_0000 } else { x.to_bits() };
        (hash ^ u64::from(bits)).wrapping_mul(0x100_0000_01b3)
    })
}

/// Hashes of the numbers that ggml's library makes of [`random_blocks`], as `testdata/quant/hashes.py` prints them:
/// `libggml-base.so` of llama.cpp v0.5.0, as npm's `@node-llama-cpp/linux-x64` 3.22.1 has it.
const HASHES: &[(DType, u64)] = &[
    (DType::Q4_0, 0x4bcc_890a_f920_1c25),
    (DType::Q4_1, 0x4e17_ab94_90b5_9fec),
    (DType::Q5_0, 0x4d87_761e_7908_3c25),
    (DType::Q5_1, 0x0356_afce_ba2f_7edb),
    (DType::Q8_0, 0x98ae_744e_0f52_6265),
    (DType::Q2_K, 0x0e70_47a0_ffcb_ef6a),
    (DType::Q3_K, 0x24de_d5ac_560f_6da5),
    (DType::Q4_K, 0x481f_58e1_42ee_49a9),
    (DType::Q5_K, 0x855e_68af_5553_9449),
    (DType::Q6_K, 0x6cdb_1218_0730_9203),
    (DType::IQ2_XXS, 0x6402_392a_f954_dd21),
    (DType::IQ2_XS, 0xd867_eb48_4798_a445),
    (DType::IQ3_XXS, 0xa7e3_e152_214b_5b45),
    (DType::IQ1_S, 0x1c43_b6fc_b8d8_45a5),
    (DType::IQ4_NL, 0x61bc_b137_79b8_e3e5),
    (DType::IQ3_S, 0xc942_7ee0_3bb5_3f75),
    (DType::IQ2_S, 0xa42c_e318_b259_3ad9),
    (DType::IQ4_XS, 0x02a1_6f52_6db1_2d3b),
    (DType::IQ1_M, 0x690c_6f17_bd5f_6f45),
    (DType::TQ1_0, 0xd59c_6497_2631_2b25),
    (DType::TQ2_0, 0x56e2_00db_7753_eb25),
    (DType::MXFP4, 0x873a_2850_6c42_0825),
    (DType::NVFP4, 0x13d3_4c34_a232_ed25),
    (DType::Q1_0, 0x4f5e_9c21_0e4b_b725),
    (DType::Q2_0, 0x51c4_8086_8fe2_ad25),
];

#[test]
fn random_blocks_of_every_type_dequantize_to_the_bits_of_ggml() {
    let types: Vec<DType> = DType::ALL.iter().copied().filter(|t| t.is_quantized()).collect();
    assert_eq!(HASHES.iter().map(|&(dtype, _)| dtype).collect::<Vec<_>>(), types);
    let differ =
        HASHES.iter().filter(|&&(dtype, expected)| hash(&values(dtype, &random_blocks(dtype))) != expected);
    assert_eq!(differ.map(|(dtype, _)| dtype.name()).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn blocks_dequantize_to_the_values_of_the_python_package() {
    let gguf = fixture();
    for &dtype in DType::ALL.iter().filter(|t| gguf.tensor(&format!("{t}.blocks")).is_some()) {
        let (stored, bytes) = tensor(&gguf, &format!("{dtype}.blocks"));
        assert_eq!(stored, dtype);
        let expected = floats(&gguf, &format!("{dtype}.values"));
        let found = values(dtype, &bytes);
        assert_eq!(found.len(), expected.len());
        for (i, (&found, &expected)) in found.iter().zip(&expected).enumerate() {
            assert!(same(found, expected), "{dtype} value {i}: {found:e}, expected {expected:e}");
        }
    }
}

#[test]
fn unpacked_pieces_hold_the_values_that_dequantize_gives() {
    let mut pieces = Vec::new();
    for &dtype in DType::ALL.iter().filter(|t| t.is_quantized()) {
        let bytes = random_blocks(dtype);
        unpack_row(dtype, &bytes, &mut pieces).unwrap();
        let unpacked: Vec<f32> = pieces.iter().flat_map(|p| p.values()).collect();
        let expected = values(dtype, &bytes);
        assert_eq!(unpacked.len(), expected.len());
        assert!(unpacked.iter().zip(&expected).all(|(&a, &b)| same(a, b)), "{dtype}");
    }
}

#[test]
fn simple_types_quantize_to_the_bytes_of_ggml() {
    let gguf = fixture();
    let x = floats(&gguf, "input");
    for dtype in [DType::Q8_0, DType::Q4_0, DType::BF16, DType::F16] {
        let (stored, expected) = tensor(&gguf, &format!("{dtype}.quantized"));
        assert_eq!(stored, dtype);
        let found = quantize(dtype, &x).unwrap();
        let differ = found.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!((found.len(), differ), (expected.len(), None), "{dtype}");
    }
}

/// Normally distributed numbers from a seed (xorshift and Box-Muller).
fn gaussian(n: usize, mut seed: u64) -> Vec<f32> {
    let mut uniform = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        ((seed >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    };
    (0..n)
        .map(|_| ((-2.0 * uniform().ln()).sqrt() * (std::f64::consts::TAU * uniform()).cos()) as f32)
        .collect()
}

fn rmse(dtype: DType, x: &[f32]) -> f64 {
    let y = values(dtype, &quantize(dtype, x).unwrap());
    let square = |(&x, &y): (&f32, &f32)| (f64::from(x) - f64::from(y)).powi(2);
    (x.iter().zip(&y).map(square).sum::<f64>() / x.len() as f64).sqrt()
}

#[test]
fn weights_of_a_normal_distribution_lose_little() {
    let x = gaussian(1 << 18, 1);
    // ggml's own library (0.13.1, no importance matrix) loses on such numbers, and ours on the very same ones:
    //   Q8_0 0.005357 0.005357   Q6_K 0.017743 0.017742   Q4_K 0.071425 0.071739   Q4_0 0.086017 0.086017
    for (dtype, bound) in [
        (DType::F32, 0.0),
        (DType::F16, 0.00022),
        (DType::BF16, 0.0017),
        (DType::Q8_0, 0.0054),
        (DType::Q6_K, 0.0179),
        (DType::Q4_K, 0.0722),
        (DType::Q4_0, 0.0864),
    ] {
        let found = rmse(dtype, &x);
        println!("{dtype}: {found:.5}");
        assert!(found <= bound, "{dtype}: {found}");
    }
}

#[test]
fn what_cannot_be_converted_is_an_error() {
    let mut out = vec![0.0; 32];
    assert_eq!(
        dequantize(DType::Q4_0, &[0; 17], &mut out),
        Err(QuantError::Ragged { dtype: DType::Q4_0, unit: "bytes", block: 18, found: 17 })
    );
    assert_eq!(
        dequantize(DType::Q4_0, &[0; 36], &mut out),
        Err(QuantError::Length { expected: 64, found: 32 })
    );
    assert_eq!(
        dequantize(DType::Q8_K, &[0; 292], &mut out),
        Err(QuantError::Unsupported { action: "dequantize", dtype: DType::Q8_K })
    );
    assert_eq!(
        unpack_row(DType::F32, &[0; 4], &mut Vec::new()),
        Err(QuantError::Unsupported { action: "unpack", dtype: DType::F32 })
    );
    assert_eq!(
        quantize(DType::Q5_K, &[0.0; 256]),
        Err(QuantError::Unsupported { action: "quantize", dtype: DType::Q5_K })
    );
    assert_eq!(
        quantize(DType::Q8_0, &[0.0; 33]),
        Err(QuantError::Ragged { dtype: DType::Q8_0, unit: "values", block: 32, found: 33 })
    );
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::Q8_0, DType::Q4_0, DType::Q4_K, DType::Q6_K] {
        let mut x = [1.0; 512];
        x[300] = f32::NAN;
        assert_eq!(quantize(dtype, &x), Err(QuantError::NotFinite { index: 300 }), "{dtype}");
        x[300] = f32::NEG_INFINITY;
        assert_eq!(quantize(dtype, &x), Err(QuantError::NotFinite { index: 300 }), "{dtype}");
        x[300] = -f32::MAX;
        if dtype != DType::F32 {
            assert_eq!(quantize(dtype, &x), Err(QuantError::TooLarge { index: 300, dtype }), "{dtype}");
        }
    }
    assert_eq!(quantize(DType::Q4_K, &[]), Ok(vec![]));
}

/// 256 values of one magnitude, from the smallest floats to the largest of f16.
fn block() -> impl Strategy<Value = Vec<f32>> {
    let constant = (-1.0f32..1.0).prop_map(|x| vec![x; 256]);
    let sparse = (0usize..256, -1.0f32..1.0).prop_map(|(i, x)| {
        let mut block = vec![0.0; 256];
        block[i] = x;
        block
    });
    let any = prop::collection::vec(-1.0f32..1.0, 256);
    let positive = prop::collection::vec(0.5f32..1.0, 256);
    (prop_oneof![4 => any, 2 => positive, 1 => constant, 1 => sparse], -140i32..16).prop_map(|(x, e)| {
        let unit = 2f64.powi(e) as f32;
        x.into_iter().map(|x| x * unit).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// The bound, of the largest magnitude in the block: half a step, and what the rounding of scales adds.
    /// Below f16's range a scale is a multiple of 2^-24, so an error of that times the largest integer stays.
    #[test]
    fn no_value_moves_by_more_than_a_share_of_the_largest(x in block()) {
        for (dtype, share, largest_q) in [
            (DType::Q8_0, 0.5 / 127.0 + 0.001, 127.0),
            (DType::Q4_0, 1.01 / 8.0, 8.0),
            (DType::Q4_K, 2.0 / 15.0, 15.0 * 63.0 + 63.0),
            (DType::Q6_K, 1.5 / 32.0, 32.0 * 128.0),
        ] {
            let y = values(dtype, &quantize(dtype, &x).unwrap());
            for (x, y) in x.chunks(dtype.block_len()).zip(y.chunks(dtype.block_len())) {
                let largest = x.iter().fold(0f32, |m, x| m.max(x.abs()));
                let bound = largest * share + largest_q * 2f32.powi(-24);
                for (i, (&x, &y)) in x.iter().zip(y).enumerate() {
                    let e = (x - y).abs();
                    prop_assert!(e <= bound, "{dtype}: {i}: {x:e} became {y:e}, largest {largest:e}");
                }
            }
        }
    }

    #[test]
    fn quantizing_what_was_dequantized_changes_little_more(x in block()) {
        for dtype in [DType::F16, DType::BF16] {
            let once = values(dtype, &quantize(dtype, &x).unwrap());
            prop_assert_eq!(&values(dtype, &quantize(dtype, &once).unwrap()), &once);
        }
    }

    #[test]
    fn any_bytes_dequantize_without_panic(bytes in prop::collection::vec(any::<u8>(), 210 * 144)) {
        for &dtype in DType::ALL.iter().filter(|t| t.can_dequantize()) {
            let n = bytes.len() / dtype.block_bytes();
            values(dtype, &bytes[..n * dtype.block_bytes()]);
        }
    }
}
