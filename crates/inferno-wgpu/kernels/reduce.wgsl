// SUMMED numbers, added up as a tree that is the same on every device, with however many THREADS.

var<workgroup> parts: array<f32, SUMMED>;

fn sum_of_parts(thread: u32) -> f32 {
    for (var n = SUMMED / 2u; n > 0u; n /= 2u) {
        workgroupBarrier();
        for (var i = thread; i < n; i += THREADS) {
            parts[i] += parts[i + n];
        }
    }
    workgroupBarrier();
    return parts[0];
}

// A number of every thread, where there are SUMMED of them.
fn sum_of_all(mine: f32, thread: u32) -> f32 {
    parts[thread] = mine;
    return sum_of_parts(thread);
}

fn add_squares(sum: f32, v: vec4<f32>) -> f32 {
    return fma(v.x, v.x, fma(v.y, v.y, fma(v.z, v.z, fma(v.w, v.w, sum))));
}

// What the numbers of an RMS norm are multiplied with, if that is the sum of `n` squares.
fn rms_scale(sum: f32, n: u32, eps: f32) -> f32 {
    return 1.0 / sqrt(sum / f32(n) + eps);
}
