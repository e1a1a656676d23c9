// out (n_rows, n_outputs) = inputs (n_rows, 32 × n_blocks) × weightsᵀ, for many rows: a workgroup has a tile of 64 outputs
// and 64 rows, a thread 4 × 4 of them. Adds in the order of `matmul_few`.

const TILE = 64u;
const BLOCKS = 2u;

// [block][half of it][64]
var<workgroup> tile_quants: array<vec4<u32>, 2u * BLOCKS * TILE>;
var<workgroup> tile_inputs: array<vec4<u32>, 2u * BLOCKS * TILE>;
// [block][64]
var<workgroup> tile_scales: array<vec4<f32>, BLOCKS * TILE>;
var<workgroup> tile_input_scales: array<vec2<u32>, BLOCKS * TILE>;

fn eight(a: vec4<u32>, b: vec4<u32>) -> array<u32, 8> {
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}

@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first_output = group.x * TILE;
    let first_row = group.y * TILE;
    // Half of the threads bring weights, the others inputs: a block each.
    let brought = thread % TILE;
    let brought_block = thread / TILE % BLOCKS;
    let my_output = thread % 16u;
    let my_row = thread / 16u;

    var acc: array<f32, 16>;
    var total: array<f32, 16>;
    for (var start = 0u; start < p.n_blocks; start += BLOCKS) {
        workgroupBarrier();
        let block = start + brought_block;
        let at = 2u * brought_block * TILE + brought;
        if thread < BLOCKS * TILE {
            let output = first_output + brought;
            var w = Block();
            if output / 8u < p.n_panels && block < p.n_blocks {
                w = load((p.first_panel + output / 8u) * p.panel_len, block, output % 8u);
            }
            tile_quants[at] = vec4(w.quants[0], w.quants[1], w.quants[2], w.quants[3]);
            tile_quants[at + TILE] = vec4(w.quants[4], w.quants[5], w.quants[6], w.quants[7]);
            tile_scales[brought_block * TILE + brought] = vec4(w.scales.scale, w.scales.minimum);
        } else {
            let row = first_row + brought;
            var x = array<vec4<u32>, 2>();
            var scales = vec2<u32>();
            if row < p.n_rows && block < p.n_blocks {
                let start = row * p.n_blocks + block;
                x[0] = inputs[2u * start];
                x[1] = inputs[2u * start + 1u];
                scales = input_scales[start];
            }
            tile_inputs[at] = x[0];
            tile_inputs[at + TILE] = x[1];
            tile_input_scales[brought_block * TILE + brought] = scales;
        }
        workgroupBarrier();
        for (var k = 0u; k < min(BLOCKS, p.n_blocks - start); k++) {
            // Everything is read once: four outputs' weights, then a row's inputs after the other.
            var w: array<array<u32, 8>, 4>;
            var scales: array<Scales, 4>;
            for (var j = 0u; j < 4u; j++) {
                let output = my_output + 16u * j;
                w[j] = eight(tile_quants[2u * k * TILE + output], tile_quants[(2u * k + 1u) * TILE + output]);
                let both = tile_scales[k * TILE + output];
                scales[j] = Scales(both.xy, both.zw);
            }
            for (var i = 0u; i < 4u; i++) {
                let row = my_row + 16u * i;
                let x = eight(tile_inputs[2u * k * TILE + row], tile_inputs[(2u * k + 1u) * TILE + row]);
                let s = tile_input_scales[k * TILE + row];
                let sums = half_sums(s.y);
                for (var j = 0u; j < 4u; j++) {
                    acc[4u * j + i] = add_block(acc[4u * j + i], w[j], scales[j], x, bitcast<f32>(s.x), sums);
                }
            }
            let n_done = start + k + 1u;
            if n_done % p.slice_blocks == 0u || n_done == p.n_blocks {
                for (var i = 0u; i < 16u; i++) {
                    total[i] += acc[i];
                    acc[i] = 0.0;
                }
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
