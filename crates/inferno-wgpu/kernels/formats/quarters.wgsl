// The 8 bytes of an output where four vectors hold those of 8.
fn two_words(at: u32, lane: u32) -> vec2<u32> {
    let v = weights[at + lane / 2u];
    return select(v.xy, v.zw, (lane & 1u) == 1u);
}

fn quarters(v: vec2<u32>) -> array<u32, 8> {
    let mask = vec4(0x03030303u);
    let shifts = vec4(0u, 2u, 4u, 6u);
    let a = (v.xxxx >> shifts) & mask;
    let b = (v.yyyy >> shifts) & mask;
    return array<u32, 8>(a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w);
}
