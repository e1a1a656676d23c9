// Q3_K, Q6_K, IQ1 to IQ3 and IQ4_XS: a signed byte of scale for 16 weights, what its unit is worth for 256.

const MINIMUMS = false;
const HALVES = true;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let bytes = half_word(panel, block, lane);
    let unit = bitcast<f32>(word(panel, p.n_blocks, block / 8u, lane));
    let both = vec2(extractBits(i32(bytes), 0u, 8u), extractBits(i32(bytes), 8u, 8u));
    return Scales(vec2(unit) * vec2<f32>(both), vec2(0.0));
}
