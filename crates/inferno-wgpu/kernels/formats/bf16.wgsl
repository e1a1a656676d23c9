// Two upper halves of f32.
fn widen(bits: u32) -> vec2<f32> {
    return vec2(bitcast<f32>(bits << 16u), bitcast<f32>(bits & 0xffff0000u));
}
