// Rows of inputs that are quantized: `rows/quantized.wgsl`.

// [row][block][2] of 16 bytes
@group(0) @binding(NEXT) var<storage, read> inputs: array<vec4<u32>>;
// [row][block]: the scale, and the sums of the two halves in 16 bits each
@group(0) @binding(NEXT) var<storage, read> input_scales: array<vec2<u32>>;
