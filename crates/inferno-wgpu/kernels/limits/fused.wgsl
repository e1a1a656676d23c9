// Fused multiply-adds in f32 and nothing else: eight chains of vectors per thread. Constants before this: THREADS, ROUNDS.

@group(0) @binding(0) var<storage, read> factors: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let x = factors[0];
    let y = factors[1];
    let start = f32(group.x + local) * x;
    var a = start + 1.0 * y;
    var b = start + 2.0 * y;
    var c = start + 3.0 * y;
    var d = start + 4.0 * y;
    var e = start + 5.0 * y;
    var f = start + 6.0 * y;
    var g = start + 7.0 * y;
    var h = start + 8.0 * y;
    for (var i = 0u; i < ROUNDS; i++) {
        a = fma(a, x, y);
        b = fma(b, x, y);
        c = fma(c, x, y);
        d = fma(d, x, y);
        e = fma(e, x, y);
        f = fma(f, x, y);
        g = fma(g, x, y);
        h = fma(h, x, y);
    }
    let sum = a + b + c + d + e + f + g + h;
    out[group.x * THREADS + local] = sum.x + sum.y + sum.z + sum.w;
}
