//! Blocks mean what ggml says: bit for bit against values that the `gguf` Python package computed
//! (`testdata/quant/make.py`), and quantizing loses no more than it must.

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

#[test]
fn every_type_dequantizes_to_the_bits_of_ggml() {
    let gguf = fixture();
    for &dtype in DType::ALL.iter().filter(|t| t.can_dequantize() && **t != DType::F32) {
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
    let gguf = fixture();
    let mut pieces = Vec::new();
    for &dtype in DType::ALL.iter().filter(|t| t.is_quantized()) {
        let (_, bytes) = tensor(&gguf, &format!("{dtype}.blocks"));
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
        dequantize(DType::IQ2_XXS, &[0; 66], &mut out),
        Err(QuantError::Unsupported { action: "dequantize", dtype: DType::IQ2_XXS })
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
