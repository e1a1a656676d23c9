// out = the named rows of x.

struct Params {
    n: u32,
    // Vectors from a row to the next.
    stride: u32,
    // Where the numbers of the rows are in `uploads`.
    rows: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < p.n {
        out[i] = x[uploads[p.rows + i / p.stride] * p.stride + i % p.stride];
    }
}
