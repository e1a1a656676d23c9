// Where the two numbers of a pair are in a head.
fn places_of(pair: u32, n_pairs: u32, is_adjacent: bool) -> vec2<u32> {
    return select(vec2(pair, pair + n_pairs), vec2(2u * pair, 2u * pair + 1u), is_adjacent);
}

fn rotate(pair: vec2<f32>, cos: f32, sin: f32) -> vec2<f32> {
    return vec2(fma(pair.x, cos, -(pair.y * sin)), fma(pair.x, sin, pair.y * cos));
}
