// out (n_rows, n_outputs) = inputs (n_rows, 32 × n_blocks) × weightsᵀ, for a few rows at a time: every weight is read once
// for ROWS of them.
//
// A workgroup has a panel of 8 outputs. Each of its threads has one of them and some of 32 slices of the inputs, and at the
// end the slices are added up in order. `matmul_many` adds in the same order: both give the same bits, with however many
// THREADS.

// Counted, with 32 bytes of Q8_0 a thread and block (16 of Q4), 256 threads, and THREADS × IN_FLIGHT of them on their way in a workgroup.
// A device is busy when bytes on their way are rate × latency: 25 KB per multiprocessor of an H200 (4.8 TB/s, 0.7 µs, 132 of them), 5 KB of
// an RTX 4090 (1.0 TB/s, 0.6 µs, 128), 4 KB of an M3 Pro (150 GB/s, 0.5 µs, 18). An H200 runs 8 such workgroups per multiprocessor: 64 KB.
//
//                           workgroups                      Q8_0, by bytes: H200, RTX 4090, M3 Pro
//     Qwen3-0.6B   q k v        512                           1 µs     4 µs     30 µs
//                  output       128, two blocks in a slice    0.5 µs   2 µs     15 µs
//                  gate, up     768                           1.4 µs   7 µs     45 µs
//                  down         128, three blocks in a slice  0.7 µs   3 µs     22 µs
//     Qwen3-8B     q k v        768, four blocks in a slice   6 µs     27 µs    178 µs
//                  output       512, four blocks in a slice   4 µs     18 µs    119 µs
//                  gate, up   3,072, four blocks in a slice   22 µs    106 µs   713 µs
//                  down         512, twelve blocks in a slice 11 µs    53 µs    356 µs
//     gpt-oss-20b  q k v        640, output 360, an expert's matrices 360 each, of four experts
//
// 128 workgroups of one block each leave an H200 with 8 KB per multiprocessor, a third of its rate: there IN_FLIGHT of 2 or 4 counts,
// which is chosen by measuring.

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
    for (var block = start; block < end; block += IN_FLIGHT) {
        var w: array<Block, IN_FLIGHT>;
        for (var j = 0u; j < IN_FLIGHT; j++) {
            w[j] = load(at, min(block + j, end - 1u), lane);
        }
        for (var j = 0u; j < min(IN_FLIGHT, end - block); j++) {
            for (var i = 0u; i < ROWS; i++) {
                if rows[i] != NO_ROW {
                    acc[i] = add(acc[i], w[j], input_of(rows[i]), block + j);
                }
            }
        }
    }
    for (var i = 0u; i < ROWS; i++) {
        sums[(i * SLICES + slice) * LANES + lane] = acc[i];
    }
}

// The outputs of a panel. All threads of a workgroup come here.
fn multiply_panel(panel: u32, together: u32, thread: u32) {
    let lane = thread % LANES;
    let is_mine = is_here(together) && panel < p.n_panels;
    sum_slices(thread / LANES, lane, panel, together, is_mine);
    workgroupBarrier();

    let n_slices = (p.n_blocks + p.slice_blocks - 1u) / p.slice_blocks;
    for (var turn = 0u; turn < (ROWS + AT_ONCE - 1u) / AT_ONCE; turn++) {
        let i = turn * AT_ONCE + thread / LANES;
        let row = row_of(together, i);
        if i < ROWS && is_mine && row != NO_ROW {
            var total = 0.0;
            for (var slice = 0u; slice < n_slices; slice++) {
                total += sums[(i * SLICES + slice) * LANES + lane];
            }
            write(row, panel * LANES + lane, total);
        }
    }
}
