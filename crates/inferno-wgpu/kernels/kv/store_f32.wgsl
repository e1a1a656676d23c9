fn store(record: u32, vectors: u32, block: u32, x: array<f32, 32>) {
    var numbers = x;
    for (var i = 0u; i < 8u && 8u * block + i < vectors; i++) {
        let quad = vec4(numbers[4u * i], numbers[4u * i + 1u], numbers[4u * i + 2u], numbers[4u * i + 3u]);
        pool[record + 8u * block + i] = bitcast<vec4<u32>>(quad);
    }
}
