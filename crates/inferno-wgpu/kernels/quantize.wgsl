// Rows of floats as blocks of 32 bytes with a scale each, as `inferno_model::numerics::QuantizedRow` has them: `d = amax / 127`,
// `q = round_half_even(x * (127 / amax))`; a row with a number that is not finite has NaN for scales.

struct Params {
    n_rows: u32,
    n_blocks: u32,
    // Vectors from a row of `x` to the next.
    stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read> x: array<vec4<f32>>;
// [row][block][2] of 16 bytes
@group(0) @binding(1) var<storage, read_write> quants: array<vec4<u32>>;
// [row][block]: the scale, and the sums of the two halves in 16 bits each
@group(0) @binding(2) var<storage, read_write> scales: array<vec2<u32>>;

var<workgroup> n_infinite: atomic<u32>;

fn bytes_of(v: vec4<i32>) -> u32 {
    let b = vec4<u32>(v) & vec4(0xffu);
    return b.x | (b.y << 8u) | (b.z << 16u) | (b.w << 24u);
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let row = group.y * 65535u + group.x;
    if row >= p.n_rows {
        return;
    }
    if thread == 0u {
        atomicStore(&n_infinite, 0u);
    }
    workgroupBarrier();
    var is_whole = true;
    for (var i = thread; i < 8u * p.n_blocks; i += 64u) {
        let v = x[row * p.stride + i];
        is_whole = is_whole && is_finite(v.x) && is_finite(v.y) && is_finite(v.z) && is_finite(v.w);
    }
    if !is_whole {
        atomicAdd(&n_infinite, 1u);
    }
    workgroupBarrier();
    let is_finite_row = atomicLoad(&n_infinite) == 0u;
    for (var block = thread; block < p.n_blocks; block += 64u) {
        let start = row * p.stride + 8u * block;
        var most = vec4(0.0);
        for (var i = 0u; i < 8u; i++) {
            most = max(most, abs(x[start + i]));
        }
        let amax = max(max(most.x, most.y), max(most.z, most.w));
        // Below this 127 / amax would overflow.
        let is_zero = amax < 3.7322e-37;
        let inverse = select(127.0 / amax, 0.0, is_zero || !is_finite_row);
        var words: array<u32, 8>;
        var sums = vec2<i32>();
        for (var i = 0u; i < 8u; i++) {
            let q = vec4<i32>(round(x[start + i] * inverse));
            words[i] = bytes_of(q);
            let sum = q.x + q.y + q.z + q.w;
            sums += select(vec2(0, sum), vec2(sum, 0), i < 4u);
        }
        let at = row * p.n_blocks + block;
        quants[2u * at] = vec4(words[0], words[1], words[2], words[3]);
        quants[2u * at + 1u] = vec4(words[4], words[5], words[6], words[7]);
        let scale = select(nan(), select(amax / 127.0, 0.0, is_zero), is_finite_row);
        let halves = (u32(sums.x) & 0xffffu) | (u32(sums.y) << 16u);
        scales[at] = vec2(bitcast<u32>(scale), halves);
    }
}
