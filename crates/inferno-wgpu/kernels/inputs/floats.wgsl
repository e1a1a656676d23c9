// Rows of inputs.

// [row][input / 4]
@group(0) @binding(NEXT) var<storage, read> inputs: array<vec4<f32>>;
