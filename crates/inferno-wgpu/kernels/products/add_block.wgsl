// A block in the registers of a thread.
fn add_block(
    sum: f32,
    w: array<u32, 8>,
    scales: Scales,
    x: array<u32, 8>,
    x_scale: f32,
    x_sums: vec2<i32>,
) -> f32 {
    let first = dot_bytes(w[0], x[0]) + dot_bytes(w[1], x[1]) + dot_bytes(w[2], x[2]) + dot_bytes(w[3], x[3])
        - Sum(OFFSET * x_sums.x);
    let second = dot_bytes(w[4], x[4]) + dot_bytes(w[5], x[5]) + dot_bytes(w[6], x[6]) + dot_bytes(w[7], x[7])
        - Sum(OFFSET * x_sums.y);
    let scale = scales.scale;
    let minimum = scales.minimum;
    if HALVES {
        let half = add_run(sum, f32(first), scale.x, minimum.x, x_scale, x_sums.x);
        return add_run(half, f32(second), scale.y, minimum.y, x_scale, x_sums.y);
    }
    return add_run(sum, f32(first + second), scale.x, minimum.x, x_scale, x_sums.x + x_sums.y);
}

fn add(sum: f32, w: Block, row: u32, block: u32) -> f32 {
    let at = row * p.n_blocks + block;
    let a = inputs[2u * at];
    let b = inputs[2u * at + 1u];
    let s = input_scales[at];
    let x = array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
    return add_block(sum, w.quants, w.scales, x, bitcast<f32>(s.x), half_sums(s.y));
}
