// Every row of outputs is one head's of a row: row `i × n_heads + head`, as are the inputs. Those of one head are computed together.

// What stands for no row.
const NO_ROW = 0xffffffffu;

fn head_of(together: u32) -> u32 {
    return (p.first_group + together) % p.n_chosen;
}

fn row_of(together: u32, i: u32) -> u32 {
    let row = (p.first_group + together) / p.n_chosen * ROWS + i;
    return select(NO_ROW, row * p.n_chosen + head_of(together), row < p.n_rows);
}

fn matrix_of(together: u32) -> u32 {
    return (head_of(together) - p.first_expert) * p.n_panels;
}

fn is_here(together: u32) -> bool {
    let head = head_of(together);
    return head >= p.first_expert && head < p.first_expert + p.n_experts;
}

fn input_of(row: u32) -> u32 {
    return row;
}
