@group(0) @binding(NEXT) var<storage, read> up: array<vec4<f32>>;

fn gated(i: u32) -> vec4<f32> {
    return activated(gate[i], up[i]);
}
