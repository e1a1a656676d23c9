// Q4_K and Q5_K: a byte of scale and one of minimum for 32 weights, what their units are worth for 256.

const MINIMUMS = true;
const HALVES = false;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let bytes = half_word(panel, block, lane);
    let units = word(panel, p.n_blocks, block / 8u, lane);
    let scale = from_f16(units & 0xffffu) * f32(bytes & 0xffu);
    let minimum = from_f16(units >> 16u) * f32(bytes >> 8u);
    return Scales(vec2(scale), vec2(minimum));
}
