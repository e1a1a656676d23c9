// A number of every thread, added up as a tree that is the same on every device.

var<workgroup> parts: array<f32, THREADS>;

fn sum_of_all(mine: f32, thread: u32) -> f32 {
    parts[thread] = mine;
    for (var n = THREADS / 2u; n > 0u; n /= 2u) {
        workgroupBarrier();
        if thread < n {
            parts[thread] += parts[thread + n];
        }
    }
    workgroupBarrier();
    return parts[0];
}
