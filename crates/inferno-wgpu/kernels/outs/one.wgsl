// One matrix, whose outputs are all in `out`, or are added to it.
fn write(row: u32, output: u32, value: f32) {
    if output < p.n_outputs {
        let at = row * p.out_stride + p.first_output + output;
        var sum = value;
        if p.adds == 1u {
            sum += out[at];
        }
        out[at] = sum;
    }
}
