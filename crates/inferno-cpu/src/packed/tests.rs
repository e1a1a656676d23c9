use inferno_format::unpack_row;
use xtask::testing::Random;

use super::*;

/// Bytes of any value mean something in every quantized type.
#[test]
fn integers_are_those_that_occur() {
    for &dtype in DType::ALL.iter().filter(|dtype| dtype.is_quantized()) {
        let mut random = Random(5);
        let bytes: Vec<u8> = (0..1000 * dtype.block_bytes()).map(|_| random.bits() as u8).collect();
        let mut blocks = Vec::new();
        unpack_row(dtype, &bytes, &mut blocks).unwrap();
        let found: Vec<i8> = blocks.iter().flat_map(|block| block.q).collect();
        let range = *found.iter().min().unwrap()..=*found.iter().max().unwrap();
        match dtype {
            // Any byte is as good as all of them.
            DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS => assert_eq!(stored_bits(dtype), 8, "{dtype}"),
            _ => assert_eq!(integers(dtype), range, "{dtype}"),
        }
    }
}

#[test]
fn weights_are_unpacked_for_many_rows_unless_they_are_bytes_that_the_level_multiplies() {
    let unpacked = |dtype, by_pairs| Layout::of(dtype, by_pairs).unpacked(dtype, by_pairs);
    let wide = |bits, run16, min| Layout::Wide { bits, run16, min };
    assert_eq!(unpacked(DType::F16, true), None);
    assert_eq!(unpacked(DType::Q8_0, true), Some(Layout::Words));
    assert_eq!(unpacked(DType::IQ4_NL, true), Some(Layout::Words));
    assert_eq!(unpacked(DType::Q4_K, true), Some(wide(4, false, true)));
    assert_eq!(unpacked(DType::Q5_K, true), None);
    assert_eq!(unpacked(DType::Q8_0, false), None);
    assert_eq!(unpacked(DType::Q6_K, false), Some(wide(8, true, false)));
    assert_eq!(unpacked(DType::Q2_K, false), None);
}
