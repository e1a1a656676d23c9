fn halves(v: vec4<u32>) -> array<u32, 8> {
    let low = v & vec4(0x0f0f0f0fu);
    let high = (v >> vec4(4u)) & vec4(0x0f0f0f0fu);
    return array<u32, 8>(low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w);
}
