// Puts the rows that chose the same expert together, up to ROWS in a group, so that an expert's weights are read once for all of
// them. One workgroup. Which rows come together in which order has no part in what they get.

struct Params {
    // Choices of all rows.
    n: u32,
    n_experts: u32,
    // Groups there is room for: at most one for each expert, and one for every ROWS choices.
    n_groups: u32,
}

var<immediate> p: Params;

// The choices, expert by expert.
@group(0) @binding(NEXT) var<storage, read_write> order: array<u32>;
// Of each group: its expert, where it begins in `order`, how many it has.
@group(0) @binding(NEXT) var<storage, read_write> groups: array<u32>;
// (n_rows, n_chosen)
@group(0) @binding(NEXT) var<storage, read> chosen: array<u32>;

// How many rows chose each expert; then where the next one of them goes to.
var<workgroup> places: array<atomic<u32>, MOST_EXPERTS>;

@compute @workgroup_size(GROUP)
fn main(@builtin(local_invocation_index) thread: u32) {
    for (var i = thread; i < p.n_experts; i += GROUP) {
        atomicStore(&places[i], 0u);
    }
    workgroupBarrier();
    for (var i = thread; i < p.n; i += GROUP) {
        atomicAdd(&places[chosen[i]], 1u);
    }
    workgroupBarrier();
    if thread == 0u {
        var start = 0u;
        var group = 0u;
        for (var expert = 0u; expert < p.n_experts; expert++) {
            let n = atomicLoad(&places[expert]);
            atomicStore(&places[expert], start);
            for (var done = 0u; done < n; done += ROWS) {
                groups[3u * group] = expert;
                groups[3u * group + 1u] = start + done;
                groups[3u * group + 2u] = min(ROWS, n - done);
                group++;
            }
            start += n;
        }
        for (; group < p.n_groups; group++) {
            groups[3u * group + 2u] = 0u;
        }
    }
    workgroupBarrier();
    for (var i = thread; i < p.n; i += GROUP) {
        order[atomicAdd(&places[chosen[i]], 1u)] = i;
    }
}
