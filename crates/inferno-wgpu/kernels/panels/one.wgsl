// A workgroup has a panel.

@compute @workgroup_size(THREADS)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    multiply_panel(group.y * 65535u + group.x, group.z, thread);
}
