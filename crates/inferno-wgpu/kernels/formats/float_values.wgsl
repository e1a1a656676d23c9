// Four numbers of a row of the table.
fn value_quad(panel: u32, block: u32, quad: u32, lane: u32) -> vec4<f32> {
    return weight_quad(panel, block, quad, lane);
}
