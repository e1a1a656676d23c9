// Four products of signed bytes, added up, in floats, for devices that are slow with integers. All sums are below 2^24: exact.
alias Sum = f32;

fn dot_bytes(a: u32, b: u32) -> Sum {
    return dot(vec4<f32>(unpack4xI8(a)), vec4<f32>(unpack4xI8(b)));
}
