// A block's share of a product: integers first, exact in any order, then one `fma` for every run that shares a scale and one
// for its minimum, as `inferno_model::reference` has it. Quants are stored OFFSET too high.

// Of a row of inputs: the sums of a block's two halves, 16 bits each.
fn half_sums(packed: u32) -> vec2<i32> {
    return vec2(extractBits(i32(packed), 0u, 16u), extractBits(i32(packed), 16u, 16u));
}

// `products` is the sum of a run's products, `x_sum` that of its inputs; `scale` and `minimum` are the run's.
fn add_run(acc: f32, products: f32, scale: f32, minimum: f32, x_scale: f32, x_sum: i32) -> f32 {
    let sum = fma(products, scale * x_scale, acc);
    if MINIMUMS {
        return fma(x_scale * f32(x_sum), -minimum, sum);
    }
    return sum;
}
