// A head in the memory of its workgroup.

// A query, a key or a value, the last block filled up.
var<workgroup> head: array<f32, 32u * MOST_BLOCKS>;

// Norms a query or a key, if NORMED, and rotates it. Each thread has written every THREADS-th number.
fn norm_and_rotate(row: u32, is_query: bool, thread: u32) {
    if NORMED {
        var sum = 0.0;
        for (var j = thread; j < KEY_WIDTH; j += THREADS) {
            sum = fma(head[j], head[j], sum);
        }
        let scale = rms_scale(sum_of_all(sum, thread), KEY_WIDTH, p.eps);
        for (var j = thread; j < KEY_WIDTH; j += THREADS) {
            let weight = select(k_weight[j], q_weight[j], is_query);
            head[j] = (head[j] * scale) * weight;
        }
    }
    workgroupBarrier();
    for (var pair = thread; pair < p.n_pairs; pair += THREADS) {
        let places = places_of(pair, p.n_pairs, p.is_adjacent == 1u);
        let cos = bitcast<f32>(uploads[p.cos + row * p.n_pairs + pair]);
        let sin = bitcast<f32>(uploads[p.sin + row * p.n_pairs + pair]);
        let rotated = rotate(vec2(head[places.x], head[places.y]), cos, sin);
        head[places.x] = rotated.x;
        head[places.y] = rotated.y;
    }
    workgroupBarrier();
}

// Stores a key or a value of `width` numbers.
fn store_head(record: u32, width: u32, vectors: u32, thread: u32) {
    if thread < (width + 31u) / 32u {
        var x: array<f32, 32>;
        for (var j = 0u; j < 32u; j++) {
            x[j] = head[32u * thread + j];
        }
        store(record, vectors, thread, x);
    }
}
