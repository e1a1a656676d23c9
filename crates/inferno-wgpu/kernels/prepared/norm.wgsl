// The input is the RMS norm of a row. Its sum of squares is added up in the order of `rms_norm.wgsl`, by parts in place of its
// threads, so that the bits are the same.

@group(0) @binding(NEXT) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> norm_weight: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read_write> normed: array<vec4<f32>>;

fn prepare(thread: u32, is_first: bool) {
    for (var part = thread; part < SUMMED; part += THREADS) {
        var sum = 0.0;
        for (var i = part; i < QUADS; i += SUMMED) {
            // What fills up the row is zero.
            sum = add_squares(sum, x[i]);
        }
        parts[part] = sum;
    }
    let scale = rms_scale(sum_of_parts(thread), p.width, p.eps);
    for (var start = 0u; start < QUADS; start += THREADS) {
        let i = start + thread;
        let is_there = i < QUADS;
        var y = vec4<f32>();
        if is_there {
            y = (x[i] * scale) * norm_weight[i];
            if is_first {
                normed[i] = y;
            }
        }
        put_quad(i, y, is_there, thread);
    }
}
