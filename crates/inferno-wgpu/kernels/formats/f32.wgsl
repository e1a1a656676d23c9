// [block][4 inputs at a time][8 outputs][4 inputs]

fn weight_quad(panel: u32, block: u32, quad: u32, lane: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(weights[panel + 64u * block + 8u * quad + lane]);
}
