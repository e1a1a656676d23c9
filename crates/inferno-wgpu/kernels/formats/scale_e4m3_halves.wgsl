// NVFP4: an unsigned byte of E4M3 for 16 weights, half of what it stands for. Subnormal numbers are multiples of 2^-10.

const MINIMUMS = false;
const HALVES = true;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let bytes = half_word(panel, block, lane);
    let both = vec2(bytes & 127u, (bytes >> 8u) & 127u);
    let exponent = both >> vec2(3u);
    let normal = (8u + (both & vec2(7u))) << (max(exponent, vec2(1u)) - 1u);
    return Scales(vec2<f32>(select(normal, both, exponent == vec2(0u))) * 0.0009765625, vec2(0.0));
}
