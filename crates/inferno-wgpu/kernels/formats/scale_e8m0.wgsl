// A scale that is a power of two: 2^(e - 128) of a byte e. A vector holds those of two blocks.

const MINIMUMS = false;
const HALVES = false;

fn scales(panel: u32, block: u32, lane: u32) -> Scales {
    let at = 2u * (block & 1u) + lane / 4u;
    let e = (weights[scales_of(panel) + block / 2u][at] >> (8u * (lane & 3u))) & 0xffu;
    // The exponent of e - 1, or a subnormal number for 0 and 1.
    let bits = select((e - 1u) << 23u, 0x00200000u << (e & 1u), e < 2u);
    return Scales(vec2(bitcast<f32>(bits)), vec2(0.0));
}
