// Queries of attention, in tiles: what its kernels have in common. A tile has QUERIES queries that share their keys, of some rows
// of one sequence and the heads of one key head.

const PAGE_LEN = 32u;
const PAGES = 8u;
// Fours of a key, and of a value.
const KEY_QUADS = (KEY_WIDTH + 3u) / 4u;
const VALUE_QUADS = (VALUE_WIDTH + 3u) / 4u;

struct Params {
    // Where the tiles are in `uploads`: first row, number of rows, position of the first row, where the page table is.
    tiles: u32,
    n_kv_heads: u32,
    // Query heads to a key head, and how many of them are in a tile.
    n_heads_each: u32,
    n_heads_here: u32,
    // Numbers from a row to the next.
    q_stride: u32,
    out_stride: u32,
    scale: f32,
    // 0 for none.
    softcap: f32,
    // Keys a row sees, itself included; 0 for all.
    window: u32,
    // Of every query in `parts`.
    n_parts: u32,
    // Where heads are prepared here: what `heads.wgsl` takes.
    k_stride: u32,
    v_stride: u32,
    n_pairs: u32,
    cos: u32,
    sin: u32,
    is_adjacent: u32,
    slots: u32,
    eps: f32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read> q: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;
// `out`, or [row][head][partition][largest, sum, 0, 0, values ..] if IS_SPLIT
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;

// A tile as it came.
struct Tile {
    row: u32,
    n_rows: u32,
    position: u32,
    table: u32,
    head: u32,
    n_heads: u32,
}

fn kv_head_of(group: vec3<u32>) -> u32 {
    return group.y / ((p.n_heads_each + p.n_heads_here - 1u) / p.n_heads_here);
}

fn tile_of(group: vec3<u32>) -> Tile {
    let n_chunks = (p.n_heads_each + p.n_heads_here - 1u) / p.n_heads_here;
    let first_head = group.y % n_chunks * p.n_heads_here;
    let at = p.tiles + 4u * group.x;
    return Tile(
        uploads[at],
        uploads[at + 1u],
        uploads[at + 2u],
        uploads[at + 3u],
        kv_head_of(group) * p.n_heads_each + first_head,
        min(p.n_heads_here, p.n_heads_each - first_head),
    );
}

// The positions that any query of a tile sees, from and to.
fn keys_of(t: Tile) -> vec2<u32> {
    let start = select(0u, t.position + 1u - min(t.position + 1u, p.window), p.window > 0u);
    return vec2(start, t.position + t.n_rows);
}

// The partitions of a workgroup, from and to: all that have keys, or `part` where IS_SPLIT.
fn partitions_of(keys: vec2<u32>, part: u32) -> vec2<u32> {
    let all = vec2(keys.x / (PAGES * PAGE_LEN), (keys.y + PAGES * PAGE_LEN - 1u) / (PAGES * PAGE_LEN));
    return select(all, vec2(part, part + 1u), IS_SPLIT);
}

fn query_row(query: u32) -> u32 {
    return query / p.n_heads_here;
}

fn query_head(t: Tile, query: u32) -> u32 {
    return t.head + query % p.n_heads_here;
}

fn is_query(t: Tile, query: u32) -> bool {
    return query < QUERIES && query_row(query) < t.n_rows && query % p.n_heads_here < t.n_heads;
}

// The positions that a query sees, from and to; none for what is no query.
fn visible(t: Tile, query: u32) -> vec2<u32> {
    if !is_query(t, query) {
        return vec2(0u, 0u);
    }
    let end = t.position + query_row(query) + 1u;
    return vec2(select(0u, end - min(end, p.window), p.window > 0u), end);
}

fn score_of(x: f32) -> f32 {
    let scaled = x * p.scale;
    if p.softcap == 0.0 {
        return scaled;
    }
    return p.softcap * tanh_(scaled / p.softcap);
}

// Four numbers of a query's output, or of its partition `part`. All threads of a workgroup come here, those with nothing too.
fn write_quad(t: Tile, query: u32, part: u32, quad: u32, total: vec4<f32>, largest: f32, sum: f32, thread: u32) {
    let is_there = quad < VALUE_QUADS && is_query(t, query);
    let row = t.row + query_row(query);
    let head = query_head(t, query);
    if IS_SPLIT {
        let n_heads = p.n_kv_heads * p.n_heads_each;
        let to = ((row * n_heads + head) * p.n_parts + part) * (4u + 4u * VALUE_QUADS);
        if is_there && quad == 0u {
            out[to] = largest;
            out[to + 1u] = sum;
        }
        for (var i = 0u; i < 4u && is_there; i++) {
            out[to + 4u + 4u * quad + i] = total[i];
        }
    } else {
        let known_head = min(head, p.n_kv_heads * p.n_heads_each - 1u);
        let whole = divide(total, largest, sum, known_head);
        let to = row * p.out_stride + head * VALUE_WIDTH + 4u * quad;
        for (var i = 0u; i < 4u && is_there; i++) {
            if 4u * quad + i < VALUE_WIDTH {
                out[to + i] = whole[i];
            }
        }
        put_quad(to / 4u, whole, is_there, thread);
    }
}
