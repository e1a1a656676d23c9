// The partitions of every query that `attend` left in `parts`, in order. A thread has four numbers of a head.

const PARTITION_LEN = 256u;
const QUADS = (VALUE_WIDTH + 3u) / 4u;

struct Params {
    n_rows: u32,
    n_heads: u32,
    // Numbers from a row of out to the next.
    stride: u32,
    window: u32,
    n_parts: u32,
    // Where the rows' positions are in `uploads`.
    positions: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
// [row][head][partition][largest, sum, 0, 0, values ..]
@group(0) @binding(NEXT) var<storage, read> parts: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let i = element(group, thread);
    let quad = i % QUADS;
    let head = i / QUADS % p.n_heads;
    let row = i / (QUADS * p.n_heads);
    let is_there = row < p.n_rows;
    var end = 0u;
    if is_there {
        end = uploads[p.positions + row] + 1u;
    }
    let start = select(0u, end - min(end, p.window), p.window > 0u);
    var total = vec4<f32>();
    var total_largest = LOWEST;
    var total_sum = 0.0;
    for (var part = start / PARTITION_LEN; part * PARTITION_LEN < end; part++) {
        let at = ((row * p.n_heads + head) * p.n_parts + part) * (1u + QUADS);
        let w = weigh(total_largest, parts[at].x);
        total_largest = w.largest;
        total_sum = fma(parts[at].y, w.second, total_sum * w.first);
        total = fma(parts[at + 1u + quad], vec4(w.second), total * w.first);
    }
    let whole = divide(total, total_largest, total_sum, head);
    let to = row * p.stride + head * VALUE_WIDTH + 4u * quad;
    for (var i = 0u; i < 4u && is_there; i++) {
        if 4u * quad + i < VALUE_WIDTH {
            out[to + i] = whole[i];
        }
    }
    put_quad(to / 4u, whole, is_there, thread);
}
