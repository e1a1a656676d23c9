// Sixteen bytes in a vector; behind them the scales of every 32 numbers.
fn kv_quad(record: u32, quad: u32) -> vec4<f32> {
    let q = unpack4xI8(pool[record + quad / 4u][quad % 4u]);
    let block = quad / 8u;
    let scale = bitcast<f32>(pool[record + SCALES + block / 4u][block % 4u]);
    return vec4<f32>(q) * scale;
}
