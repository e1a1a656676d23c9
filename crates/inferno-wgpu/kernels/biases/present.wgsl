@group(0) @binding(5) var<storage, read> bias: array<f32>;

fn bias_of(channel: u32) -> f32 {
    return bias[channel];
}
