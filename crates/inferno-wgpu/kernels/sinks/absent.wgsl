fn divide(total: vec4<f32>, largest: f32, sum: f32, head: u32) -> vec4<f32> {
    return total / sum;
}
