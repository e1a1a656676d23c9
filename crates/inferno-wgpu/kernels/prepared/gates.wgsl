// The input is a row of gates, activated and multiplied as in `glu.wgsl`.

@group(0) @binding(NEXT) var<storage, read> gate: array<vec4<f32>>;

fn prepare(thread: u32, is_first: bool) {
    for (var start = 0u; start < QUADS; start += THREADS) {
        let i = start + thread;
        let is_there = i < QUADS;
        var y = vec4<f32>();
        if is_there {
            y = gated(i);
        }
        put_quad(i, y, is_there, thread);
    }
}

fn in_row(i: u32) -> vec4<bool> {
    return vec4(4u * i) + vec4(0u, 1u, 2u, 3u) < vec4(p.width);
}
