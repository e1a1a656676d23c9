// Half precision to f32, digit by digit.

// Subnormal numbers have a way of their own, as a device may take those of f32 for zero: their digits behind a 1, which is then
// taken off.
fn from_f16(bits: u32) -> f32 {
    let sign = (bits & 0x8000u) << 16u;
    let magnitude = bits & 0x7fffu;
    let infinite = select(0u, 0x38000000u, magnitude >= 0x7c00u);
    let normal = bitcast<f32>((magnitude << 13u) + 0x38000000u + infinite);
    let subnormal = bitcast<f32>((magnitude << 13u) + 0x38800000u) - 6.1035156e-5;
    return bitcast<f32>(bitcast<u32>(select(normal, subnormal, magnitude < 0x400u)) | sign);
}

// Two of them.
fn from_f16s(bits: u32) -> vec2<f32> {
    return vec2(from_f16(bits & 0xffffu), from_f16(bits >> 16u));
}
