// The input is a row as it is, which is quantized.

@group(0) @binding(NEXT) var<storage, read> x: array<vec4<f32>>;

fn prepare(thread: u32, is_first: bool) {
    for (var start = 0u; start < QUADS; start += THREADS) {
        let i = start + thread;
        let is_there = i < QUADS;
        var y = vec4<f32>();
        if is_there {
            y = x[i];
        }
        put_quad(i, y, is_there, thread);
    }
}
