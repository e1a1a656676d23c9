// dt = softplus(dt + bias) and the decay e^(dt * a) of every row's heads: (n, 2 * n_heads), the decays after the others.

struct Params {
    n_rows: u32,
    n_heads: u32,
    // Numbers from a row of dt to the next, and the same of what is written.
    dt_stride: u32,
    stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> steps: array<f32>;
@group(0) @binding(NEXT) var<storage, read> dt: array<f32>;
@group(0) @binding(NEXT) var<storage, read> bias: array<f32>;
@group(0) @binding(NEXT) var<storage, read> a: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i >= p.n_rows * p.n_heads {
        return;
    }
    let row = i / p.n_heads;
    let head = i % p.n_heads;
    let step = softplus_(dt[row * p.dt_stride + head] + bias[head]);
    steps[row * p.stride + head] = step;
    steps[row * p.stride + p.n_heads + head] = exp_(step * a[head]);
}
