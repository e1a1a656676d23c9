// Nothing, by a workgroup of one thread. The buffer is declared as written, so that each dispatch waits for the one before.

@group(0) @binding(0) var<storage, read_write> word: array<u32>;

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3<u32>) {
    // No dispatch has as many workgroups.
    if group.y == 0xffffffffu {
        word[0] = 1u;
    }
}
