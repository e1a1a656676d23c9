@group(0) @binding(NEXT) var<storage, read> bias: array<vec4<f32>>;

fn addend(i: u32) -> vec4<f32> {
    return y[i] + bias[i % p.stride];
}
