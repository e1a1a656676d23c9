// A workgroup prepares the row of inputs, in its own memory, and goes through `panels_each` panels with it.

const QUADS = 8u * N_BLOCKS;

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    let first = (group.y * 65535u + group.x) * p.panels_each;
    prepare(thread, first == 0u);
    for (var i = 0u; i < p.panels_each; i++) {
        // The row is there, and the sums of the panel before have been read.
        workgroupBarrier();
        multiply_panel(first + i, 0u, thread);
    }
}
