// What stands for up, which activations are multiplied by, or by one more than it.
fn gated(i: u32) -> vec4<f32> {
    let up = select(1.0, 0.0, p.activation.kind == 3u);
    return select(vec4<f32>(), activated(gate[i], vec4(up)), in_row(i));
}
