// Four numbers as they are.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(pool[record + quad]);
}
