@group(0) @binding(3) var<storage, read> up: array<vec4<f32>>;

fn gated(i: u32) -> vec4<f32> {
    return activated(gate[i], up[i]);
}
