// Chooses a token from a whole row of logits, as `inferno_model::sample::Pick` has it: the first one, best first, at which the
// running sum of weights exceeds a limit. Nothing is sorted: weights are integers, summed up by digits of their rank, and the
// limit is in the bucket of one digit, whose tokens are summed up by the next one. First so for top_p, then for the draw.

// Digits of 11 bits: three of how far a token is behind the best one, two of its id.
const N_DIGITS = 5u;
const BUCKETS = 2048u;
const EACH = BUCKETS / THREADS;
const GROUPS = 16u;

// Sums in 64 bits, lower half first.
var<workgroup> lows: array<atomic<u32>, BUCKETS>;
var<workgroup> highs: array<atomic<u32>, BUCKETS>;
var<workgroup> thread_sums: array<vec2<u32>, THREADS>;
var<workgroup> group_sums: array<vec2<u32>, GROUPS>;
// What the next digit goes by: the bucket of the last one, and by how much all before it are below the limit.
var<workgroup> bucket: u32;
var<workgroup> limit: vec2<u32>;

// Which tokens count, and how much.
struct Weighing {
    row: u32,
    best: f32,
    temperature: f32,
    min_p: f32,
    // The last rank that counts.
    last: vec2<u32>,
}

// How far behind the best one, and the id; the weight, 0 if it counts nothing.
struct Weighed {
    rank: vec2<u32>,
    weight: u32,
}

fn plus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    let low = a.x + b.x;
    return vec2(low, a.y + b.y + select(0u, 1u, low < a.x));
}

fn minus(a: vec2<u32>, b: vec2<u32>) -> vec2<u32> {
    return vec2(a.x - b.x, a.y - b.y - select(0u, 1u, a.x < b.x));
}

fn exceeds(a: vec2<u32>, b: vec2<u32>) -> bool {
    return a.y > b.y || (a.y == b.y && a.x > b.x);
}

fn product(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let first = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let second = (a & 0xffffu) * (b >> 16u) + (first & 0xffffu);
    return vec2((second << 16u) | (low & 0xffffu), (a >> 16u) * (b >> 16u) + (first >> 16u) + (second >> 16u));
}

// How far a token is behind the best one: in temperatures, and in units of 2^-27 of them.
fn behind(w: Weighing, logit: f32, temperature: f32) -> f32 {
    return (w.best - logit) / temperature;
}

fn units(behind: f32) -> u32 {
    return u32(behind * 134217728.0);
}

fn weigh(w: Weighing, token: u32) -> Weighed {
    let logit = logits[w.row + token];
    // What is no number, and -∞, count nothing; what is so far behind neither.
    if !is_finite(logit) {
        return Weighed();
    }
    let far = behind(w, logit, w.temperature);
    if !(far < 32.0) {
        return Weighed();
    }
    let plain = behind(w, logit, 1.0);
    if w.last.y != NONE {
        if !(plain < 32.0) || units(plain) > w.last.x || (units(plain) == w.last.x && token > w.last.y) {
            return Weighed();
        }
    }
    if w.min_p > 0.0 && logit != w.best && exp_(logit - w.best) < w.min_p {
        return Weighed();
    }
    return Weighed(vec2(units(far), token), u32(round(exp_(-far) * 2147483648.0)));
}

fn digit(rank: vec2<u32>, i: u32) -> u32 {
    switch i {
        case 0u: { return rank.x >> 21u; }
        case 1u: { return (rank.x >> 10u) & 2047u; }
        case 2u: { return rank.x & 1023u; }
        case 3u: { return rank.y >> 11u; }
        default: { return rank.y & 2047u; }
    }
}

// With that digit.
fn with_digit(rank: vec2<u32>, i: u32, value: u32) -> vec2<u32> {
    switch i {
        case 0u: { return vec2(value << 21u, 0u); }
        case 1u: { return vec2(rank.x | (value << 10u), 0u); }
        case 2u: { return vec2(rank.x | value, 0u); }
        case 3u: { return vec2(rank.x, value << 11u); }
        default: { return vec2(rank.x, rank.y | value); }
    }
}

// Are the digits before the `i`th equal?
fn agree(a: vec2<u32>, b: vec2<u32>, i: u32) -> bool {
    switch i {
        case 0u: { return true; }
        case 1u: { return (a.x >> 21u) == (b.x >> 21u); }
        case 2u: { return (a.x >> 10u) == (b.x >> 10u); }
        case 3u: { return a.x == b.x; }
        default: { return a.x == b.x && (a.y >> 11u) == (b.y >> 11u); }
    }
}

fn bucket_sum(i: u32) -> vec2<u32> {
    return vec2(atomicLoad(&lows[i]), atomicLoad(&highs[i]));
}

// The rank of the first token at which the sum exceeds that share of the total; or at which it `reaches` it.
fn crossing(w: Weighing, share: u32, reaches: bool, thread: u32) -> vec2<u32> {
    var rank = vec2<u32>();
    for (var i = 0u; i < N_DIGITS; i++) {
        workgroupBarrier();
        for (var j = thread; j < BUCKETS; j += THREADS) {
            atomicStore(&lows[j], 0u);
            atomicStore(&highs[j], 0u);
        }
        workgroupBarrier();
        for (var token = thread; token < p.vocab_size; token += THREADS) {
            let weighed = weigh(w, token);
            if weighed.weight > 0u && agree(weighed.rank, rank, i) {
                let at = digit(weighed.rank, i);
                let before = atomicAdd(&lows[at], weighed.weight);
                if before > 0xffffffffu - weighed.weight {
                    atomicAdd(&highs[at], 1u);
                }
            }
        }
        workgroupBarrier();
        var sum = vec2<u32>();
        for (var j = EACH * thread; j < EACH * (thread + 1u); j++) {
            sum = plus(sum, bucket_sum(j));
        }
        thread_sums[thread] = sum;
        workgroupBarrier();
        if thread < GROUPS {
            var sum = vec2<u32>();
            for (var j = 0u; j < THREADS / GROUPS; j++) {
                sum = plus(sum, thread_sums[thread * (THREADS / GROUPS) + j]);
            }
            group_sums[thread] = sum;
        }
        workgroupBarrier();
        if thread == 0u {
            if i == 0u {
                var total = vec2<u32>();
                for (var j = 0u; j < GROUPS; j++) {
                    total = plus(total, group_sums[j]);
                }
                var part = plus(product(total.y, share), vec2(product(total.x, share).y, 0u));
                if reaches && exceeds(part, vec2<u32>()) {
                    part = minus(part, vec2(1u, 0u));
                }
                limit = part;
            }
            // The sum exceeds the limit somewhere; what is before that is taken off.
            var left = limit;
            var j = 0u;
            while j < GROUPS - 1u && !exceeds(group_sums[j], left) {
                left = minus(left, group_sums[j]);
                j++;
            }
            j *= THREADS / GROUPS;
            while j < THREADS - 1u && !exceeds(thread_sums[j], left) {
                left = minus(left, thread_sums[j]);
                j++;
            }
            j *= EACH;
            while j < BUCKETS - 1u && !exceeds(bucket_sum(j), left) {
                left = minus(left, bucket_sum(j));
                j++;
            }
            limit = left;
            bucket = j;
        }
        workgroupBarrier();
        rank = with_digit(rank, i, bucket);
    }
    return rank;
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let pick = group.y * 65535u + group.x;
    if pick >= p.n_picks {
        return;
    }
    let at = p.picks + PICK_WORDS * pick;
    let row = uploads[at + 1u] * p.stride;
    var mine = Candidate(0u, NONE);
    for (var token = thread; token < p.vocab_size; token += THREADS) {
        let other = Candidate(key_of(logits[row + token]), token);
        if is_better(other, mine) {
            mine = other;
        }
    }
    let best = best_of_all(mine, thread);
    // Nothing is chosen where one is +∞, or none is a finite number.
    var chosen = -1.0;
    if is_finite(logit_of(best.key)) {
        var w = Weighing(row, logit_of(best.key), 1.0, 0.0, vec2(0u, NONE));
        if bitcast<f32>(uploads[at + 4u]) < 1.0 {
            w.last = crossing(w, uploads[at + 8u], true, thread);
        }
        w.min_p = bitcast<f32>(uploads[at + 5u]);
        w.temperature = bitcast<f32>(uploads[at + 6u]);
        chosen = f32(crossing(w, uploads[at + 9u], false, thread).y);
    }
    if thread == 0u {
        out[uploads[at] * p.out_stride] = chosen;
    }
}
