// Rows of floats as blocks of 32 bytes with a scale each, as `inferno_model::numerics::QuantizedRow` has them: `d = amax / 127`,
// `q = round_half_even(x * (127 / amax))`. A block with a number that is not finite has NaN for a scale, and so has every
// product with it.

// Of every thread: the largest of its numbers, -1 if one is not finite; the sum of its quants.
var<workgroup> quad_most: array<f32, THREADS>;
var<workgroup> quad_sums: array<i32, THREADS>;

fn is_finite_quad(v: vec4<f32>) -> bool {
    return is_finite(v.x) && is_finite(v.y) && is_finite(v.z) && is_finite(v.w);
}

fn bytes_of(v: vec4<i32>) -> u32 {
    let b = vec4<u32>(v) & vec4(0xffu);
    return b.x | (b.y << 8u) | (b.z << 16u) | (b.w << 24u);
}

// Stores four numbers, the `at`th of all rows; eight neighbouring threads have a block. All threads of a workgroup come here,
// those with nothing too.
fn put_quad(at: u32, v: vec4<f32>, is_there: bool, thread: u32) {
    let size = abs(v);
    quad_most[thread] = select(-1.0, max(max(size.x, size.y), max(size.z, size.w)), is_finite_quad(v));
    workgroupBarrier();
    let first = thread / 8u * 8u;
    var amax = 0.0;
    var is_whole = true;
    for (var i = first; i < first + 8u; i++) {
        amax = max(amax, quad_most[i]);
        is_whole = is_whole && quad_most[i] >= 0.0;
    }
    // Below this 127 / amax would overflow.
    let is_zero = amax < 3.7322e-37;
    let inverse = select(127.0 / amax, 0.0, is_zero);
    let q = vec4<i32>(round(select(vec4<f32>(), v * inverse, is_whole)));
    quad_sums[thread] = q.x + q.y + q.z + q.w;
    if is_there {
        put_quants(at, bytes_of(q));
    }
    workgroupBarrier();
    if is_there && thread == first {
        var halves = vec2<i32>();
        for (var i = 0u; i < 4u; i++) {
            halves += vec2(quad_sums[first + i], quad_sums[first + 4u + i]);
        }
        let scale = select(nan(), select(amax / 127.0, 0.0, is_zero), is_whole);
        let sums = (u32(halves.x) & 0xffffu) | (u32(halves.y) << 16u);
        put_scale(at / 8u, vec2(bitcast<u32>(scale), sums));
    }
}
