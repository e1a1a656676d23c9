// Two matrices, whose panels follow each other.

@group(0) @binding(NEXT) var<storage, read_write> second_out: array<f32>;

fn write(row: u32, output: u32, value: f32) {
    let start = 8u * p.second_panel;
    if output < start {
        if output < p.n_outputs {
            out[row * p.out_stride + output] = value;
        }
    } else if output - start < p.n_second_outputs {
        second_out[row * p.second_stride + output - start] = value;
    }
}
