// Eight numbers of 16 bits in a vector.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    let v = kv_at(record + quad / 2u);
    let pairs = select(v.xy, v.zw, (quad & 1u) == 1u);
    return vec4(widen(pairs.x), widen(pairs.y));
}

// The fours of a vector, of which it is read once.
const VECTOR_QUADS = 2u;

fn kv_vector(record: u32, vectors: u32, vector: u32) -> array<vec4<f32>, VECTOR_QUADS> {
    let v = kv_at(record + vector);
    return array(vec4(widen(v.x), widen(v.y)), vec4(widen(v.z), widen(v.w)));
}
