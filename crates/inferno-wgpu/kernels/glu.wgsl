// gate = activation(gate) * up, and the same quantized. A thread has four numbers.

struct Params {
    // Vectors of all rows.
    n: u32,
    is_gelu: u32,
}

var<immediate> p: Params;

@group(0) @binding(2) var<storage, read_write> gate: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> up: array<vec4<f32>>;

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp_(-x));
}

// In its tanh form (https://arxiv.org/abs/1606.08415).
fn gelu(x: f32) -> f32 {
    let inner = 0.7978846 * fma(0.044715 * x * x, x, x);
    return 0.5 * x * (1.0 + tanh_(inner));
}

fn activated(v: vec4<f32>) -> vec4<f32> {
    if p.is_gelu == 1u {
        return vec4(gelu(v.x), gelu(v.y), gelu(v.z), gelu(v.w));
    }
    return vec4(silu(v.x), silu(v.y), silu(v.z), silu(v.w));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = element(group, thread);
    var y = vec4<f32>();
    if i < p.n {
        y = activated(gate[i]) * up[i];
        gate[i] = y;
    }
    quantize_quad(i, y, i < p.n, thread);
}
