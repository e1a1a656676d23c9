// One bit of every weight: bit i of byte b of the output's word is weight 4i + b.
fn eighths(at: u32, lane: u32) -> array<u32, 8> {
    let word = weights[at + lane / 4u][lane % 4u];
    let mask = vec4(0x01010101u);
    let a = (vec4(word) >> vec4(0u, 1u, 2u, 3u)) & mask;
    let b = (vec4(word) >> vec4(4u, 5u, 6u, 7u)) & mask;
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
