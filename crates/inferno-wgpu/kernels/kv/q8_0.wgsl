// Sixteen bytes in each of `vectors`; behind them the scales of every 32 numbers.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    let q = unpack4xI8(pool[record + quad / 4u][quad % 4u]);
    let block = quad / 8u;
    let scale = bitcast<f32>(pool[record + vectors + block / 4u][block % 4u]);
    return vec4<f32>(q) * scale;
}
