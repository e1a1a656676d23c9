// A scale and what is added, both in half precision.

const MINIMUMS = true;
const HALVES = false;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let both = word(panel, 0u, block, lane);
    return Scales(vec2(from_f16(both & 0xffffu)), vec2(-from_f16(both >> 16u)));
}
