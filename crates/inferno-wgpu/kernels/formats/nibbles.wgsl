// Weights as nibbles: [block][8 outputs] of 16 bytes; weight i is the lower half of byte i, weight 16 + i the upper.

const MAIN = 8u;
const EXTRA = 0u;

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    return halves(weights[panel + MAIN * block + lane]);
}
