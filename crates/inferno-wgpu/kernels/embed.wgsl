// out (n_rows, cols) = the tokens' rows of the table, times `scale`. A thread has a block of 32 of a row.

@group(0) @binding(NEXT) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<vec4<f32>>;
struct Params {
    n_rows: u32,
    n_blocks: u32,
    panel_len: u32,
    // Where the table's panels begin.
    first_panel: u32,
    // Which rows of the table are here.
    first: u32,
    n_here: u32,
    // Where the tokens begin.
    tokens: u32,
    scale: f32,
}

var<immediate> p: Params;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let row = i / p.n_blocks;
    let block = i % p.n_blocks;
    if row >= p.n_rows {
        return;
    }
    let token = token_of(row) - p.first;
    if token >= p.n_here {
        return;
    }
    let at = (p.first_panel + token / 8u) * p.panel_len;
    for (var quad = 0u; quad < 8u; quad++) {
        out[8u * i + quad] = value_quad(at, block, quad, token % 8u) * p.scale;
    }
}
