// out (n, n_heads × value_width) = softmax(q kᵀ) v, each row over its sequence's positions up to its own: online softmax as in
// FlashAttention (https://arxiv.org/abs/2205.14135), restarted at every partition of 256 positions.
//
// A workgroup has a tile (`attention.wgsl`). It goes through the keys a page at a time, of all partitions in turn; or, where IS_SPLIT, of one partition, and
// `attend_merge` puts them together. A query's numbers come about in the same order in every tile: equal bits.
//
// Counted for one sequence at depth 4,096 with f16 keys and values: 16 partitions × 8 key heads are 128 workgroups for the shapes of
// Qwen3-0.6B, Qwen3-8B (128 numbers a head: 16.8 MB a layer) and gpt-oss-20b (64: 8.4 MB). Read a few vectors at a time, a page of 16 KB
// takes some twelve round trips to memory; staged (`pages/staged.wgsl`) one, with all 16 KB on their way in each workgroup, one of them on
// every multiprocessor of an H200 (where 25 KB keep it busy) or an RTX 4090 (5 KB), seven on every one of an M3 Pro (4 KB). By bytes a layer
// takes 4, 17 and 112 µs there (half of it for gpt-oss-20b); by round trips of about 1 µs, the arithmetic of a page included twice that, 16 µs for
// 8 pages.

// Latent keys begin with their value: SHARED_QUADS, or SHARED_WIDTH numbers, of which the record of the key has nothing.
const QUERY_QUADS = SHARED_QUADS + KEY_QUADS;

var<workgroup> queries: array<vec4<f32>, QUERIES * QUERY_QUADS>;
// [query][key]
var<workgroup> scores: array<vec4<f32>, QUERIES * PAGE_LEN / 4u>;
// By how much what a query has so far shrinks; its largest score; its sum.
var<workgroup> shrinks: array<f32, QUERIES>;
var<workgroup> largests: array<f32, QUERIES>;
var<workgroup> all_sums: array<f32, QUERIES>;

fn put_query(at: u32, quad: vec4<f32>) {
    queries[at] = quad;
}

// Scores: a thread has a key of the page and every fourth query.
const KEY_ROWS = THREADS / PAGE_LEN;
const KEY_STEPS = (QUERIES + KEY_ROWS - 1u) / KEY_ROWS;
// Values: a thread has four numbers of one, and every so manyth query.
const VALUE_ROWS = THREADS / QUAD_LANES;
const VALUE_STEPS = (QUERIES + VALUE_ROWS - 1u) / VALUE_ROWS;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let kv_head = kv_head_of(group);
    let t = tile_of(group);

    bring_heads(t, kv_head, group.z, thread);

    let key = thread % PAGE_LEN;
    let key_row = thread / PAGE_LEN;
    let quad = thread % QUAD_LANES;
    let value_row = thread / QUAD_LANES;
    var key_sees: array<vec2<u32>, KEY_STEPS>;
    for (var j = 0u; j < KEY_STEPS; j++) {
        key_sees[j] = visible(t, key_row + KEY_ROWS * j);
    }
    var value_sees: array<vec2<u32>, VALUE_STEPS>;
    for (var j = 0u; j < VALUE_STEPS; j++) {
        value_sees[j] = visible(t, value_row + VALUE_ROWS * j);
    }

    let keys = keys_of(t);
    let start = keys.x;
    let end = keys.y;
    let all = partitions_of(keys, group.z);

    // Of all partitions so far.
    var total: array<vec4<f32>, VALUE_STEPS>;
    var total_largest: array<f32, VALUE_STEPS>;
    var total_sum: array<f32, VALUE_STEPS>;
    for (var j = 0u; j < VALUE_STEPS; j++) {
        total_largest[j] = LOWEST;
    }

    for (var part = all.x; part < all.y; part++) {
        // Of this one. Sums are kept by the thread whose number is the query's.
        var largest: array<f32, KEY_STEPS>;
        for (var j = 0u; j < KEY_STEPS; j++) {
            largest[j] = LOWEST;
        }
        var sum = 0.0;
        var values: array<vec4<f32>, VALUE_STEPS>;
        for (var j = 0u; j < VALUE_STEPS; j++) {
            values[j] = vec4<f32>();
        }
        let first_page = max(part * PAGES, start / PAGE_LEN);
        let end_page = min((part + 1u) * PAGES, (end + PAGE_LEN - 1u) / PAGE_LEN);
        for (var page = first_page; page < end_page; page++) {
            let slot = uploads[t.table + page] * PAGE_LEN;
            let position = page * PAGE_LEN + key;

            bring_page(slot, kv_head, thread);

            // Scores.
            var products: array<vec4<f32>, KEY_STEPS>;
            for (var j = 0u; j < KEY_STEPS; j++) {
                products[j] = vec4<f32>();
            }
            if position < end {
                let beginning = value_place(slot, key, kv_head);
                for (var i = 0u; i < SHARED_QUADS; i += VECTOR_QUADS) {
                    var k = kv_vector(beginning, VALUE_VECTORS, i / VECTOR_QUADS);
                    for (var l = 0u; l < VECTOR_QUADS && i + l < SHARED_QUADS; l++) {
                        for (var j = 0u; j < KEY_STEPS; j++) {
                            let query = min(key_row + KEY_ROWS * j, QUERIES - 1u);
                            products[j] = fma(queries[query * QUERY_QUADS + i + l], k[l], products[j]);
                        }
                    }
                }
                let keys = key_place(slot, key, kv_head);
                for (var i = 0u; i < KEY_QUADS; i += VECTOR_QUADS) {
                    var k = kv_vector(keys, KEY_VECTORS, i / VECTOR_QUADS);
                    for (var l = 0u; l < VECTOR_QUADS && i + l < KEY_QUADS; l++) {
                        for (var j = 0u; j < KEY_STEPS; j++) {
                            let query = min(key_row + KEY_ROWS * j, QUERIES - 1u);
                            products[j] = fma(queries[query * QUERY_QUADS + SHARED_QUADS + i + l], k[l], products[j]);
                        }
                    }
                }
            }
            var mine: array<f32, KEY_STEPS>;
            for (var j = 0u; j < KEY_STEPS; j++) {
                let query = key_row + KEY_ROWS * j;
                let is_seen = position >= key_sees[j].x && position < key_sees[j].y;
                let v = products[j];
                mine[j] = select(LOWEST, score_of((v.x + v.y) + (v.z + v.w)), is_seen);
                if query < QUERIES {
                    scores[query * PAGE_LEN / 4u + key / 4u][key % 4u] = mine[j];
                }
            }
            workgroupBarrier();

            // Weights, once the largest score is known.
            for (var j = 0u; j < KEY_STEPS; j++) {
                let query = min(key_row + KEY_ROWS * j, QUERIES - 1u);
                var most = vec4(largest[j]);
                for (var i = 0u; i < PAGE_LEN / 4u; i++) {
                    most = max(most, scores[query * PAGE_LEN / 4u + i]);
                }
                let new_largest = max(max(most.x, most.y), max(most.z, most.w));
                let is_seen = position >= key_sees[j].x && position < key_sees[j].y;
                mine[j] = select(0.0, exp_(mine[j] - new_largest), is_seen);
                if key == 0u && key_row + KEY_ROWS * j < QUERIES {
                    shrinks[query] = exp_(largest[j] - new_largest);
                    largests[query] = new_largest;
                }
                largest[j] = new_largest;
            }
            workgroupBarrier();
            for (var j = 0u; j < KEY_STEPS; j++) {
                let query = key_row + KEY_ROWS * j;
                if query < QUERIES {
                    scores[query * PAGE_LEN / 4u + key / 4u][key % 4u] = mine[j];
                }
            }
            workgroupBarrier();

            // Sums and values.
            if thread < QUERIES {
                var page_sum = vec4<f32>();
                for (var i = 0u; i < PAGE_LEN / 4u; i++) {
                    page_sum += scores[thread * PAGE_LEN / 4u + i];
                }
                sum = fma(sum, shrinks[thread], (page_sum.x + page_sum.y) + (page_sum.z + page_sum.w));
            }
            for (var j = 0u; j < VALUE_STEPS; j++) {
                let query = min(value_row + VALUE_ROWS * j, QUERIES - 1u);
                values[j] *= shrinks[query];
            }
            let n_keys = min(PAGE_LEN, end - page * PAGE_LEN);
            if quad < VALUE_QUADS {
                for (var i = 0u; i < n_keys; i++) {
                    let v = kv_quad(value_place(slot, i, kv_head), VALUE_VECTORS, quad);
                    for (var j = 0u; j < VALUE_STEPS; j++) {
                        let query = min(value_row + VALUE_ROWS * j, QUERIES - 1u);
                        let weight = scores[query * PAGE_LEN / 4u + i / 4u][i % 4u];
                        // What is not seen may be no number.
                        let at = page * PAGE_LEN + i;
                        let is_seen = at >= value_sees[j].x && at < value_sees[j].y;
                        values[j] = select(values[j], fma(vec4(weight), v, values[j]), is_seen);
                    }
                }
            }
        }
        workgroupBarrier();
        if thread < QUERIES {
            all_sums[thread] = sum;
            if first_page >= end_page {
                largests[thread] = LOWEST;
            }
        }
        workgroupBarrier();
        for (var j = 0u; j < VALUE_STEPS; j++) {
            let query = min(value_row + VALUE_ROWS * j, QUERIES - 1u);
            if IS_SPLIT {
                total[j] = values[j];
                total_largest[j] = largests[query];
                total_sum[j] = all_sums[query];
            } else {
                let w = weigh(total_largest[j], largests[query]);
                total_largest[j] = w.largest;
                total_sum[j] = fma(all_sums[query], w.second, total_sum[j] * w.first);
                total[j] = fma(values[j], vec4(w.second), total[j] * w.first);
            }
        }
    }

    for (var j = 0u; j < VALUE_STEPS; j++) {
        let query = value_row + VALUE_ROWS * j;
        write_quad(t, query, group.z, quad, total[j], total_largest[j], total_sum[j], thread);
    }
}
