// Q2_K: four bits of scale and four of minimum for 16 weights, what their units are worth for 256.

const MINIMUMS = true;
const HALVES = true;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let nibbles = half_word(panel, block, lane);
    let units = word(panel, p.n_blocks, block / 8u, lane);
    let scale = vec2(nibbles & 15u, (nibbles >> 4u) & 15u);
    let minimum = vec2((nibbles >> 8u) & 15u, nibbles >> 12u);
    return Scales(vec2(from_f16(units & 0xffffu)) * vec2<f32>(scale), vec2(from_f16(units >> 16u)) * vec2<f32>(minimum));
}
