// The outputs of every row of inputs.

// What stands for no row.
const NO_ROW = 0xffffffffu;

// Row `i` of those that are computed together.
fn row_of(together: u32, i: u32) -> u32 {
    let row = together * ROWS + i;
    return select(NO_ROW, row, row < p.n_rows);
}

// The first panel of the matrix that they are multiplied with, and whether it is here.
fn matrix_of(together: u32) -> u32 {
    return 0u;
}

fn is_here(together: u32) -> bool {
    return true;
}

fn input_of(row: u32) -> u32 {
    return row;
}
