// The RMS norm of every head of x on its own. A workgroup has a head of a row.

struct Params {
    n_rows: u32,
    n_heads: u32,
    head_dim: u32,
    // Numbers from a row to the next.
    stride: u32,
    // Numbers of the weight: of one head, or of all heads of a row.
    n_weights: u32,
    eps: f32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> x: array<f32>;
@group(0) @binding(NEXT) var<storage, read> weight: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = group.y * 65535u + group.x;
    if i >= p.n_rows * p.n_heads {
        return;
    }
    let at = i / p.n_heads * p.stride + i % p.n_heads * p.head_dim;
    let first = i % p.n_heads * p.head_dim % p.n_weights;
    var sum = 0.0;
    for (var i = thread; i < p.head_dim; i += THREADS) {
        sum = fma(x[at + i], x[at + i], sum);
    }
    let scale = rms_scale(sum_of_all(sum, thread), p.head_dim, p.eps);
    for (var i = thread; i < p.head_dim; i += THREADS) {
        x[at + i] = (x[at + i] * scale) * weight[first + i];
    }
}
