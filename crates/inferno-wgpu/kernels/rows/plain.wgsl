// Rows that are not quantized here, as their blocks are in other hands.
fn put_quad(at: u32, v: vec4<f32>, is_there: bool, thread: u32) {}
