// Chooses a token from a row of logits, as `inferno_model::sample::Pick` has it, from its best few candidates: first the best of each of
// 1024 chunks (chunk c has every 1024th logit from c on), then the best of all, as often as there are candidates; the chunk it
// came from looks for its next best one. Then one thread filters and draws.

const CHUNKS = 1024u;

var<workgroup> chunks: array<Candidate, CHUNKS>;
var<workgroup> candidates: array<Candidate, 64>;

fn draw(n_candidates: u32, at: u32) -> u32 {
    let best = logit_of(candidates[0].key);
    if uploads[at + 3u] == 1u {
        return candidates[0].token;
    }
    var n = n_candidates;
    let top_p = bitcast<f32>(uploads[at + 4u]);
    if top_p < 1.0 {
        var total = 0.0;
        for (var i = 0u; i < n_candidates; i++) {
            total += weight(candidates[i].key, best, 1.0);
        }
        var sum = 0.0;
        for (var i = 0u; i < n_candidates; i++) {
            sum += weight(candidates[i].key, best, 1.0);
            if sum >= top_p * total {
                n = i + 1u;
                break;
            }
        }
    }
    let min_p = bitcast<f32>(uploads[at + 5u]);
    if min_p > 0.0 {
        var kept = 0u;
        while kept < n && (candidates[kept].key == candidates[0].key || weight(candidates[kept].key, best, 1.0) >= min_p) {
            kept++;
        }
        n = kept;
    }
    let temperature = bitcast<f32>(uploads[at + 6u]);
    var total = 0.0;
    var last = 0u;
    for (var i = 0u; i < n; i++) {
        let w = weight(candidates[i].key, best, temperature);
        total += w;
        last = select(last, i, w > 0.0);
    }
    var left = bitcast<f32>(uploads[at + 7u]) * total;
    for (var i = 0u; i < n; i++) {
        left -= weight(candidates[i].key, best, temperature);
        if left < 0.0 {
            return candidates[i].token;
        }
    }
    return candidates[last].token;
}

fn weight(key: u32, best: f32, temperature: f32) -> f32 {
    // What is no number counts as -∞.
    if key <= key_of(-3.4e38) {
        return 0.0;
    }
    return exp_((logit_of(key) - best) / temperature);
}

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let pick = group.y * 65535u + group.x;
    if pick >= p.n_picks {
        return;
    }
    let at = p.picks + PICK_WORDS * pick;
    let row = uploads[at + 1u] * p.stride;
    let n_candidates = min(uploads[at + 2u], p.vocab_size);

    for (var chunk = thread; chunk < CHUNKS; chunk += THREADS) {
        var best = Candidate(0u, NONE);
        for (var token = chunk; token < p.vocab_size; token += CHUNKS) {
            let other = Candidate(key_of(logits[row + token]), token);
            if is_better(other, best) {
                best = other;
            }
        }
        chunks[chunk] = best;
    }
    for (var i = 0u; i < n_candidates; i++) {
        var mine = chunks[thread];
        for (var chunk = thread + THREADS; chunk < CHUNKS; chunk += THREADS) {
            if is_better(chunks[chunk], mine) {
                mine = chunks[chunk];
            }
        }
        let best = best_of_all(mine, thread);
        if thread == 0u {
            candidates[i] = best;
        }
        // The next best one of its chunk.
        let chunk = best.token % CHUNKS;
        var next = Candidate(0u, NONE);
        for (var token = chunk + CHUNKS * thread; token < p.vocab_size; token += CHUNKS * THREADS) {
            let other = Candidate(key_of(logits[row + token]), token);
            if is_better(best, other) && is_better(other, next) {
                next = other;
            }
        }
        let after = best_of_all(next, thread);
        if thread == 0u {
            chunks[chunk] = after;
        }
        workgroupBarrier();
    }
    if thread == 0u {
        var chosen = -1.0;
        // Nothing is chosen where one is +∞, or none is a finite number.
        if is_finite(logit_of(candidates[0].key)) {
            chosen = f32(draw(n_candidates, at));
        }
        out[uploads[at] * p.out_stride] = chosen;
    }
}
