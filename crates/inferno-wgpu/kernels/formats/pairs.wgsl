// [block][8 inputs at a time][8 outputs][8 inputs], 16 bits each

fn weight_quad(panel: u32, block: u32, quad: u32, lane: u32) -> vec4<f32> {
    let v = weights[panel + 32u * block + 8u * (quad / 2u) + lane];
    let pairs = select(v.xy, v.zw, (quad & 1u) == 1u);
    return vec4(widen(pairs.x), widen(pairs.y));
}
