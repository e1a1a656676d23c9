// The outputs of every row of inputs.

// The first panel of the matrix that a row is multiplied with, and whether it is here.
fn matrix_of(row: u32) -> u32 {
    return 0u;
}

fn is_here(row: u32) -> bool {
    return true;
}

fn input_of(row: u32) -> u32 {
    return row;
}
