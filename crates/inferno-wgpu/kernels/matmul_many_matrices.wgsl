// `matmul_many` by cooperative matrices: a workgroup has a tile of 64 outputs and 32 rows, which its subgroups multiply in
// squares of SIZE. Half precision holds the quants, and f32 their sums, which are integers below 2^24: exact in any order,
// so that the bits are those of `matmul_many`. In a module of its own, without arithmetic across a subgroup, and with more
// than one subgroup: there are drivers that fail otherwise (docs/gpu.md).

// What a subgroup multiplies at a time, in squares.
const TALL = 16u / SIZE;
const WIDE = 32u / SIZE;
// Runs of a block that share a scale, and their inputs.
const RUNS = select(1u, 2u, HALVES);
const RUN = 32u / RUNS;

// [input][64] and [input][32]
var<workgroup> tile_weights: array<f16, 32u * OUTPUTS>;
var<workgroup> tile_inputs: array<f16, 32u * ROWS>;
var<workgroup> tile_scales: array<vec4<f32>, OUTPUTS>;
var<workgroup> tile_input_scales: array<vec2<u32>, ROWS>;
// [row][output]
var<workgroup> sums: array<f32, ROWS * OUTPUTS>;
var<workgroup> zeros: array<f32, SIZE * SIZE>;

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) n_subgroups: u32,
) {
    let first_output = group.x * OUTPUTS;
    let first_row = group.y * ROWS;
    // Each thread has 2 outputs of 8 rows.
    let my_output = thread % 32u;
    let my_row = thread / 32u;
    for (var i = thread; i < SIZE * SIZE; i += THREADS) {
        zeros[i] = 0.0;
    }

    var acc: array<f32, 16>;
    var total: array<f32, 16>;
    for (var block = 0u; block < p.n_blocks; block++) {
        workgroupBarrier();
        if thread < OUTPUTS {
            let output = first_output + thread;
            var w = Block();
            if output / 8u < p.n_panels {
                w = load((p.first_panel + output / 8u) * p.panel_len, block, output % 8u);
            }
            for (var i = 0u; i < 8u; i++) {
                let q = unpack4xI8(w.quants[i]) - vec4(OFFSET);
                for (var j = 0u; j < 4u; j++) {
                    tile_weights[(4u * i + j) * OUTPUTS + thread] = f16(q[j]);
                }
            }
            tile_scales[thread] = vec4(w.scales.scale, w.scales.minimum);
        } else if thread < OUTPUTS + ROWS {
            let brought = thread - OUTPUTS;
            let row = first_row + brought;
            var x = array<vec4<u32>, 2>();
            var scales = vec2<u32>();
            if row < p.n_rows {
                let at = row * p.n_blocks + block;
                x[0] = inputs[2u * at];
                x[1] = inputs[2u * at + 1u];
                scales = input_scales[at];
            }
            for (var i = 0u; i < 8u; i++) {
                let q = unpack4xI8(x[i / 4u][i % 4u]);
                for (var j = 0u; j < 4u; j++) {
                    tile_inputs[(4u * i + j) * ROWS + brought] = f16(q[j]);
                }
            }
            tile_input_scales[brought] = scales;
        }
        for (var run = 0u; run < RUNS; run++) {
            workgroupBarrier();
            let zero = coopLoadT<Sums>(&zeros[0], SIZE);
            for (var part = subgroup; part < 4u; part += n_subgroups) {
                let row = part / 2u * 16u;
                let output = part % 2u * 32u;
                var squares: array<Sums, TALL * WIDE>;
                for (var i = 0u; i < TALL * WIDE; i++) {
                    squares[i] = zero;
                }
                for (var k = run * RUN; k < (run + 1u) * RUN; k += SIZE) {
                    for (var i = 0u; i < TALL; i++) {
                        let x = coopLoad<Inputs>(&tile_inputs[k * ROWS + row + i * SIZE], ROWS);
                        for (var j = 0u; j < WIDE; j++) {
                            let w = coopLoadT<Outputs>(&tile_weights[k * OUTPUTS + output + j * SIZE], OUTPUTS);
                            squares[i * WIDE + j] = coopMultiplyAdd(x, w, squares[i * WIDE + j]);
                        }
                    }
                }
                for (var i = 0u; i < TALL * WIDE; i++) {
                    let at = (row + i / WIDE * SIZE) * OUTPUTS + output + i % WIDE * SIZE;
                    coopStoreT(squares[i], &sums[at], OUTPUTS);
                }
            }
            workgroupBarrier();
            for (var j = 0u; j < 2u; j++) {
                let output = my_output + 32u * j;
                // Scales of the runs, and minima.
                let scales = tile_scales[output];
                let scale = select(scales.x, scales.y, run == 1u);
                let minimum = select(scales.z, scales.w, run == 1u);
                for (var i = 0u; i < 8u; i++) {
                    let row = my_row + 4u * i;
                    let s = tile_input_scales[row];
                    let x_sums = half_sums(s.y);
                    let x_sum = select(x_sums.x + x_sums.y, x_sums[run], HALVES);
                    let products = sums[row * OUTPUTS + output];
                    let sum = acc[8u * j + i];
                    acc[8u * j + i] = add_run(sum, products, scale, minimum, bitcast<f32>(s.x), x_sum);
                }
            }
        }
        let n_done = block + 1u;
        if n_done % p.slice_blocks == 0u || n_done == p.n_blocks {
            for (var i = 0u; i < 16u; i++) {
                total[i] += acc[i];
                acc[i] = 0.0;
            }
        }
    }
    for (var j = 0u; j < 2u; j++) {
        let output = first_output + my_output + 32u * j;
        for (var i = 0u; i < 8u; i++) {
            let row = first_row + my_row + 4u * i;
            if row < p.n_rows && output / 8u < p.n_panels {
                write(row, output, total[8u * j + i]);
            }
        }
    }
}
