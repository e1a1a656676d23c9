// Nibbles that index a table of 16 bytes, BOOK.

const MAIN = 8u;
const EXTRA = 0u;

fn entries(indices: u32) -> u32 {
    var word = 0u;
    for (var i = 0u; i < 32u; i += 8u) {
        let index = (indices >> i) & 15u;
        let byte = (BOOK[index / 4u] >> (8u * (index % 4u))) & 0xffu;
        word |= byte << i;
    }
    return word;
}

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    var q = halves(weights[panel + MAIN * block + lane]);
    for (var i = 0u; i < 8u; i++) {
        q[i] = entries(q[i]);
    }
    return q;
}
