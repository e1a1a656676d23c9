// The recurrence of Mamba-2. A workgroup has COLUMNS columns of a head's state, of one span, and goes through its rows. A thread keeps
// a part of a column: every SUMS-th number, as the partial sums go.

struct Params {
    n_spans: u32,
    n_heads: u32,
    head_width: u32,
    // Heads that share a B and a C, and where the first C is in a row of xbc.
    heads_per_group: u32,
    first_c: u32,
    // Numbers from a row to the next.
    xbc_stride: u32,
    steps_stride: u32,
    out_stride: u32,
    // Where the spans are in `uploads`: first row, number of rows, page of the state before and page of the one after.
    spans: u32,
    // Where states of heads begin in a layer's, and numbers from a page to the next.
    at: u32,
    page_len: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> states: array<f32>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> xbc: array<f32>;
@group(0) @binding(NEXT) var<storage, read> steps: array<f32>;
@group(0) @binding(NEXT) var<storage, read> d: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

const NO_PAGE = 0xffffffffu;
// Columns of a state that lie together.
const BLOCK = 16u;
const SUMS = 4u;
const THREADS = COLUMNS * SUMS;
// Numbers that a thread keeps.
const KEPT = (STATE_SIZE + SUMS - 1u) / SUMS;

var<workgroup> b: array<f32, STATE_SIZE>;
var<workgroup> c: array<f32, STATE_SIZE>;
var<workgroup> parts: array<f32, THREADS>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n_parts = (p.head_width + COLUMNS - 1u) / COLUMNS;
    let i = group.y * 65535u + group.x;
    let span = i / (n_parts * p.n_heads);
    if span >= p.n_spans {
        return;
    }
    let head = i / n_parts % p.n_heads;
    let column = i % n_parts * COLUMNS + thread % COLUMNS;
    let slice = thread / COLUMNS;
    let is_mine = column < p.head_width;
    let first = uploads[p.spans + 4u * span];
    let end = first + uploads[p.spans + 4u * span + 1u];
    let before = uploads[p.spans + 4u * span + 2u];
    let after = uploads[p.spans + 4u * span + 3u];

    let n_blocks = (p.head_width + BLOCK - 1u) / BLOCK;
    let place = p.at + (head * n_blocks + column / BLOCK) * STATE_SIZE * BLOCK + column % BLOCK;
    var state: array<f32, KEPT>;
    for (var k = 0u; k < KEPT; k++) {
        let n = k * SUMS + slice;
        state[k] = 0.0;
        if is_mine && n < STATE_SIZE && before != NO_PAGE {
            state[k] = states[before * p.page_len + place + n * BLOCK];
        }
    }
    let factor = d[head];
    let first_b = p.n_heads * p.head_width + head / p.heads_per_group * STATE_SIZE;
    let first_c = p.first_c + head / p.heads_per_group * STATE_SIZE;
    for (var row = first; row < end; row++) {
        let start = row * p.xbc_stride;
        workgroupBarrier();
        for (var n = thread; n < STATE_SIZE; n += THREADS) {
            b[n] = xbc[start + first_b + n];
            c[n] = xbc[start + first_c + n];
        }
        workgroupBarrier();
        var x = 0.0;
        if is_mine {
            x = xbc[start + head * p.head_width + column];
        }
        let step = steps[row * p.steps_stride + head] * x;
        let decay = steps[row * p.steps_stride + p.n_heads + head];
        var sum = 0.0;
        for (var k = 0u; k < KEPT; k++) {
            let n = k * SUMS + slice;
            if n < STATE_SIZE {
                state[k] = fma(decay, state[k], step * b[n]);
                sum = fma(state[k], c[n], sum);
            }
        }
        parts[thread] = sum;
        workgroupBarrier();
        if is_mine && slice == 0u {
            let halves = vec2(
                parts[thread] + parts[COLUMNS + thread],
                parts[2u * COLUMNS + thread] + parts[3u * COLUMNS + thread],
            );
            out[row * p.out_stride + head * p.head_width + column] = fma(factor, x, halves.x + halves.y);
        }
    }
    if is_mine {
        for (var k = 0u; k < KEPT; k++) {
            let n = k * SUMS + slice;
            if n < STATE_SIZE {
                states[after * p.page_len + place + n * BLOCK] = state[k];
            }
        }
    }
}
