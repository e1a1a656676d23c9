// Three bits: two of them, and a plane with the third, [block][8 outputs] of 4 bytes.

const MAIN = 4u;
const EXTRA = 2u;

fn quants(panel: u32, block: u32, lane: u32) -> array<u32, 8> {
    var q = quarters(two_words(panel + MAIN * block, lane));
    let high = eighths(panel + MAIN * p.n_blocks + EXTRA * block, lane);
    for (var i = 0u; i < 8u; i++) {
        q[i] |= high[i] << 2u;
    }
    return q;
}
