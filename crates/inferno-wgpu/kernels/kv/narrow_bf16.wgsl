fn narrow(x: f32) -> u32 {
    return to_bf16(x);
}
