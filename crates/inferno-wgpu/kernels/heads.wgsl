// What happens to heads before attention, in one: queries and keys are normed, if NORMED, and rotated, keys and values are
// stored. A workgroup has a head of a row. The bits are those of `head_norm`, `rope` and `store_kv` one after the other.

struct Params {
    n_rows: u32,
    // Of queries.
    n_heads: u32,
    // Of keys, and of values.
    n_kv_heads: u32,
    // Numbers from a row to the next.
    q_stride: u32,
    k_stride: u32,
    v_stride: u32,
    n_pairs: u32,
    // Where cosines and sines are in `uploads`, (n_rows, n_pairs) each.
    cos: u32,
    sin: u32,
    // Are pairs neighbours, or are they half of what rotates apart?
    is_adjacent: u32,
    // Where the rows' slots are in `uploads`.
    slots: u32,
    eps: f32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> pool: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> q: array<f32>;
@group(0) @binding(NEXT) var<storage, read_write> k: array<f32>;
@group(0) @binding(NEXT) var<storage, read> v: array<f32>;
@group(0) @binding(NEXT) var<storage, read> q_weight: array<f32>;
@group(0) @binding(NEXT) var<storage, read> k_weight: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let n_all = p.n_heads + 2u * p.n_kv_heads;
    let number = group.y * 65535u + group.x;
    let row = number / n_all;
    if row >= p.n_rows {
        return;
    }
    // Queries first, then keys, then values.
    let i = number % n_all;
    let is_query = i < p.n_heads;
    let is_value = i >= p.n_heads + p.n_kv_heads;
    let kv_head = (i - p.n_heads) % p.n_kv_heads;
    let width = select(KEY_WIDTH, VALUE_WIDTH, is_value);
    var at = row * p.k_stride + kv_head * KEY_WIDTH;
    if is_query {
        at = row * p.q_stride + i * KEY_WIDTH;
    } else if is_value {
        at = row * p.v_stride + kv_head * VALUE_WIDTH;
    }

    for (var j = thread; j < 32u * MOST_BLOCKS; j += THREADS) {
        var x = 0.0;
        if j < width {
            if is_query {
                x = q[at + j];
            } else if is_value {
                x = v[at + j];
            } else {
                x = k[at + j];
            }
        }
        head[j] = x;
    }
    if !is_value {
        norm_and_rotate(row, is_query, thread);
        for (var j = thread; j < KEY_WIDTH; j += THREADS) {
            if is_query {
                q[at + j] = head[j];
            } else {
                k[at + j] = head[j];
            }
        }
    }
    workgroupBarrier();
    if !is_query {
        let slot = uploads[p.slots + row];
        let record = select(key_record(slot, kv_head), value_record(slot, kv_head), is_value);
        store_head(record, width, select(KEY_VECTORS, VALUE_VECTORS, is_value), thread);
    }
}
