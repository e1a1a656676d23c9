// Three matrices, whose panels follow each other.

@group(0) @binding(NEXT) var<storage, read_write> second_out: array<f32>;
@group(0) @binding(NEXT) var<storage, read_write> third_out: array<f32>;

fn write(row: u32, output: u32, value: f32) {
    let second = 8u * p.second_panel;
    let third = 8u * p.third_panel;
    if output < second {
        if output < p.n_outputs {
            out[row * p.out_stride + output] = value;
        }
    } else if output < third {
        if output - second < p.n_second_outputs {
            second_out[row * p.second_stride + output - second] = value;
        }
    } else if output - third < p.n_third_outputs {
        third_out[row * p.third_stride + output - third] = value;
    }
}
