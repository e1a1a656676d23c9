// (n_heads,)
@group(0) @binding(NEXT) var<storage, read> sinks: array<f32>;

// A sink is one more score, without a value.
fn divide(total: vec4<f32>, largest: f32, sum: f32, head: u32) -> vec4<f32> {
    let w = weigh(largest, sinks[head]);
    return total * w.first / fma(sum, w.first, w.second);
}
