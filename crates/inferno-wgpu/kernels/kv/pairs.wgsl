// Eight numbers of 16 bits in a vector.
fn kv_quad(record: u32, vectors: u32, quad: u32) -> vec4<f32> {
    let v = pool[record + quad / 2u];
    let pairs = select(v.xy, v.zw, (quad & 1u) == 1u);
    return vec4(widen(pairs.x), widen(pairs.y));
}
