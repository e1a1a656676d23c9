// out = x / rms(x) * weight, per row: RMS norm (https://arxiv.org/abs/1910.07467); and the same quantized. A workgroup has a row.

struct Params {
    n_rows: u32,
    width: u32,
    // Vectors from a row to the next.
    stride: u32,
    eps: f32,
}

var<immediate> p: Params;

@group(0) @binding(2) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(3) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(4) var<storage, read> weight: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if row >= p.n_rows {
        return;
    }
    var sum = 0.0;
    for (var i = thread; i < p.stride; i += THREADS) {
        // What fills up a row is zero.
        let v = x[row * p.stride + i];
        sum = fma(v.x, v.x, fma(v.y, v.y, fma(v.z, v.z, fma(v.w, v.w, sum))));
    }
    let scale = 1.0 / sqrt(sum_of_all(sum, thread) / f32(p.width) + p.eps);
    var is_whole = true;
    // A block of 32 each.
    for (var i = 8u * thread; i < p.stride; i += 8u * THREADS) {
        for (var j = i; j < i + 8u; j++) {
            let y = (x[row * p.stride + j] * scale) * weight[j];
            out[row * p.stride + j] = y;
            is_whole = is_whole && is_finite_quad(y);
        }
    }
    let is_finite_row = all_agree(is_whole, thread);
    for (var i = 8u * thread; i < p.stride; i += 8u * THREADS) {
        var quads: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) {
            quads[j] = out[row * p.stride + i + j];
        }
        quantize_block((row * p.stride + i) / 8u, quads, is_finite_row);
    }
}
