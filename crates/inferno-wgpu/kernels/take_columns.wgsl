// out = the columns of x from one on. A thread has four numbers; what fills up a row is zero.

struct Params {
    // Vectors of all rows.
    n: u32,
    // Vectors from a row of out to the next, and the numbers of one.
    stride: u32,
    width: u32,
    // Numbers from a row of x to the next.
    x_stride: u32,
    first: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<vec4<f32>>;
@group(0) @binding(NEXT) var<storage, read> x: array<f32>;

fn number(row: u32, column: u32) -> f32 {
    if column < p.width {
        return x[row * p.x_stride + p.first + column];
    }
    return 0.0;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let i = element(group, local);
    if i < p.n {
        let row = i / p.stride;
        let column = 4u * (i % p.stride);
        out[i] = vec4(
            number(row, column),
            number(row, column + 1u),
            number(row, column + 2u),
            number(row, column + 3u),
        );
    }
}
