// out (n_rows, dim) = the sum of a row's experts, weighed by their shares, in ascending order of ids.

struct Params {
    n: u32,
    // Vectors from a row to the next.
    stride: u32,
    n_chosen: u32,
    // 1 where the sum is added to what is in `out`.
    adds: u32,
    // Numbers in a row.
    width: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<vec4<f32>>;
// (n_rows × n_chosen, dim)
@group(0) @binding(NEXT) var<storage, read> y: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> shares: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i >= p.n {
        return;
    }
    let first = i / p.stride * p.n_chosen;
    var sum = vec4(0.0);
    for (var k = first; k < first + p.n_chosen; k++) {
        sum = fma(vec4(shares[k]), output(k, i % p.stride), sum);
    }
    if p.adds == 1u {
        sum += out[i];
    }
    out[i] = sum;
}
