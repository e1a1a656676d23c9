// gate = activation(gate) * up, and the same quantized. A workgroup has a row.

struct Params {
    n_rows: u32,
    // Vectors from a row to the next.
    stride: u32,
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

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if row >= p.n_rows {
        return;
    }
    var is_whole = true;
    // A block of 32 each.
    for (var i = 8u * thread; i < p.stride; i += 8u * THREADS) {
        for (var j = row * p.stride + i; j < row * p.stride + i + 8u; j++) {
            let y = activated(gate[j]) * up[j];
            gate[j] = y;
            is_whole = is_whole && is_finite_quad(y);
        }
    }
    let is_finite_row = all_agree(is_whole, thread);
    for (var i = 8u * thread; i < p.stride; i += 8u * THREADS) {
        var quads: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            quads[j] = gate[row * p.stride + i + j];
        }
        quantize_block((row * p.stride + i) / 8u, quads, is_finite_row);
    }
}
