// Queries, the key and the value of a row that is its sequence's only one of the step: normed, rotated and stored here, with the bits
// of `heads.wgsl`. The workgroup has all queries of its key head; where there are several partitions, that of the row stores.

@group(0) @binding(NEXT) var<storage, read_write> pool: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read> k: array<f32>;
@group(0) @binding(NEXT) var<storage, read> v: array<f32>;
@group(0) @binding(NEXT) var<storage, read> q_weight: array<f32>;
@group(0) @binding(NEXT) var<storage, read> k_weight: array<f32>;

fn bring_heads(t: Tile, kv_head: u32, part: u32, thread: u32) {
    for (var i = thread; i < QUERIES * QUERY_QUADS; i += THREADS) {
        put_query(i, vec4<f32>());
    }
    for (var query = 0u; query < t.n_heads; query++) {
        let at = t.row * p.q_stride + query_head(t, query) * KEY_WIDTH;
        workgroupBarrier();
        for (var j = thread; j < 32u * MOST_BLOCKS; j += THREADS) {
            var x = 0.0;
            if j < KEY_WIDTH {
                x = q[at + j];
            }
            head[j] = x;
        }
        norm_and_rotate(t.row, true, thread);
        for (var i = thread; i < KEY_QUADS; i += THREADS) {
            let quad = vec4(head[4u * i], head[4u * i + 1u], head[4u * i + 2u], head[4u * i + 3u]);
            put_query(query * QUERY_QUADS + i, quad);
        }
    }
    if !IS_SPLIT || part == t.position / (PAGES * PAGE_LEN) {
        let slot = uploads[p.slots + t.row];
        workgroupBarrier();
        for (var j = thread; j < 32u * MOST_BLOCKS; j += THREADS) {
            var x = 0.0;
            if j < KEY_WIDTH {
                x = k[t.row * p.k_stride + kv_head * KEY_WIDTH + j];
            }
            head[j] = x;
        }
        norm_and_rotate(t.row, false, thread);
        store_head(key_record(slot, kv_head), KEY_WIDTH, KEY_VECTORS, thread);
        workgroupBarrier();
        for (var j = thread; j < 32u * MOST_BLOCKS; j += THREADS) {
            var x = 0.0;
            if j < VALUE_WIDTH {
                x = v[t.row * p.v_stride + kv_head * VALUE_WIDTH + j];
            }
            head[j] = x;
        }
        workgroupBarrier();
        store_head(value_record(slot, kv_head), VALUE_WIDTH, VALUE_VECTORS, thread);
        // What is stored is read by all threads of the workgroup.
        storageBarrier();
    }
}
