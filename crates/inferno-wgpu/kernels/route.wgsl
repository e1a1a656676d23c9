// Which experts a row goes to, and with what share, as `inferno_model::routing::route` has it: those with the largest share of
// the softmax, ties to the lowest ids, in ascending order. A thread has a row.

struct Params {
    n_rows: u32,
    n_experts: u32,
    // Numbers from a row of the router to the next.
    stride: u32,
    n_chosen: u32,
    is_renormalized: u32,
    scale: f32,
}

var<immediate> p: Params;

// (n_rows, n_chosen) each
@group(0) @binding(0) var<storage, read_write> chosen: array<u32>;
@group(0) @binding(1) var<storage, read_write> shares: array<f32>;
@group(0) @binding(2) var<storage, read> router: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let row = element(group, local);
    if row >= p.n_rows {
        return;
    }
    let start = row * p.stride;
    let to = row * p.n_chosen;
    var best = LOWEST;
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
    // The next best one, as often as it takes: a smaller logit, or the same one at a higher id.
    var last = 0.0;
    var last_id = 0u;
    for (var k = 0u; k < p.n_chosen; k++) {
        var next = 0.0;
        var next_id = 0u;
        var is_found = false;
        for (var i = 0u; i < p.n_experts; i++) {
            let x = clamp(router[start + i], LOWEST, -LOWEST);
            let is_left = k == 0u || x < last || (x == last && i > last_id);
            if is_left && (!is_found || x > next) {
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
        shares[to + k] = exp_(router[start + chosen[to + k]] - best) / sums[0];
        sum += shares[to + k];
    }
    for (var k = 0u; k < p.n_chosen; k++) {
        shares[to + k] = shares[to + k] / select(1.0, sum, p.is_renormalized == 1u) * p.scale;
    }
}
