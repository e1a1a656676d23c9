// The row of inputs, which the workgroup computes for itself: N_BLOCKS × 128 bytes of its memory.

var<workgroup> inputs: array<vec4<f32>, 8u * N_BLOCKS>;

fn put_quad(at: u32, v: vec4<f32>, is_there: bool, thread: u32) {
    if is_there {
        inputs[at] = v;
    }
}
