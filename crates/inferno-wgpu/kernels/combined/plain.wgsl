fn output(k: u32, i: u32) -> vec4<f32> {
    return y[k * p.stride + i];
}
