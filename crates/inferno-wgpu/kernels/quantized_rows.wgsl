// Rows of floats as blocks of 32 bytes with a scale each, as `inferno_model::numerics::QuantizedRow` has them: `d = amax / 127`,
// `q = round_half_even(x * (127 / amax))`; a row with a number that is not finite has NaN for scales.

// [row][block][2] of 16 bytes
@group(0) @binding(0) var<storage, read_write> quants: array<vec4<u32>>;
// [row][block]: the scale, and the sums of the two halves in 16 bits each
@group(0) @binding(1) var<storage, read_write> scales: array<vec2<u32>>;

var<workgroup> n_infinite: atomic<u32>;

fn is_finite_quad(v: vec4<f32>) -> bool {
    return is_finite(v.x) && is_finite(v.y) && is_finite(v.z) && is_finite(v.w);
}

// Whether all threads of a workgroup say so.
fn all_agree(is_so: bool, thread: u32) -> bool {
    if thread == 0u {
        atomicStore(&n_infinite, 0u);
    }
    workgroupBarrier();
    if !is_so {
        atomicAdd(&n_infinite, 1u);
    }
    workgroupBarrier();
    return atomicLoad(&n_infinite) == 0u;
}

fn bytes_of(v: vec4<i32>) -> u32 {
    let b = vec4<u32>(v) & vec4(0xffu);
    return b.x | (b.y << 8u) | (b.z << 16u) | (b.w << 24u);
}

// Stores a block, which is the `at`th of all rows.
fn quantize_block(at: u32, block: array<vec4<f32>, 8>, is_finite_row: bool) {
    var x = block;
    var most = vec4(0.0);
    for (var i = 0u; i < 8u; i++) {
        most = max(most, abs(x[i]));
    }
    let amax = max(max(most.x, most.y), max(most.z, most.w));
    // Below this 127 / amax would overflow.
    let is_zero = amax < 3.7322e-37;
    let inverse = select(127.0 / amax, 0.0, is_zero || !is_finite_row);
    var words: array<u32, 8>;
    var sums = vec2<i32>();
    for (var i = 0u; i < 8u; i++) {
        let q = vec4<i32>(round(x[i] * inverse));
        words[i] = bytes_of(q);
        let sum = q.x + q.y + q.z + q.w;
        sums += select(vec2(0, sum), vec2(sum, 0), i < 4u);
    }
    quants[2u * at] = vec4(words[0], words[1], words[2], words[3]);
    quants[2u * at + 1u] = vec4(words[4], words[5], words[6], words[7]);
    let scale = select(nan(), select(amax / 127.0, 0.0, is_zero), is_finite_row);
    let halves = (u32(sums.x) & 0xffffu) | (u32(sums.y) << 16u);
    scales[at] = vec2(bitcast<u32>(scale), halves);
}
