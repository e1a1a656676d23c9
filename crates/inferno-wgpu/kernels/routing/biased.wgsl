// (n_experts,), added to probabilities for the selection
@group(0) @binding(NEXT) var<storage, read> biases: array<f32>;

fn bias_of(expert: u32) -> f32 {
    return biases[expert];
}
