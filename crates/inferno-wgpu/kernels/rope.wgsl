// Rotates the first `2 * n_pairs` numbers of every head of x: rotary position embeddings (https://arxiv.org/abs/2104.09864).
// A thread has a pair.

struct Params {
    n_rows: u32,
    n_heads: u32,
    head_dim: u32,
    n_pairs: u32,
    // Numbers from a row to the next.
    stride: u32,
    // Where cosines and sines are in `uploads`, (n_rows, n_pairs) each.
    cos: u32,
    sin: u32,
    // Are pairs neighbours, or are they half of what rotates apart?
    is_adjacent: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> x: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let pair = i % p.n_pairs;
    let head = i / p.n_pairs % p.n_heads;
    let row = i / (p.n_pairs * p.n_heads);
    if row >= p.n_rows {
        return;
    }
    let at = row * p.stride + head * p.head_dim;
    let places = at + places_of(pair, p.n_pairs, p.is_adjacent == 1u);
    let cos = bitcast<f32>(uploads[p.cos + row * p.n_pairs + pair]);
    let sin = bitcast<f32>(uploads[p.sin + row * p.n_pairs + pair]);
    let rotated = rotate(vec2(x[places.x], x[places.y]), cos, sin);
    x[places.x] = rotated.x;
    x[places.y] = rotated.y;
}
