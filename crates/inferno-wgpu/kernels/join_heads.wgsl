// out (n_rows, n_heads × width): every head is `first_width` numbers of `first`, then the rest of `second`. A thread has a number.

struct Params {
    n_rows: u32,
    n_heads: u32,
    // Of a head in `out`, and those of them that are from `first`.
    width: u32,
    first_width: u32,
    // Numbers from a row to the next, and from a head to the next.
    out_row: u32,
    out_head: u32,
    first_row: u32,
    first_head: u32,
    second_row: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> first: array<f32>;
@group(0) @binding(NEXT) var<storage, read> second: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    let number = i % p.width;
    let head = i / p.width % p.n_heads;
    let row = i / (p.width * p.n_heads);
    if row >= p.n_rows {
        return;
    }
    let to = row * p.out_row + head * p.out_head + number;
    if number < p.first_width {
        out[to] = first[row * p.first_row + head * p.first_head + number];
    } else {
        let second_width = p.width - p.first_width;
        out[to] = second[row * p.second_row + head * second_width + number - p.first_width];
    }
}
