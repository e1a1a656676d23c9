// Half precision to f32 by the device, which was asked for all numbers and knows subnormal ones (`check_halves.wgsl`).

fn from_f16(bits: u32) -> f32 {
    return unpack2x16float(bits).x;
}

// Two of them.
fn from_f16s(bits: u32) -> vec2<f32> {
    return unpack2x16float(bits);
}
