// The row of inputs, which the workgroup quantizes for itself: N_BLOCKS × 40 bytes of its memory.

// [block][2] of 16 bytes
var<workgroup> inputs: array<vec4<u32>, 2u * N_BLOCKS>;
// [block]: the scale, and the sums of the two halves in 16 bits each
var<workgroup> input_scales: array<vec2<u32>, N_BLOCKS>;

fn put_quants(at: u32, quants: u32) {
    inputs[at / 4u][at % 4u] = quants;
}

fn put_scale(block: u32, scale: vec2<u32>) {
    input_scales[block] = scale;
}
