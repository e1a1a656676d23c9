fn store(record: u32, vectors: u32, block: u32, x: array<f32, 32>) {
    var numbers = x;
    for (var i = 0u; i < 4u && 4u * block + i < vectors; i++) {
        var words: vec4<u32>;
        for (var j = 0u; j < 4u; j++) {
            words[j] = narrow(numbers[8u * i + 2u * j]) | (narrow(numbers[8u * i + 2u * j + 1u]) << 16u);
        }
        pool[record + 4u * block + i] = words;
    }
}
