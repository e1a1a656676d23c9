// Where quantized rows go: to two buffers.

// [row][block][8], four quants each
@group(0) @binding(NEXT) var<storage, read_write> quants: array<u32>;
// [row][block]: the scale, and the sums of the two halves in 16 bits each
@group(0) @binding(NEXT) var<storage, read_write> scales: array<vec2<u32>>;

fn put_quants(at: u32, four: u32) {
    quants[at] = four;
}

fn put_scale(block: u32, scale: vec2<u32>) {
    scales[block] = scale;
}
