// Two numbers in half precision.
fn widen(bits: u32) -> vec2<f32> {
    return from_f16s(bits);
}
