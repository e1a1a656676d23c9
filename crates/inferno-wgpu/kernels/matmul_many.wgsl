// out (n_rows, n_outputs) = inputs (n_rows, 32 × n_blocks) × weightsᵀ, for many rows: a workgroup has a tile of OUTPUTS outputs
// and ROWS rows, a thread WIDE × TALL of them. Adds in the order of `matmul_few`.

const ACROSS = OUTPUTS / WIDE;
const DOWN = ROWS / TALL;
const THREADS = ACROSS * DOWN;
const BLOCKS = 2u;

// [block][half of it][output or row]
var<workgroup> tile_quants: array<vec4<u32>, 2u * BLOCKS * OUTPUTS>;
var<workgroup> tile_inputs: array<vec4<u32>, 2u * BLOCKS * ROWS>;
// [block][output or row]
var<workgroup> tile_scales: array<vec4<f32>, BLOCKS * OUTPUTS>;
var<workgroup> tile_input_scales: array<vec2<u32>, BLOCKS * ROWS>;

fn eight(a: vec4<u32>, b: vec4<u32>) -> array<u32, 8> {
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

// A block of an output's weights.
fn bring_weights(i: u32, first_output: u32, start: u32) {
    let output = first_output + i % OUTPUTS;
    let block = start + i / OUTPUTS;
    var w = Block();
    if output / 8u < p.n_panels && block < p.n_blocks {
        w = load((p.first_panel + output / 8u) * p.panel_len, block, output % 8u);
    }
    let at = 2u * (i / OUTPUTS) * OUTPUTS + i % OUTPUTS;
    tile_quants[at] = vec4(w.quants[0], w.quants[1], w.quants[2], w.quants[3]);
    tile_quants[at + OUTPUTS] = vec4(w.quants[4], w.quants[5], w.quants[6], w.quants[7]);
    tile_scales[i] = vec4(w.scales.scale, w.scales.minimum);
}

// A block of a row.
fn bring_inputs(i: u32, first_row: u32, start: u32) {
    let row = first_row + i % ROWS;
    let block = start + i / ROWS;
    var x = array<vec4<u32>, 2>();
    var scales = vec2<u32>();
    if row < p.n_rows && block < p.n_blocks {
        let source = row * p.n_blocks + block;
        x[0] = inputs[2u * source];
        x[1] = inputs[2u * source + 1u];
        scales = input_scales[source];
    }
    let at = 2u * (i / ROWS) * ROWS + i % ROWS;
    tile_inputs[at] = x[0];
    tile_inputs[at + ROWS] = x[1];
    tile_input_scales[i] = scales;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_output = group.x * OUTPUTS;
    let first_row = group.y * ROWS;
    let my_output = thread % ACROSS;
    let my_row = thread / ACROSS;

    var acc: array<f32, WIDE * TALL>;
    var total: array<f32, WIDE * TALL>;
    for (var start = 0u; start < p.n_blocks; start += BLOCKS) {
        workgroupBarrier();
        for (var i = thread; i < BLOCKS * (OUTPUTS + ROWS); i += THREADS) {
            if i < BLOCKS * OUTPUTS {
                bring_weights(i, first_output, start);
            } else {
                bring_inputs(i - BLOCKS * OUTPUTS, first_row, start);
            }
        }
        workgroupBarrier();
        for (var k = 0u; k < min(BLOCKS, p.n_blocks - start); k++) {
            // Everything is read once: the outputs' weights, then a row's inputs after the other.
            var w: array<array<u32, 8>, WIDE>;
            var scales: array<Scales, WIDE>;
            for (var j = 0u; j < WIDE; j++) {
                let output = my_output + ACROSS * j;
                w[j] = eight(
                    tile_quants[2u * k * OUTPUTS + output],
                    tile_quants[(2u * k + 1u) * OUTPUTS + output],
                );
                let both = tile_scales[k * OUTPUTS + output];
                scales[j] = Scales(both.xy, both.zw);
            }
            for (var i = 0u; i < TALL; i++) {
                let row = my_row + DOWN * i;
                let x = eight(tile_inputs[2u * k * ROWS + row], tile_inputs[(2u * k + 1u) * ROWS + row]);
                let s = tile_input_scales[k * ROWS + row];
                let sums = half_sums(s.y);
                for (var j = 0u; j < WIDE; j++) {
                    let at = TALL * j + i;
                    acc[at] = add_block(acc[at], w[j], scales[j], x, bitcast<f32>(s.x), sums);
                }
            }
            let n_done = start + k + 1u;
            if n_done % p.slice_blocks == 0u || n_done == p.n_blocks {
                for (var i = 0u; i < WIDE * TALL; i++) {
                    total[i] += acc[i];
                    acc[i] = 0.0;
                }
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
