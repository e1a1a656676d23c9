// x += y, or x += y + bias.

struct Params {
    n: u32,
    // Vectors from a row to the next.
    stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> x: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> y: array<vec4<f32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < p.n {
        x[i] += addend(i);
    }
}
