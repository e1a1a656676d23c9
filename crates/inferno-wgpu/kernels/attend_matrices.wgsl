// `attend` by cooperative matrices of SIZE × SIZE: numbers in half precision, sums in f32. In a module of its own, without arithmetic
// across a subgroup, and with more than one subgroup: there are drivers that fail otherwise (docs/gpu.md).
//
// Its sums are in another order than those of `attend`, so it is a definition of its own: whatever the number of rows, a device
// attends by one of the two to keys and values of a type and a width. Every query, and every weight of a key, is the sum of two
// numbers in half precision (22 bits), each with a power of two that keeps small ones from being subnormal; keys and values are stored
// in half precision. A score is the sum of two chains of matrices over ascending numbers of the key, of the first parts and of the second; the
// values of a page are one chain over ascending positions, the first parts of the weights before the second. What half precision
// does not hold (65,520 and more) gives a row that sees it no number, as do keys and values that are none.
//
// A row alone is a row of a tile that is filled up with zeros, multiplied by the same instructions.
//
// Counted for 128 numbers a head: a workgroup takes 23 KB of memory, so that a multiprocessor of an H200 has nine of them, each with 4 KB
// on their way: 36 KB, where 25 keep its memory busy; one of an RTX 4090 has four and 16 KB (5), a core of an M3 Pro one or two and 4 to
// 8 KB (4). A page is 64 products of 16 × 16 × 16 and 16 KB from the device's cache for 16 queries: eight rows of Qwen3-0.6B, four of
// Qwen3-8B, two of gpt-oss-20b (64 numbers: half of both). A prompt of 8,192 tokens of Qwen3-0.6B is 0.28 TFLOP and 17 GB from the cache in a layer, and
// 0.55 TFLOP of matrices: 3 ms on an H200, by its cache (5.5 TB/s), 3.4 ms on an RTX 4090, by both (5 TB/s, 165 TFLOP/s), and 40 ms on
// an M3 Pro, by 14 TFLOP/s. A row at depth 4,096 has 128 workgroups, as in `attend.wgsl`: 17 MB in two round trips of 4 KB for each of 8
// pages, four times as many as a whole page at once would take.

// Numbers of a key, or of a value, that are in the workgroup's memory at a time: fewer where queries take most of it.
const CHUNK = select(64u, 32u, KEY_WIDTH > 192u);
const KEY_CHUNKS = (KEY_WIDTH + CHUNK - 1u) / CHUNK;
const VALUE_CHUNKS = (VALUE_WIDTH + CHUNK - 1u) / CHUNK;
const QUERY_QUADS = KEY_CHUNKS * CHUNK / 4u;
// Numbers from a row to the next: eight more than there are, so that neighbouring rows are in different banks.
const QUERY_STRIDE = KEY_CHUNKS * CHUNK + 8u;
const TILE_STRIDE = CHUNK + 8u;
const KEY_STRIDE = PAGE_LEN + 8u;
// Threads of a query; each has four numbers of every 32 of its value.
const LANES = THREADS / QUERIES;
const LANE_QUADS = VALUE_CHUNKS * CHUNK / 4u / LANES;
const CHUNK_QUADS = CHUNK / 4u / LANES;
const LANE_KEYS = PAGE_LEN / LANES;
// Vectors of a chunk, and those that a thread brings.
const CHUNK_VECTORS = CHUNK / 4u / VECTOR_QUADS;
const BROUGHT = (PAGE_LEN * CHUNK_VECTORS + THREADS - 1u) / THREADS;
// Squares of scores, of either part of the queries; a subgroup has one at a time.
const SCORE_SQUARES = 2u * (QUERIES / SIZE) * (PAGE_LEN / SIZE);

// [part][query][number]
var<workgroup> queries: array<f16, 2u * QUERIES * QUERY_STRIDE>;
// [key][number]
var<workgroup> tile: array<f16, PAGE_LEN * TILE_STRIDE>;
// Scores, [part][query][key], or sums, [query][number]; behind them a square of zeros.
const ZEROS = max(2u * QUERIES * KEY_STRIDE, QUERIES * TILE_STRIDE);
var<workgroup> products: array<f32, ZEROS + SIZE * SIZE>;
// [part][query][key]
var<workgroup> weights: array<f16, 2u * QUERIES * KEY_STRIDE>;
// Of every thread: the largest of its scores, and the sum of its weights.
var<workgroup> lane_largest: array<f32, THREADS>;
var<workgroup> lane_sums: array<f32, THREADS>;
// A bit for each key of the page whose value half precision does not hold.
var<workgroup> broken: atomic<u32>;

// The second part of a query is stored times this.
const SECOND = 2048.0;
// Weights, of which the largest is 1, are stored times this.
const WEIGHT_UNIT = 32768.0;

// A number as the sum of two in half precision, the second of them times `unit`.
fn halves_of(x: f32, unit: f32) -> vec2<f16> {
    let first = from_f16(to_f16(x));
    return vec2(f16(first), f16((x - first) * unit));
}

fn put_query(at: u32, quad: vec4<f32>) {
    let place = at / QUERY_QUADS * QUERY_STRIDE + 4u * (at % QUERY_QUADS);
    for (var i = 0u; i < 4u; i++) {
        let halves = halves_of(quad[i], SECOND);
        queries[place + i] = halves.x;
        queries[QUERIES * QUERY_STRIDE + place + i] = halves.y;
    }
}

// A chunk of the keys, or of the values, of a page.
struct Chunk {
    slot: u32,
    kv_head: u32,
    is_value: bool,
    number: u32,
}

struct Brought {
    quads: array<vec4<f32>, BROUGHT * VECTOR_QUADS>,
}

// Asks for a thread's part of a chunk.
fn bring(c: Chunk, thread: u32) -> Brought {
    var b: Brought;
    let n_vectors = select(KEY_VECTORS, VALUE_VECTORS, c.is_value);
    for (var i = 0u; i < BROUGHT; i++) {
        let at = thread + THREADS * i;
        let key = c.slot + at / CHUNK_VECTORS;
        let vector = c.number * CHUNK_VECTORS + at % CHUNK_VECTORS;
        if vector < n_vectors {
            let record = select(key_record(key, c.kv_head), value_record(key, c.kv_head), c.is_value);
            var quads = kv_vector(record, n_vectors, vector);
            for (var j = 0u; j < VECTOR_QUADS; j++) {
                b.quads[i * VECTOR_QUADS + j] = quads[j];
            }
        }
    }
    return b;
}

// Stores it in the workgroup's memory.
fn put(brought: Brought, is_value: bool, thread: u32) {
    var b = brought;
    for (var i = 0u; i < BROUGHT; i++) {
        let at = thread + THREADS * i;
        let key = at / CHUNK_VECTORS;
        let place = key * TILE_STRIDE + 4u * VECTOR_QUADS * (at % CHUNK_VECTORS);
        var is_held = true;
        for (var j = 0u; j < VECTOR_QUADS; j++) {
            is_held = is_held && all(abs(b.quads[i * VECTOR_QUADS + j]) < vec4(65520.0));
        }
        // A value that is not held counts as zeros, as rows that do not see it multiply it by a weight of zero.
        let is_kept = is_held || !is_value;
        if !is_kept {
            atomicOr(&broken, 1u << key);
        }
        for (var j = 0u; j < VECTOR_QUADS; j++) {
            let quad = select(vec4<f32>(), b.quads[i * VECTOR_QUADS + j], is_kept);
            for (var k = 0u; k < 4u; k++) {
                tile[place + 4u * j + k] = f16(quad[k]);
            }
        }
    }
}

fn low_bits(n: u32) -> u32 {
    return select((1u << (n % 32u)) - 1u, 0xffffffffu, n == 32u);
}

// The keys of a page at positions from and to, a bit each.
fn seen_of(page: u32, sees: vec2<u32>) -> u32 {
    let first = vec2(page * PAGE_LEN);
    let places = clamp(sees, first, first + PAGE_LEN) - first;
    return low_bits(places.y) & ~low_bits(places.x);
}

@compute @workgroup_size(THREADS)
fn main(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) subgroup: u32,
    @builtin(num_subgroups) n_subgroups: u32,
) {
    let kv_head = kv_head_of(group);
    let t = tile_of(group);
    for (var i = thread; i < SIZE * SIZE; i += THREADS) {
        products[ZEROS + i] = 0.0;
    }
    bring_heads(t, kv_head, group.z, thread);

    let query = thread / LANES;
    let lane = thread % LANES;
    let sees = visible(t, query);
    let keys = keys_of(t);
    let all_pages = vec2(keys.x / PAGE_LEN, (keys.y + PAGE_LEN - 1u) / PAGE_LEN);
    let parts = partitions_of(keys, group.z);

    // Of all partitions so far.
    var total: array<vec4<f32>, LANE_QUADS>;
    var total_largest = LOWEST;
    var total_sum = 0.0;

    // Every chunk is asked for while the one before is used.
    let first = clamp(parts.x * PAGES, all_pages.x, all_pages.y - 1u);
    var coming = bring(Chunk(uploads[t.table + first] * PAGE_LEN, kv_head, false, 0u), thread);

    for (var part = parts.x; part < parts.y; part++) {
        // Of this one.
        var largest = LOWEST;
        var sum = 0.0;
        var values: array<vec4<f32>, LANE_QUADS>;
        for (var i = 0u; i < LANE_QUADS; i++) {
            values[i] = vec4<f32>();
        }
        let first_page = max(part * PAGES, all_pages.x);
        let end_page = min((part + 1u) * PAGES, all_pages.y);
        for (var page = first_page; page < end_page; page++) {
            let slot = uploads[t.table + page] * PAGE_LEN;
            let next_slot = uploads[t.table + min(page + 1u, all_pages.y - 1u)] * PAGE_LEN;

            for (var chunk = 0u; chunk < KEY_CHUNKS; chunk++) {
                // The chunk before has been read.
                workgroupBarrier();
                put(coming, false, thread);
                if thread == 0u {
                    atomicStore(&broken, 0u);
                }
                let is_last = chunk + 1u == KEY_CHUNKS;
                coming = bring(Chunk(slot, kv_head, is_last, select(chunk + 1u, 0u, is_last)), thread);
                workgroupBarrier();
                for (var square = subgroup; square < SCORE_SQUARES; square += n_subgroups) {
                    let row = square % (2u * QUERIES / SIZE) * SIZE;
                    let key = square / (2u * QUERIES / SIZE) * SIZE;
                    let place = row * KEY_STRIDE + key;
                    let before = select(place, ZEROS, chunk == 0u);
                    var scores = coopLoadT<Sums>(&products[before], select(KEY_STRIDE, SIZE, chunk == 0u));
                    for (var k = 0u; k < CHUNK && chunk * CHUNK + k < KEY_WIDTH; k += SIZE) {
                        let q = coopLoadT<Lefts>(&queries[row * QUERY_STRIDE + chunk * CHUNK + k], QUERY_STRIDE);
                        let keys = coopLoad<Rights>(&tile[key * TILE_STRIDE + k], TILE_STRIDE);
                        scores = coopMultiplyAdd(q, keys, scores);
                    }
                    coopStoreT(scores, &products[place], KEY_STRIDE);
                }
            }
            workgroupBarrier();

            // Weights, once the largest score is known.
            let seen = seen_of(page, sees);
            var scores: array<f32, LANE_KEYS>;
            var most = LOWEST;
            for (var i = 0u; i < LANE_KEYS; i++) {
                let key = lane * LANE_KEYS + i;
                let place = query * KEY_STRIDE + key;
                let product = fma(products[QUERIES * KEY_STRIDE + place], 1.0 / SECOND, products[place]);
                scores[i] = select(LOWEST, score_of(product), ((seen >> key) & 1u) == 1u);
                most = max(most, scores[i]);
            }
            lane_largest[thread] = most;
            workgroupBarrier();
            var new_largest = largest;
            for (var i = 0u; i < LANES; i++) {
                new_largest = max(new_largest, lane_largest[query * LANES + i]);
            }
            let shrink = exp_(largest - new_largest);
            largest = new_largest;
            var lane_sum = 0.0;
            for (var i = 0u; i < LANE_KEYS; i++) {
                let key = lane * LANE_KEYS + i;
                let place = query * KEY_STRIDE + key;
                let weight = select(0.0, exp_(scores[i] - new_largest), ((seen >> key) & 1u) == 1u);
                let halves = halves_of(weight * WEIGHT_UNIT, 1.0);
                weights[place] = halves.x;
                weights[QUERIES * KEY_STRIDE + place] = halves.y;
                lane_sum += weight;
            }
            lane_sums[thread] = lane_sum;

            for (var chunk = 0u; chunk < VALUE_CHUNKS; chunk++) {
                workgroupBarrier();
                put(coming, true, thread);
                let is_last = chunk + 1u == VALUE_CHUNKS;
                let next = Chunk(select(slot, next_slot, is_last), kv_head, !is_last, select(chunk + 1u, 0u, is_last));
                coming = bring(next, thread);
                workgroupBarrier();
                let columns = (min(CHUNK, VALUE_WIDTH - chunk * CHUNK) + SIZE - 1u) / SIZE;
                for (var square = subgroup; square < columns * (QUERIES / SIZE); square += n_subgroups) {
                    let row = square % (QUERIES / SIZE) * SIZE;
                    let column = square / (QUERIES / SIZE) * SIZE;
                    var sums = coopLoadT<Sums>(&products[ZEROS], SIZE);
                    for (var k = 0u; k < 2u * PAGE_LEN; k += SIZE) {
                        let place = (k / PAGE_LEN * QUERIES + row) * KEY_STRIDE + k % PAGE_LEN;
                        let w = coopLoadT<Lefts>(&weights[place], KEY_STRIDE);
                        let v = coopLoadT<Rights>(&tile[k % PAGE_LEN * TILE_STRIDE + column], TILE_STRIDE);
                        sums = coopMultiplyAdd(w, v, sums);
                    }
                    coopStoreT(sums, &products[row * TILE_STRIDE + column], TILE_STRIDE);
                }
                workgroupBarrier();
                for (var i = 0u; i < CHUNK_QUADS; i++) {
                    let place = query * TILE_STRIDE + 4u * (lane + LANES * i);
                    let sums = vec4(products[place], products[place + 1u], products[place + 2u], products[place + 3u]);
                    let more = sums * (1.0 / WEIGHT_UNIT);
                    let j = chunk * CHUNK_QUADS + i;
                    values[j] = select(fma(values[j], vec4(shrink), more), values[j], seen == 0u);
                }
            }
            var page_sum = 0.0;
            for (var i = 0u; i < LANES; i++) {
                page_sum += lane_sums[query * LANES + i];
            }
            sum = select(fma(sum, shrink, page_sum), sum, seen == 0u);
            if (seen & atomicLoad(&broken)) != 0u {
                sum = nan();
            }
        }
        if IS_SPLIT {
            total = values;
            total_largest = largest;
            total_sum = sum;
        } else {
            let w = weigh(total_largest, largest);
            total_largest = w.largest;
            total_sum = fma(sum, w.second, total_sum * w.first);
            for (var i = 0u; i < LANE_QUADS; i++) {
                total[i] = fma(values[i], vec4(w.second), total[i] * w.first);
            }
        }
    }

    for (var i = 0u; i < LANE_QUADS; i++) {
        write_quad(t, query, group.z, lane + LANES * i, total[i], total_largest, total_sum, thread);
    }
}
