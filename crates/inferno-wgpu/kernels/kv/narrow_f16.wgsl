fn narrow(x: f32) -> u32 {
    return to_f16(x);
}
