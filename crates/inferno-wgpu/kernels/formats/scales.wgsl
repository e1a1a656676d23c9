// What is said of a block besides its quants.
struct Scales {
    // Of weights 0..16 and 16..32.
    scale: vec2<f32>,
    // Likewise, to be subtracted.
    minimum: vec2<f32>,
}

// Where a panel's scales begin: behind its quants.
fn scales_of(panel: u32) -> u32 {
    return panel + (MAIN + EXTRA) * p.n_blocks;
}

// 16 bits of a block's output, of which a vector holds those of 8.
fn half_word(panel: u32, block: u32, lane: u32) -> u32 {
    let word = weights[scales_of(panel) + block][lane / 2u];
    return (word >> (16u * (lane & 1u))) & 0xffffu;
}

// A word of an output in a plane with one for every block of `len` blocks, behind `before` vectors of scales.
fn word(panel: u32, before: u32, unit: u32, lane: u32) -> u32 {
    return weights[scales_of(panel) + before + 2u * unit + lane / 4u][lane % 4u];
}
