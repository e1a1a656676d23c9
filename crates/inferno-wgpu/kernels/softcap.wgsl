// x = cap * tanh(x / cap).

struct Params {
    n: u32,
    cap: f32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < p.n {
        x[i] = p.cap * tanh_(x[i] / p.cap);
    }
}
