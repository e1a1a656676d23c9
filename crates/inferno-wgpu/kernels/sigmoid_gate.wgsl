// x = x * sigmoid(gate): each number of the gate for as many neighbouring numbers of x.

struct Params {
    // Numbers of all rows, in a row, and from a row to the next.
    n: u32,
    width: u32,
    stride: u32,
    // Neighbours that share a number of the gate, and numbers from a row of the gate to the next.
    n_together: u32,
    gate_stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> x: array<f32>;
@group(0) @binding(NEXT) var<storage, read> gate: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let column = i % p.stride;
    if i < p.n && column < p.width {
        let g = gate[i / p.stride * p.gate_stride + column / p.n_together];
        x[i] *= 1.0 / (1.0 + exp_(-g));
    }
}
