// As `inferno_model::backend::quantize_kv` has it. Other threads have the other scales of the same vector, so that it is written
// by its words.
fn store(record: u32, vectors: u32, block: u32, x: array<f32, 32>) {
    var numbers = x;
    var amax = 0.0;
    var is_whole = true;
    for (var i = 0u; i < 32u; i++) {
        amax = max(amax, abs(numbers[i]));
        is_whole = is_whole && is_finite(numbers[i]);
    }
    // Below this 127 / amax would overflow.
    let is_zero = amax < 3.7322e-37 || !is_whole;
    let inverse = select(127.0 / amax, 0.0, is_zero);
    for (var i = 0u; i < 2u && 2u * block + i < vectors; i++) {
        var words: vec4<u32>;
        for (var j = 0u; j < 4u; j++) {
            for (var k = 0u; k < 4u; k++) {
                let q = u32(i32(round(numbers[16u * i + 4u * j + k] * inverse))) & 0xffu;
                words[j] |= q << (8u * k);
            }
        }
        pool[record + 2u * block + i] = words;
    }
    let scale = select(from_f16(to_f16(amax / 127.0)), 0.0, is_zero);
    pool[record + vectors + block / 4u][block % 4u] = bitcast<u32>(select(nan(), scale, is_whole));
}
