// Quantizes rows. A thread has four numbers.

struct Params {
    // Vectors of all rows.
    n: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read> x: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = element(group, thread);
    var v = vec4<f32>();
    if i < p.n {
        v = x[i];
    }
    put_quad(i, v, i < p.n, thread);
}
