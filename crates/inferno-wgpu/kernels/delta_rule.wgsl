// The gated delta rule. A workgroup has some columns of the state of a value head, keeps them in its memory and goes through the rows of
// a span; four threads share a column, of which each has every fourth row of the state.

struct Params {
    n_key_heads: u32,
    n_value_heads: u32,
    // Value heads of a key head follow each other?
    is_grouped: u32,
    n_decays: u32,
    // Where the spans are in `uploads`: first row, number of rows, page of the state before and page of the one after.
    spans: u32,
    // Where the matrices begin in a state, and numbers from a page to the next.
    at: u32,
    page_len: u32,
    // Numbers from a row to the next.
    out_stride: u32,
    v_stride: u32,
    v_first: u32,
    prepared_stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> states: array<f32>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> v: array<f32>;
@group(0) @binding(NEXT) var<storage, read> prepared: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

const NO_PAGE = 0xffffffffu;
const STRIPES = 4u;
const THREADS = STRIPES * COLUMNS;

// [row][column]
var<workgroup> state: array<f32, WIDTH * COLUMNS>;
var<workgroup> q: array<f32, WIDTH>;
var<workgroup> k: array<f32, WIDTH>;
var<workgroup> decays: array<f32, WIDTH>;
// [stripe][column]
var<workgroup> sums: array<f32, THREADS>;

fn sum_of(column: u32) -> f32 {
    return (sums[column] + sums[COLUMNS + column]) + (sums[2u * COLUMNS + column] + sums[3u * COLUMNS + column]);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let span = p.spans + 4u * group.x;
    let first_row = uploads[span];
    let end_row = first_row + uploads[span + 1u];
    let before = uploads[span + 2u];
    let after = uploads[span + 3u];
    let head = group.y;
    let key_head = select(head % p.n_key_heads, head / (p.n_value_heads / p.n_key_heads), p.is_grouped == 1u);
    let column = thread % COLUMNS;
    let stripe = thread / COLUMNS;
    // In the head. Threads past its end have columns of zeros.
    let at_column = group.z * COLUMNS + column;
    let is_mine = at_column < WIDTH;
    let matrix = p.at + head * WIDTH * WIDTH + at_column;
    for (var i = stripe; i < WIDTH; i += STRIPES) {
        var x = 0.0;
        if is_mine && before != NO_PAGE {
            x = states[before * p.page_len + matrix + i * WIDTH];
        }
        state[i * COLUMNS + column] = x;
    }
    let key_dim = p.n_key_heads * WIDTH;
    for (var row = first_row; row < end_row; row++) {
        let start = row * p.prepared_stride;
        for (var i = thread; i < WIDTH; i += THREADS) {
            q[i] = prepared[start + key_head * WIDTH + i];
            k[i] = prepared[start + key_dim + key_head * WIDTH + i];
            let decay = head * p.n_decays + select(0u, i, p.n_decays > 1u);
            decays[i] = prepared[start + 2u * key_dim + p.n_value_heads + decay];
        }
        let strength = prepared[start + 2u * key_dim + head];
        var value = 0.0;
        if is_mine {
            value = v[row * p.v_stride + p.v_first + head * WIDTH + at_column];
        }
        workgroupBarrier();
        var sum = 0.0;
        for (var i = stripe; i < WIDTH; i += STRIPES) {
            sum = fma(state[i * COLUMNS + column] * decays[i], k[i], sum);
        }
        sums[thread] = sum;
        workgroupBarrier();
        let delta = strength * (value - sum_of(column));
        sum = 0.0;
        for (var i = stripe; i < WIDTH; i += STRIPES) {
            let now = fma(k[i], delta, state[i * COLUMNS + column] * decays[i]);
            state[i * COLUMNS + column] = now;
            sum = fma(now, q[i], sum);
        }
        workgroupBarrier();
        sums[thread] = sum;
        workgroupBarrier();
        if stripe == 0u && is_mine {
            out[row * p.out_stride + head * WIDTH + at_column] = sum_of(column);
        }
        // What fills up a row is zero.
        let end = p.n_value_heads * WIDTH + thread;
        if head == 0u && group.z == 0u && end < p.out_stride {
            out[row * p.out_stride + end] = 0.0;
        }
    }
    if is_mine {
        for (var i = stripe; i < WIDTH; i += STRIPES) {
            states[after * p.page_len + matrix + i * WIDTH] = state[i * COLUMNS + column];
        }
    }
}
