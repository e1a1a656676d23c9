// Four numbers as they are.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(kv_at(record + quad));
}

// The fours of a vector.
const VECTOR_QUADS = 1u;

fn kv_vector(record: u32, vectors: u32, vector: u32) -> array<vec4<f32>, VECTOR_QUADS> {
    return array(bitcast<vec4<f32>>(kv_at(record + vector)));
}
