// gate = activation(gate) * up.

struct Params {
    n: u32,
    is_gelu: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;

fn silu(x: f32) -> f32 {
    return x / (1.0 + exp_(-x));
}

// In its tanh form (https://arxiv.org/abs/1606.08415).
fn gelu(x: f32) -> f32 {
    let inner = 0.7978846 * fma(0.044715 * x * x, x, x);
    return 0.5 * x * (1.0 + tanh_(inner));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < p.n {
        var activated = 0.0;
        if p.is_gelu == 1u {
            activated = gelu(gate[i]);
        } else {
            activated = silu(gate[i]);
        }
        gate[i] = activated * up[i];
    }
}
