// gate = activation(gate) * up, or activation(gate), and the same quantized. A thread has four numbers.

struct Params {
    // Vectors of all rows.
    n: u32,
    // Numbers in a row, and vectors from a row to the next.
    width: u32,
    stride: u32,
    activation: Activation,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> gate: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = element(group, thread);
    var y = vec4<f32>();
    if i < p.n {
        y = gated(i);
        gate[i] = y;
    }
    put_quad(i, y, i < p.n, thread);
}

// Which of the four numbers are in the row, and do not fill it up.
fn in_row(i: u32) -> vec4<bool> {
    return vec4(i % p.stride * 4u) + vec4(0u, 1u, 2u, 3u) < vec4(p.width);
}
