// Quantized weights.

@group(0) @binding(NEXT) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;

struct Block {
    quants: array<u32, 8>,
    scales: Scales,
}

fn load(panel: u32, block: u32, lane: u32) -> Block {
    return Block(quants(panel, block, lane), scales(panel, block, lane));
}
