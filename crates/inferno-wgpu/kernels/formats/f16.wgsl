fn widen(bits: u32) -> f32 {
    return from_f16(bits);
}
