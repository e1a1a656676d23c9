// Six bits: nibbles, and a plane with the upper two, [block][8 outputs] of 8 bytes.

const MAIN = 8u;
const EXTRA = 4u;

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    var q = halves(weights[panel + MAIN * block + lane]);
    let high = quarters(two_words(panel + MAIN * p.n_blocks + EXTRA * block, lane));
    for (var i = 0u; i < 8u; i++) {
        q[i] |= high[i] << 4u;
    }
    return q;
}
