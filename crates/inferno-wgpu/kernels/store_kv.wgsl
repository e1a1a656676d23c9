// Writes keys and values to the slots of their rows. A thread has 32 numbers of a head.

struct Params {
    n_rows: u32,
    n_kv_heads: u32,
    // Numbers from a row to the next.
    k_stride: u32,
    v_stride: u32,
    // Where the rows' slots are in `uploads`.
    slots: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> pool: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read> k: array<f32>;
@group(0) @binding(NEXT) var<storage, read> v: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

const KEY_BLOCKS = (KEY_WIDTH + 31u) / 32u;
const VALUE_BLOCKS = (VALUE_WIDTH + 31u) / 32u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let n_keys = p.n_kv_heads * KEY_BLOCKS;
    let n_each = n_keys + p.n_kv_heads * VALUE_BLOCKS;
    let row = i / n_each;
    if row >= p.n_rows {
        return;
    }
    // Of a row, keys first, then values.
    let is_value = i % n_each >= n_keys;
    let at = select(i % n_each, i % n_each - n_keys, is_value);
    let n_blocks = select(KEY_BLOCKS, VALUE_BLOCKS, is_value);
    let width = select(KEY_WIDTH, VALUE_WIDTH, is_value);
    let head = at / n_blocks;
    let block = at % n_blocks;
    let start = row * select(p.k_stride, p.v_stride, is_value) + head * width + 32u * block;
    let n = min(32u, width - 32u * block);
    var x: array<f32, 32>;
    for (var j = 0u; j < n; j++) {
        if is_value {
            x[j] = v[start + j];
        } else {
            x[j] = k[start + j];
        }
    }
    let slot = uploads[p.slots + row];
    let record = select(key_record(slot, head), value_record(slot, head), is_value);
    store(record, select(KEY_VECTORS, VALUE_VECTORS, is_value), block, x);
}
