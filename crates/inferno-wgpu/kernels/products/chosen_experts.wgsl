// Every row of outputs is an expert of row `i / n_chosen` of the inputs: those that `group.wgsl` put together.

// What stands for no row.
const NO_ROW = 0xffffffffu;

@group(0) @binding(NEXT) var<storage, read> order: array<u32>;
// Expert, start in `order`, and number.
@group(0) @binding(NEXT) var<storage, read> groups: array<u32>;

fn row_of(together: u32, i: u32) -> u32 {
    let group = 3u * (p.first_group + together);
    if i >= groups[group + 2u] {
        return NO_ROW;
    }
    return order[groups[group + 1u] + i];
}

fn matrix_of(together: u32) -> u32 {
    return (groups[3u * (p.first_group + together)] - p.first_expert) * p.n_panels;
}

fn is_here(together: u32) -> bool {
    let group = 3u * (p.first_group + together);
    let expert = groups[group];
    return groups[group + 2u] > 0u && expert >= p.first_expert && expert < p.first_expert + p.n_experts;
}

fn input_of(row: u32) -> u32 {
    return row / p.n_chosen;
}
