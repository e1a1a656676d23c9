use inferno_format::unpack_row;
use xtask::testing::Random;

use super::*;

fn quantized() -> impl Iterator<Item = DType> {
    DType::ALL.iter().copied().filter(|dtype| dtype.is_quantized())
}

/// Bytes of any value mean something in every quantized type.
#[test]
fn integers_are_those_that_occur() {
    for dtype in quantized() {
        let mut random = Random(5);
        let bytes: Vec<u8> = (0..1000 * dtype.block_bytes()).map(|_| random.bits() as u8).collect();
        let mut blocks = Vec::new();
        unpack_row(dtype, &bytes, &mut blocks).unwrap();
        let mut found: Vec<i8> = blocks.iter().flat_map(|block| block.q).collect();
        found.sort_unstable();
        found.dedup();
        match Layout::of(dtype) {
            Layout::Codes(codes) => assert_eq!(codes.values, found, "{dtype}"),
            layout => assert_eq!(layout.integers(), found[0]..=found[found.len() - 1], "{dtype}"),
        }
    }
}

/// Up to sixteen weights are looked up. Of others the bits of the upper plane are, with what is added to codes of neighbours.
#[test]
fn codes_of_more_than_a_nibble_are_of_neighbours_that_begin_at_a_whole_nibble() {
    for codes in quantized().filter_map(Codes::of) {
        let [low, high] = planes(codes.bits());
        let are_neighbours = codes.values.is_sorted_by(|a, b| *a + 1 == *b);
        assert!(are_neighbours || codes.values.len() <= 16, "{:?}", codes.values);
        if are_neighbours && high > 0 {
            assert_eq!(codes.values[0] & ((1 << low) - 1), 0, "{:?}", codes.values);
        }
    }
}

/// Runs and minimums are those that the format says.
#[test]
fn bytes_have_the_scales_of_the_type() {
    for dtype in quantized() {
        let Layout::Wide { run16, min, .. } = Layout::of(dtype).wide(true) else { panic!("bytes") };
        assert_eq!((run16, min), (dtype.scale_len() == 16, dtype.has_minimums()), "{dtype}");
    }
}

/// The bytes of the file and a twentieth at most, except for groups from a codebook and packed digits: their weights are
/// codes of their own here.
#[test]
fn packed_weights_take_the_bytes_of_the_file() {
    for dtype in quantized() {
        let (quants, scales) = Layout::of(dtype).panel_bytes(256);
        let (found, file) = (quants + scales, PANEL * dtype.row_bytes(256).unwrap());
        let bits = found as f64 * 8.0 / 256.0 / PANEL as f64;
        match dtype {
            DType::TQ1_0 => assert_eq!(bits, 2.0625),
            DType::IQ1_S | DType::IQ2_XXS => assert_eq!(bits, 3.3125, "{dtype}"),
            DType::IQ1_M | DType::IQ2_XS | DType::IQ2_S => assert_eq!(bits, 3.5625, "{dtype}"),
            DType::IQ3_XXS | DType::IQ3_S => assert_eq!(bits, 4.3125, "{dtype}"),
            _ => assert!((file..=file + file / 20).contains(&found), "{dtype}: {bits} bits"),
        }
    }
}

#[test]
fn weights_are_unpacked_for_many_rows_unless_they_are_bytes_that_the_level_multiplies() {
    let unpacked = |dtype, by_pairs| Layout::of(dtype).unpacked(by_pairs);
    let wide = |bits, run16, min| Layout::Wide { bits, run16, min };
    assert_eq!(unpacked(DType::F16, true), None);
    assert_eq!(unpacked(DType::Q8_0, true), Some(Layout::Words));
    assert_eq!(unpacked(DType::IQ4_NL, true), Some(Layout::Words));
    assert_eq!(unpacked(DType::Q4_K, true), Some(wide(4, false, true)));
    assert_eq!(unpacked(DType::Q5_K, true), Some(wide(5, false, true)));
    assert_eq!(unpacked(DType::Q3_K, true), Some(wide(6, true, false)));
    assert_eq!(unpacked(DType::Q8_0, false), None);
    assert_eq!(unpacked(DType::Q6_K, false), Some(wide(8, true, false)));
    assert_eq!(unpacked(DType::Q2_K, false), Some(wide(8, true, true)));
}
