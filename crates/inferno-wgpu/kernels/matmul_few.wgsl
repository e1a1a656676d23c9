// out (n_rows, n_outputs) = inputs (n_rows, 32 × n_blocks) × weightsᵀ, for a few rows at a time: every weight is read once
// for ROWS of them.
//
// A workgroup has a panel of 8 outputs. Each of its threads has one of them and some of 32 slices of the inputs, and at the
// end the slices are added up in order. `matmul_many` adds in the same order: both give the same bits, with however many
// THREADS.

// Slices that are summed up at the same time.
const AT_ONCE = THREADS / LANES;

var<workgroup> sums: array<f32, ROWS * LANES * SLICES>;

// The sums of a slice, for all rows. Registers are indexed in loops that compilers unroll, which they do where loops are not
// nested deeper: `sum_slices` calls this once for each of a thread's slices.
fn sum_slice(slice: u32, lane: u32, panel: u32, together: u32, is_mine: bool) {
    let at = (p.first_panel + matrix_of(together) + panel) * p.panel_len;
    let start = slice * p.slice_blocks;
    let end = select(start, min(start + p.slice_blocks, p.n_blocks), is_mine);
    var rows: array<u32, ROWS>;
    var acc: array<f32, ROWS>;
    for (var i = 0u; i < ROWS; i++) {
        rows[i] = row_of(together, i);
    }
    for (var block = start; block < end; block++) {
        let w = load(at, block, lane);
        for (var i = 0u; i < ROWS; i++) {
            if rows[i] != NO_ROW {
                acc[i] = add(acc[i], w, input_of(rows[i]), block);
            }
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        sums[(i * SLICES + slice) * LANES + lane] = acc[i];
    }
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let lane = thread % LANES;
    let panel = group.y * 65535u + group.x;
    let is_mine = is_here(group.z) && panel < p.n_panels;
    sum_slices(thread / LANES, lane, panel, group.z, is_mine);
    workgroupBarrier();

    let n_slices = (p.n_blocks + p.slice_blocks - 1u) / p.slice_blocks;
    for (var turn = 0u; turn < (ROWS + AT_ONCE - 1u) / AT_ONCE; turn++) {
        let i = turn * AT_ONCE + thread / LANES;
        let row = row_of(group.z, i);
        if i < ROWS && is_mine && row != NO_ROW {
            var total = 0.0;
            for (var slice = 0u; slice < n_slices; slice++) {
                total += sums[(i * SLICES + slice) * LANES + lane];
            }
            write(row, panel * LANES + lane, total);
        }
    }
}
