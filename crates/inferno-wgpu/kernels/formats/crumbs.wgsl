// Weights as two bits: [block][8 outputs] of 8 bytes; bits 2j and 2j + 1 of byte b of word i are weight 16i + 4j + b.

const MAIN = 4u;
const EXTRA = 0u;

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    return quarters(two_words(panel + MAIN * block, lane));
}
