// Row i of the outputs is expert `chosen[i]` of row `i / n_chosen` of the inputs.

// The experts of every row, ascending.
@group(0) @binding(CHOSEN_BINDING) var<storage, read> chosen: array<u32>;

fn matrix_of(row: u32) -> u32 {
    return (chosen[row] - p.first_expert) * p.n_panels;
}

fn is_here(row: u32) -> bool {
    return chosen[row] >= p.first_expert && chosen[row] < p.first_expert + p.n_experts;
}

fn input_of(row: u32) -> u32 {
    return row / p.n_chosen;
}
