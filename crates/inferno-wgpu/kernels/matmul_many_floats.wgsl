// `matmul_many` for floats.

const TILE = 64u;
const INPUTS = 16u;

// [input][64]
var<workgroup> tile_weights: array<f32, INPUTS * TILE>;
var<workgroup> tile_inputs: array<f32, INPUTS * TILE>;

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_output = group.x * TILE;
    let first_row = group.y * TILE;
    // Every thread brings four inputs of an output and of a row.
    let brought = thread % TILE;
    let brought_quad = thread / TILE;
    let my_output = thread % 16u;
    let my_row = thread / 16u;

    var acc: array<f32, 16>;
    var total: array<f32, 16>;
    for (var start = 0u; start < 2u * p.n_blocks; start++) {
        workgroupBarrier();
        let block = start / 2u;
        let quad = start % 2u * 4u + brought_quad;
        let output = first_output + brought;
        let row = first_row + brought;
        var w = vec4<f32>();
        if output / 8u < p.n_panels {
            w = weight_quad((p.first_panel + output / 8u) * p.panel_len, block, quad, output % 8u);
        }
        var x = vec4<f32>();
        if row < p.n_rows {
            x = inputs[row * p.input_stride + 8u * block + quad];
        }
        for (var i = 0u; i < 4u; i++) {
            tile_weights[(4u * brought_quad + i) * TILE + brought] = w[i];
            tile_inputs[(4u * brought_quad + i) * TILE + brought] = x[i];
        }
        workgroupBarrier();
        for (var k = 0u; k < INPUTS; k++) {
            var x: vec4<f32>;
            for (var i = 0u; i < 4u; i++) {
                x[i] = tile_inputs[k * TILE + my_row + 16u * i];
            }
            for (var j = 0u; j < 4u; j++) {
                let w = tile_weights[k * TILE + my_output + 16u * j];
                for (var i = 0u; i < 4u; i++) {
                    acc[4u * j + i] = fma(w, x[i], acc[4u * j + i]);
                }
            }
        }
        let n_done = start / 2u + 1u;
        if start % 2u == 1u && (n_done % p.slice_blocks == 0u || n_done == p.n_blocks) {
            for (var i = 0u; i < 16u; i++) {
                total[i] += acc[i];
                acc[i] = 0.0;
            }
        }
    }
    for (var j = 0u; j < 4u; j++) {
        let output = first_output + my_output + 16u * j;
        for (var i = 0u; i < 4u; i++) {
            let row = first_row + my_row + 16u * i;
            if row < p.n_rows && output / 8u < p.n_panels {
                write(row, output, total[4u * j + i]);
            }
        }
    }
}
