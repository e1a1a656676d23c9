// One matrix, whose outputs are all in `out`.
fn write(row: u32, output: u32, value: f32) {
    if output < p.n_outputs {
        out[row * p.out_stride + p.first_output + output] = value;
    }
}
