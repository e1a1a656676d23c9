// The softmax over some keys, not yet divided by its sum: the largest score, the sum of `e^(score - largest)`, and that
// times the values. What has no keys has LOWEST, 0 and 0.

// How much two of them count when they become one.
struct Weights {
    largest: f32,
    first: f32,
    second: f32,
}

fn weigh(first: f32, second: f32) -> Weights {
    let largest = max(first, second);
    return Weights(largest, exp_(first - largest), exp_(second - largest));
}
