@group(0) @binding(NEXT) var<storage, read> uploads: array<u32>;

fn token_of(row: u32) -> u32 {
    return uploads[p.tokens + row];
}
