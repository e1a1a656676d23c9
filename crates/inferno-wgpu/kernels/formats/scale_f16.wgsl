// A scale in half precision.

const MINIMUMS = false;
const HALVES = false;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    return Scales(vec2(from_f16(half_word(panel, block, lane))), vec2(0.0));
}
