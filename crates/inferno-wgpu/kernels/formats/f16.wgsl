// Two numbers in half precision. Not `unpack2x16float`, which may take subnormal ones for zero and is not everywhere.
fn widen(bits: u32) -> vec2<f32> {
    return vec2(from_f16(bits & 0xffffu), from_f16(bits >> 16u));
}
