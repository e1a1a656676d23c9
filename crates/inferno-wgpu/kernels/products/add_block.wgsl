// A block's share of a product: integers first, exact in any order, then one `fma` for every run that shares a scale and one
// for its minimum, as `inferno_model::reference` has it. Quants are stored OFFSET too high.

// Of a row of inputs: a block's scale, and the sums of its two halves, 16 bits each.
fn half_sums(packed: u32) -> vec2<i32> {
    return vec2(extractBits(i32(packed), 0u, 16u), extractBits(i32(packed), 16u, 16u));
}

fn add_block(
    sum: f32,
    w: array<u32, 8>,
    scales: Scales,
    x: array<u32, 8>,
    x_scale: f32,
    x_sums: vec2<i32>,
) -> f32 {
    let first = dot4I8Packed(w[0], x[0]) + dot4I8Packed(w[1], x[1]) + dot4I8Packed(w[2], x[2]) + dot4I8Packed(w[3], x[3])
        - OFFSET * x_sums.x;
    let second = dot4I8Packed(w[4], x[4]) + dot4I8Packed(w[5], x[5]) + dot4I8Packed(w[6], x[6]) + dot4I8Packed(w[7], x[7])
        - OFFSET * x_sums.y;
    var acc = sum;
    if HALVES {
        acc = fma(f32(first), scales.scale.x * x_scale, acc);
        if MINIMUMS {
            acc = fma(x_scale * f32(x_sums.x), -scales.minimum.x, acc);
        }
        acc = fma(f32(second), scales.scale.y * x_scale, acc);
        if MINIMUMS {
            acc = fma(x_scale * f32(x_sums.y), -scales.minimum.y, acc);
        }
    } else {
        acc = fma(f32(first + second), scales.scale.x * x_scale, acc);
        if MINIMUMS {
            acc = fma(x_scale * f32(x_sums.x + x_sums.y), -scales.minimum.x, acc);
        }
    }
    return acc;
}
