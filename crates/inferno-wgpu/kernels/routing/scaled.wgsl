// (n_experts,), of their outputs
@group(0) @binding(NEXT) var<storage, read> scales: array<f32>;

fn scale_of(expert: u32) -> f32 {
    return scales[expert];
}
