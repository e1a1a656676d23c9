// Reads a buffer from one end to the other: neighbouring threads read neighbouring vectors. Constants before this: THREADS,
// LOADS (vectors that a thread asks for before it waits for the first one) and STEPS (how often it does). `load` is a
// function with that many loads.
//
// In flight on a multiprocessor of 2,048 threads: 32 KiB for every load of a thread, if registers allow all threads. By
// Little's law an H200 (132 multiprocessors, 4.8 TB/s, about 0.8 µs from a load to its data) needs 29 KiB, an RTX 4090 (128,
// 1.0 TB/s) 6 KiB of its 1,536 threads, an M3 Pro (18 cores, 150 GB/s) 7 KiB: four loads leave a margin of four.

@group(0) @binding(0) var<storage, read> words: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> found: array<u32>;

// In no word of the buffer: the host knows it, the compiler does not.
const ABSENT = 1u;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) local: u32) {
    let first = group.x * (THREADS * LOADS * STEPS) + local;
    var bits = vec4(0u);
    for (var step = 0u; step < STEPS; step++) {
        bits |= load(first + step * (THREADS * LOADS));
    }
    if any(bits == vec4(ABSENT)) {
        found[0] = 1u;
    }
}
