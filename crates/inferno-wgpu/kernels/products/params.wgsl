// A matrix, or a part of one that is a binding of its own. A panel is 8 outputs; a block 32 inputs.
struct Params {
    // Of a row of inputs.
    n_blocks: u32,
    // Blocks that are summed up before they are added to the others: what one thread of `matmul_few` has.
    slice_blocks: u32,
    // Vectors of a panel.
    panel_len: u32,
    // Rows of `out`, unless experts are chosen: then the first group of rows.
    n_rows: u32,
    first_group: u32,
    // Of this part, and where its first one goes to in `out`, whose rows are `out_stride` apart.
    n_outputs: u32,
    first_output: u32,
    out_stride: u32,
    // Vectors from a row of inputs to the next one, where they are floats.
    input_stride: u32,
    // Where experts are chosen: panels of one, which of them are in this part, and how many of them have the same input.
    n_panels: u32,
    first_expert: u32,
    n_experts: u32,
    n_chosen: u32,
}

var<immediate> p: Params;
