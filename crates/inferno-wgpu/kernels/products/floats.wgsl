// Weights as floats.

@group(0) @binding(NEXT) var<storage, read> weights: array<vec4<u32>>;
@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;

struct Block {
    quads: array<vec4<f32>, 8>,
}

fn load(panel: u32, block: u32, lane: u32) -> Block {
    var loaded: Block;
    for (var i = 0u; i < 8u; i++) {
        loaded.quads[i] = weight_quad(panel, block, i, lane);
    }
    return loaded;
}

// One `fma` after the other, in the order of inputs.
fn add(sum: f32, w: Block, row: u32, block: u32) -> f32 {
    var acc = sum;
    let at = row * p.input_stride + 8u * block;
    for (var i = 0u; i < 8u; i++) {
        let x = inputs[at + i];
        let w = w.quads[i];
        acc = fma(w.x, x.x, acc);
        acc = fma(w.y, x.y, acc);
        acc = fma(w.z, x.z, acc);
        acc = fma(w.w, x.w, acc);
    }
    return acc;
}
