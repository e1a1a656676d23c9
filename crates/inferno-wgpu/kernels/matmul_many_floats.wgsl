// `matmul_many` for floats.

const ACROSS = OUTPUTS / WIDE;
const DOWN = ROWS / TALL;
const THREADS = ACROSS * DOWN;
// Inputs at a time, and quads of them.
const INPUTS = 16u;
const QUADS = INPUTS / 4u;

// [input][output or row]
var<workgroup> tile_weights: array<f32, INPUTS * OUTPUTS>;
var<workgroup> tile_inputs: array<f32, INPUTS * ROWS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_output = group.x * OUTPUTS;
    let first_row = group.y * ROWS;
    let my_output = thread % ACROSS;
    let my_row = thread / ACROSS;

    var acc: array<f32, WIDE * TALL>;
    var total: array<f32, WIDE * TALL>;
    for (var start = 0u; start < 2u * p.n_blocks; start++) {
        workgroupBarrier();
        let block = start / 2u;
        for (var i = thread; i < QUADS * OUTPUTS; i += THREADS) {
            let output = first_output + i % OUTPUTS;
            let quad = i / OUTPUTS;
            var w = vec4<f32>();
            if output / 8u < p.n_panels {
                let panel = (p.first_panel + output / 8u) * p.panel_len;
                w = weight_quad(panel, block, start % 2u * QUADS + quad, output % 8u);
            }
            for (var j = 0u; j < 4u; j++) {
                tile_weights[(4u * quad + j) * OUTPUTS + i % OUTPUTS] = w[j];
            }
        }
        for (var i = thread; i < QUADS * ROWS; i += THREADS) {
            let row = first_row + i % ROWS;
            let quad = i / ROWS;
            var x = vec4<f32>();
            if row < p.n_rows {
                x = inputs[row * p.input_stride + 8u * block + start % 2u * QUADS + quad];
            }
            for (var j = 0u; j < 4u; j++) {
                tile_inputs[(4u * quad + j) * ROWS + i % ROWS] = x[j];
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < INPUTS; k++) {
            var x: array<f32, TALL>;
            for (var i = 0u; i < TALL; i++) {
                x[i] = tile_inputs[k * ROWS + my_row + DOWN * i];
            }
            for (var j = 0u; j < WIDE; j++) {
                let w = tile_weights[k * OUTPUTS + my_output + ACROSS * j];
                for (var i = 0u; i < TALL; i++) {
                    acc[TALL * j + i] = fma(w, x[i], acc[TALL * j + i]);
                }
            }
        }
        let n_done = start / 2u + 1u;
        if start % 2u == 1u && (n_done % p.slice_blocks == 0u || n_done == p.n_blocks) {
            for (var i = 0u; i < WIDE * TALL; i++) {
                total[i] += acc[i];
                acc[i] = 0.0;
            }
        }
    }
    for (var j = 0u; j < WIDE; j++) {
        let output = first_output + my_output + ACROSS * j;
        for (var i = 0u; i < TALL; i++) {
            let row = first_row + my_row + DOWN * i;
            if row < p.n_rows && output / 8u < p.n_panels {
                write(row, output, total[TALL * j + i]);
            }
        }
    }
}
