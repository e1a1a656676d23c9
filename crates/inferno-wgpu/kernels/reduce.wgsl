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

// What the numbers of an RMS norm are multiplied with, if that is the sum of `n` squares.
fn rms_scale(sum: f32, n: u32, eps: f32) -> f32 {
    return 1.0 / sqrt(sum / f32(n) + eps);
}
