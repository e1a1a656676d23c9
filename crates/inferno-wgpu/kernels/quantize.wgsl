// Quantizes rows. A workgroup has a row.

struct Params {
    n_rows: u32,
    n_blocks: u32,
    // Vectors from a row of `x` to the next.
    stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(2) var<storage, read> x: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if row >= p.n_rows {
        return;
    }
    var is_whole = true;
    for (var i = thread; i < 8u * p.n_blocks; i += THREADS) {
        is_whole = is_whole && is_finite_quad(x[row * p.stride + i]);
    }
    let is_finite_row = all_agree(is_whole, thread);
    for (var block = thread; block < p.n_blocks; block += THREADS) {
        var quads: array<vec4<f32>, 8>;
        for (var i = 0u; i < 8u; i++) {
            quads[i] = x[row * p.stride + 8u * block + i];
        }
        quantize_block(row * p.n_blocks + block, quads, is_finite_row);
    }
}
