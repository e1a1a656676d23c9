// The experts of a row and their shares, as `inferno_model::routing::route` has it: those with the highest probabilities, biases
// added, of the best groups; ties to the lowest ids, in ascending order. A thread has a row.

const SOFTMAX = 0u;
const SIGMOID = 1u;

struct Params {
    n_rows: u32,
    n_experts: u32,
    // Numbers from a row of the router to the next.
    stride: u32,
    n_chosen: u32,
    is_renormalized: u32,
    scale: f32,
    // From a logit to a probability.
    gating: u32,
    // Groups of experts, how many of them a row may use, and how many experts are a group's score.
    n_groups: u32,
    n_groups_used: u32,
    n_best: u32,
}

var<immediate> p: Params;

// (n_rows, n_chosen) each
@group(0) @binding(NEXT) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(NEXT) var<storage, read_write> shares: array<f32>;
@group(0) @binding(NEXT) var<storage, read> router: array<f32>;

// Of the row: its first logit, the largest, and the sum of the softmax.
var<private> start: u32;
var<private> best: f32;
var<private> total: f32;
// A bit for every group that may be used.
var<private> kept: array<u32, MOST_GROUPS / 32u>;

fn probability(expert: u32) -> f32 {
    let x = router[start + expert];
    if p.gating == SOFTMAX {
        return exp_(x - best) / total;
    }
    if p.gating == SIGMOID {
        return 1.0 / (1.0 + exp_(-x));
    }
    // ln(1 + e) without loss where e is small.
    let e = exp_(-abs(x));
    let series = e * fma(e, fma(e, 0.33333334, -0.5), 1.0);
    return sqrt(max(x, 0.0) + select(log(1.0 + e), series, e < 0.01));
}

// What experts are selected by: the logit itself where its order is that of probabilities.
fn score(expert: u32) -> f32 {
    if !IS_BIASED && p.gating == SOFTMAX && p.n_groups == 1u {
        return clamp(router[start + expert], LOWEST, -LOWEST);
    }
    return clamp(probability(expert) + bias_of(expert), LOWEST, -LOWEST);
}

// The sum of the best scores in a group.
fn group_score(group: u32) -> f32 {
    let size = p.n_experts / p.n_groups;
    var sum = 0.0;
    var last = 0.0;
    var last_id = 0u;
    for (var k = 0u; k < min(p.n_best, size); k++) {
        var next = 0.0;
        var next_id = 0u;
        var is_found = false;
        for (var i = group * size; i < (group + 1u) * size; i++) {
            let x = score(i);
            let is_left = k == 0u || x < last || (x == last && i > last_id);
            if is_left && (!is_found || x > next) {
                next = x;
                next_id = i;
                is_found = true;
            }
        }
        last = next;
        last_id = next_id;
        sum += next;
    }
    return sum;
}

// Sets the bits of the best groups.
fn keep_groups() {
    var last = 0.0;
    var last_id = 0u;
    for (var k = 0u; k < p.n_groups_used; k++) {
        var next = 0.0;
        var next_id = 0u;
        var is_found = false;
        for (var group = 0u; group < p.n_groups; group++) {
            let x = group_score(group);
            let is_left = k == 0u || x < last || (x == last && group > last_id);
            if is_left && (!is_found || x > next) {
                next = x;
                next_id = group;
                is_found = true;
            }
        }
        last = next;
        last_id = next_id;
        kept[next_id / 32u] |= 1u << (next_id % 32u);
    }
}

fn is_kept(expert: u32) -> bool {
    if p.n_groups == 1u {
        return true;
    }
    let group = expert / (p.n_experts / p.n_groups);
    return (kept[group / 32u] >> (group % 32u) & 1u) == 1u;
}

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = element(group, local);
    if row >= p.n_rows {
        return;
    }
    start = row * p.stride;
    let to = row * p.n_chosen;
    best = LOWEST;
    for (var i = 0u; i < p.n_experts; i++) {
        best = max(best, router[start + i]);
    }
    var sums: array<f32, 16>;
    for (var i = 0u; i < p.n_experts; i++) {
        sums[i % 16u] += exp_(router[start + i] - best);
    }
    for (var n = 8u; n > 0u; n /= 2u) {
        for (var i = 0u; i < n; i++) {
            sums[i] += sums[i + n];
        }
    }
    total = sums[0];
    if p.n_groups > 1u {
        keep_groups();
    }
    // The next best one, as often as it takes: a smaller logit, or the same one at a higher id.
    var last = 0.0;
    var last_id = 0u;
    for (var k = 0u; k < p.n_chosen; k++) {
        var next = 0.0;
        var next_id = 0u;
        var is_found = false;
        for (var i = 0u; i < p.n_experts; i++) {
            let x = score(i);
            let is_left = k == 0u || x < last || (x == last && i > last_id);
            if is_left && is_kept(i) && (!is_found || x > next) {
                next = x;
                next_id = i;
                is_found = true;
            }
        }
        last = next;
        last_id = next_id;
        // Into its place among those before.
        var j = k;
        while j > 0u && chosen[to + j - 1u] > next_id {
            chosen[to + j] = chosen[to + j - 1u];
            j--;
        }
        chosen[to + j] = next_id;
    }
    var sum = 0.0;
    for (var k = 0u; k < p.n_chosen; k++) {
        shares[to + k] = probability(chosen[to + k]);
        sum += shares[to + k];
    }
    if p.gating != SOFTMAX {
        sum += 1e-20;
    }
    for (var k = 0u; k < p.n_chosen; k++) {
        let share = shares[to + k] / select(1.0, sum, p.is_renormalized == 1u) * p.scale;
        shares[to + k] = share * scale_of(chosen[to + k]);
    }
}
