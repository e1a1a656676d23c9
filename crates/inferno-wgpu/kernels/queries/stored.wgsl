// Queries as `heads.wgsl` or others left them; keys and values are stored.

@group(0) @binding(NEXT) var<storage, read> pool: array<vec4<u32>>;

fn bring_heads(t: Tile, kv_head: u32, part: u32, thread: u32) {
    for (var i = thread; i < QUERIES * QUERY_QUADS; i += THREADS) {
        let query = i / QUERY_QUADS;
        let is_shared = i % QUERY_QUADS < SHARED_QUADS;
        let first = select(4u * (i % QUERY_QUADS - SHARED_QUADS), 4u * (i % QUERY_QUADS), is_shared);
        let width = select(KEY_WIDTH, SHARED_WIDTH, is_shared);
        var quad = vec4<f32>();
        if is_query(t, query) {
            let head = query_head(t, query) * (SHARED_WIDTH + KEY_WIDTH);
            let start = (t.row + query_row(query)) * p.q_stride + head + select(SHARED_WIDTH, 0u, is_shared);
            for (var j = 0u; j < 4u; j++) {
                if first + j < width {
                    quad[j] = q[start + first + j];
                }
            }
        }
        put_query(i, quad);
    }
}
