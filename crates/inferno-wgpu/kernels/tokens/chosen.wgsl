// Rows of one number, filled up to a block; -1 where none was chosen.
@group(0) @binding(NEXT) var<storage, read> chosen: array<f32>;

fn token_of(row: u32) -> u32 {
    return u32(max(chosen[(p.tokens + row) * 32u], 0.0));
}
