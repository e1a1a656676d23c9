@group(0) @binding(NEXT) var<storage, read> up: array<vec4<f32>>;
// The expert of every row.
@group(0) @binding(NEXT) var<storage, read> experts: array<u32>;
// (n_experts, width) each
@group(0) @binding(NEXT) var<storage, read> gate_biases: array<f32>;
@group(0) @binding(NEXT) var<storage, read> up_biases: array<f32>;

fn gated(i: u32) -> vec4<f32> {
    let start = experts[i / p.stride] * p.width;
    var g = gate[i];
    var u = up[i];
    for (var k = 0u; k < 4u; k++) {
        let column = i % p.stride * 4u + k;
        if column < p.width {
            g[k] += gate_biases[start + column];
            u[k] += up_biases[start + column];
        }
    }
    return activated(g, u);
}
