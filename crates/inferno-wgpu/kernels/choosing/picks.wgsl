// Rows of logits, and picks: how a token is chosen from one. A workgroup has a pick.

const PICK_WORDS = 10u;
// What is no number counts as less than all that are.
const NONE = 0xffffffffu;

struct Params {
    n_picks: u32,
    vocab_size: u32,
    // Numbers from a row of logits to the next.
    stride: u32,
    // Where picks are in `uploads`, PICK_WORDS each: where the token goes to, row, candidates, greedy or not, top_p, min_p,
    // temperature, number; top_p and number as shares of sums of integers.
    picks: u32,
    // Numbers from a token to the next in `out`.
    out_stride: u32,
}

var<immediate> p: Params;

@group(0) @binding(NEXT) var<storage, read_write> out: array<f32>;
@group(0) @binding(NEXT) var<storage, read> logits: array<f32>;
@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

struct Candidate {
    // An order of floats as integers.
    key: u32,
    token: u32,
}

var<workgroup> bests: array<Candidate, THREADS>;

// Larger logits have larger keys; NaN has 1, and nothing 0.
fn key_of(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    if (bits & 0x7fffffffu) > 0x7f800000u {
        return 1u;
    }
    // -0 is 0.
    let ordered = select(bits | 0x80000000u, ~bits, (bits & 0x80000000u) != 0u && bits != 0x80000000u);
    return select(ordered, 0x80000000u, bits == 0x80000000u);
}

fn logit_of(key: u32) -> f32 {
    return bitcast<f32>(select(~key, key & 0x7fffffffu, (key & 0x80000000u) != 0u));
}

fn is_better(a: Candidate, b: Candidate) -> bool {
    return a.key > b.key || (a.key == b.key && a.token < b.token);
}

// The best of all threads' candidates.
fn best_of_all(mine: Candidate, thread: u32) -> Candidate {
    workgroupBarrier();
    bests[thread] = mine;
    for (var n = THREADS / 2u; n > 0u; n /= 2u) {
        workgroupBarrier();
        if thread < n && is_better(bests[thread + n], bests[thread]) {
            bests[thread] = bests[thread + n];
        }
    }
    workgroupBarrier();
    return bests[0];
}
