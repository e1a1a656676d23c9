// out = x / rms(x) * weight, per row: RMS norm (https://arxiv.org/abs/1910.07467); and the same quantized. A workgroup has a row.

struct Params {
    n_rows: u32,
    width: u32,
    // Vectors from a row to the next.
    stride: u32,
    eps: f32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> weight: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> x: array<vec4<f32>>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if row >= p.n_rows {
        return;
    }
    var sum = 0.0;
    for (var i = thread; i < p.stride; i += THREADS) {
        // What fills up a row is zero.
        sum = add_squares(sum, x[row * p.stride + i]);
    }
    let scale = rms_scale(sum_of_all(sum, thread), p.width, p.eps);
    for (var start = 0u; start < p.stride; start += THREADS) {
        let at = row * p.stride + start + thread;
        let is_there = start + thread < p.stride;
        var y = vec4<f32>();
        if is_there {
            y = (x[at] * scale) * weight[start + thread];
            out[at] = y;
        }
        put_quad(at, y, is_there, thread);
    }
}
