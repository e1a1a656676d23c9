// Four numbers of a row of the table: `(d * scale) * q - dmin * min`.
fn value_quad(panel: u32, block: u32, quad: u32, lane: u32) -> vec4<f32> {
    let q = vec4<f32>(unpack4xI8(quants(panel, block, lane)[quad]) - vec4(OFFSET));
    let s = scales(panel, block, lane);
    let half = quad / 4u;
    return q * s.scale[half] - s.minimum[half];
}
