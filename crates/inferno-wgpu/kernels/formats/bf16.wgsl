fn widen(bits: u32) -> f32 {
    return from_bf16(bits);
}
