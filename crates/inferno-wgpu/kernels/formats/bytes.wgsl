// Weights as bytes: [block][half of it][8 outputs] of 16 bytes.

const MAIN = 16u;
const EXTRA = 0u;

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    let a = weights[panel + MAIN * block + lane];
    let b = weights[panel + MAIN * block + 8u + lane];
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
