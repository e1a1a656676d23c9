// Quantized weights, and inputs quantized by `quantize.wgsl`.

@group(0) @binding(NEXT) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
// [row][block][2] of 16 bytes
@group(0) @binding(NEXT) var<storage, read> inputs: array<vec4<u32>>;
// [row][block]: the scale, and the sums of the two halves in 16 bits each
@group(0) @binding(NEXT) var<storage, read> input_scales: array<vec2<u32>>;

struct Block {
    quants: array<u32, 8>,
    scales: Scales,
}

fn load(panel: u32, block: u32, lane: u32) -> Block {
    return Block(quants(panel, block, lane), scales(panel, block, lane));
}
