// What the delta rule takes of a row: queries and keys with length 1, strengths and decays. A workgroup has a key head of a row, and
// its part of the others.

struct Params {
    n_rows: u32,
    n_key_heads: u32,
    n_value_heads: u32,
    width: u32,
    // Decays of a value head.
    n_decays: u32,
    // Numbers from a row to the next, and where queries and keys begin in one.
    stride: u32,
    q_stride: u32,
    q_first: u32,
    k_stride: u32,
    k_first: u32,
    beta_stride: u32,
    alpha_stride: u32,
    of_query: f32,
    eps: f32,
}

var<immediate> p: Params;

// [queries, keys, strengths, decays]
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> q: array<f32>;
@group(0) @binding(NEXT) var<storage, read> k: array<f32>;
@group(0) @binding(NEXT) var<storage, read> beta: array<f32>;
@group(0) @binding(NEXT) var<storage, read> alpha: array<f32>;
@group(0) @binding(NEXT) var<storage, read> rates: array<f32>;
@group(0) @binding(NEXT) var<storage, read> dt: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = group.y * 65535u + group.x;
    let row = i / p.n_key_heads;
    if row >= p.n_rows {
        return;
    }
    let head = i % p.n_key_heads;
    let key_dim = p.n_key_heads * p.width;
    let to = row * p.stride;
    let from_q = row * p.q_stride + p.q_first + head * p.width;
    let from_k = row * p.k_stride + p.k_first + head * p.width;
    var sum = 0.0;
    for (var j = thread; j < p.width; j += THREADS) {
        sum = fma(q[from_q + j], q[from_q + j], sum);
    }
    let q_scale = 1.0 / sqrt(sum_of_all(sum, thread) + p.eps);
    workgroupBarrier();
    sum = 0.0;
    for (var j = thread; j < p.width; j += THREADS) {
        sum = fma(k[from_k + j], k[from_k + j], sum);
    }
    let k_scale = 1.0 / sqrt(sum_of_all(sum, thread) + p.eps);
    for (var j = thread; j < p.width; j += THREADS) {
        out[to + head * p.width + j] = (q[from_q + j] * q_scale) * p.of_query;
        out[to + key_dim + head * p.width + j] = k[from_k + j] * k_scale;
    }
    let n_heads = p.n_value_heads / p.n_key_heads;
    for (var j = head * n_heads + thread; j < (head + 1u) * n_heads; j += THREADS) {
        out[to + 2u * key_dim + j] = 1.0 / (1.0 + exp_(-beta[row * p.beta_stride + j]));
    }
    let n = n_heads * p.n_decays;
    for (var j = head * n + thread; j < (head + 1u) * n; j += THREADS) {
        let x = alpha[row * p.alpha_stride + j] + dt[j];
        out[to + 2u * key_dim + p.n_value_heads + j] = exp_(rates[j / p.n_decays] * softplus_(x));
    }
}
