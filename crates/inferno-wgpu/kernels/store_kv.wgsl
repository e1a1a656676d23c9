// Writes keys and values to the slots of their rows. A thread has 32 numbers of a head.

struct Params {
    n_rows: u32,
    n_kv_heads: u32,
    // Numbers from a row of k and v to the next.
    stride: u32,
    // Where the rows' slots are in `uploads`.
    slots: u32,
}

var<immediate> p: Params;

@group(0) @binding(0) var<storage, read_write> pool: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read> uploads: array<u32>;

const N_BLOCKS = (HEAD_DIM + 31u) / 32u;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let block = i % N_BLOCKS;
    let head = i / N_BLOCKS % p.n_kv_heads;
    let is_value = i / (N_BLOCKS * p.n_kv_heads) % 2u;
    let row = i / (N_BLOCKS * p.n_kv_heads * 2u);
    if row >= p.n_rows {
        return;
    }
    let start = row * p.stride + head * HEAD_DIM + 32u * block;
    let n = min(32u, HEAD_DIM - 32u * block);
    var x: array<f32, 32>;
    for (var j = 0u; j < n; j++) {
        if is_value == 1u {
            x[j] = v[start + j];
        } else {
            x[j] = k[start + j];
        }
    }
    store(record(uploads[p.slots + row], is_value, head), block, x);
}
