// The expert of every row of y.
@group(0) @binding(NEXT) var<storage, read> experts: array<u32>;
// (n_experts, dim)
@group(0) @binding(NEXT) var<storage, read> biases: array<f32>;

fn output(k: u32, i: u32) -> vec4<f32> {
    var v = y[k * p.stride + i];
    for (var lane = 0u; lane < 4u; lane++) {
        let column = 4u * i + lane;
        if column < p.width {
            v[lane] += biases[experts[k] * p.width + column];
        }
    }
    return v;
}
