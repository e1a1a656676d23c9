// Sixteen bytes in each of `vectors`; behind them the scales of every 32 numbers.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    let q = unpack4xI8(kv_at(record + quad / 4u)[quad % 4u]);
    let block = quad / 8u;
    let scale = bitcast<f32>(kv_at(record + vectors + block / 4u)[block % 4u]);
    return vec4<f32>(q) * scale;
}

// The fours of a vector, which share a scale.
const VECTOR_QUADS = 4u;

fn kv_vector(record: u32, vectors: u32, vector: u32) -> array<vec4<f32>, VECTOR_QUADS> {
    let v = kv_at(record + vector);
    let scale = bitcast<f32>(kv_at(record + vectors + vector / 8u)[vector / 2u % 4u]);
    return array(
        vec4<f32>(unpack4xI8(v.x)) * scale,
        vec4<f32>(unpack4xI8(v.y)) * scale,
        vec4<f32>(unpack4xI8(v.z)) * scale,
        vec4<f32>(unpack4xI8(v.w)) * scale,
    );
}
