// A matrix, a part of one that is a binding of its own, or several one after the other. A panel is 8 outputs; a block 32 inputs.
struct Params {
    // Of a row of inputs.
    n_blocks: u32,
    // Blocks that are summed up before they are added to the others: one of 32 slices.
    slice_blocks: u32,
    // Vectors of a panel.
    panel_len: u32,
    // Where panels begin, and how many there are: of one expert, where experts are chosen.
    first_panel: u32,
    n_panels: u32,
    // Of `out`, unless experts are chosen: then the first group of rows.
    n_rows: u32,
    first_group: u32,
    // Vectors from a row of inputs to the next one, where they are floats.
    input_stride: u32,
    // Of this part, and where its first one goes to in `out`, whose rows are `out_stride` apart.
    n_outputs: u32,
    first_output: u32,
    out_stride: u32,
    // 1 where outputs of a single matrix are added to what is in `out`.
    adds: u32,
    // Where experts are chosen, or heads have matrices: which of them are in this part, and how many of them have the same input,
    // or how many heads there are. Where there are several
    // matrices: where the second and the third one begin, their outputs, and how far rows of those are apart.
    first_expert: u32,
    n_experts: u32,
    n_chosen: u32,
    second_panel: u32,
    n_second_outputs: u32,
    second_stride: u32,
    third_panel: u32,
    n_third_outputs: u32,
    third_stride: u32,
    // Where the workgroup prepares its input: panels of each workgroup, the numbers of the row, what is added to the mean square,
    // what gates go through.
    panels_each: u32,
    width: u32,
    eps: f32,
    activation: Activation,
}

var<immediate> p: Params;
