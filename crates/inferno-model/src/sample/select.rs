//! The best of many logits, and sums over them: one pass each, in loops that vectorise without intrinsics.
//!
//! A logit that is NaN counts as -∞ and -0 as 0 everywhere; ties go to the lowest id.

/// Elements of a running maximum or sum: enough independent chains to hide the latency of an operation.
const LANES: usize = 16;

/// The best token; ties go to the lowest id, NaN never wins.
pub fn argmax(logits: &[f32]) -> u32 {
    const CHUNK: usize = 256;
    let mut best = f32::NEG_INFINITY;
    let mut start = 0;
    let (chunks, rest) = logits.as_chunks::<CHUNK>();
    for (i, chunk) in chunks.iter().enumerate() {
        let max = max_of(chunk);
        if max > best {
            (best, start) = (max, i * CHUNK);
        }
    }
    let max = max_of(rest);
    if max > best {
        (best, start) = (max, chunks.len() * CHUNK);
    }
    // All -∞: the first of all.
    let within = logits.iter().skip(start).take(CHUNK).position(|&x| x == best && best > f32::NEG_INFINITY);
    (start + within.unwrap_or(0)) as u32
}

/// The `k` best (token, logit), best first, ties by id; NaN counts as -∞, and -0 as 0.
pub fn top_k(logits: &[f32], k: usize, out: &mut Vec<(u32, f32)>) {
    out.clear();
    if k == 0 {
        return;
    }
    // Chunks so long that reading the maxima again costs little, and so many that k of them are few.
    match logits.len() / k {
        256.. => from_best_chunks::<64>(logits, k, out),
        64.. => from_best_chunks::<16>(logits, k, out),
        _ => out.extend((0u32..).zip(logits).map(|(token, &l)| (token, number(l)))),
    }
    keep_best(k, out);
    out.sort_unstable_by_key(rank);
}

/// Tokens whose logit is at least `limit`, in no order.
pub(super) fn at_least(logits: &[f32], limit: f32, out: &mut Vec<(u32, f32)>) {
    const CHUNK: usize = 64;
    out.clear();
    for (i, chunk) in logits.chunks(CHUNK).enumerate() {
        if max_of(chunk) >= limit {
            push_at_least(chunk, i * CHUNK, limit, out);
        }
    }
}

/// Sorts candidates by this: by logit, descending, then by id. One number, so that comparisons do not branch. Logits are
/// [`number`]s.
pub(super) fn rank(candidate: &(u32, f32)) -> u64 {
    let bits = candidate.1.to_bits();
    // Negative numbers ascend as their bits descend.
    let descending = if bits >> 31 == 1 { bits } else { !bits & 0x7FFF_FFFF };
    u64::from(descending) << 32 | u64::from(candidate.0)
}

/// Candidates among which the `k` best are: those of the k chunks with the best maxima.
///
/// A token of any other chunk has k tokens before it, the best ones of those chunks: each is larger, or as large with
/// a lower id.
fn from_best_chunks<const CHUNK: usize>(logits: &[f32], k: usize, out: &mut Vec<(u32, f32)>) {
    let (chunks, rest) = logits.as_chunks::<CHUNK>();
    out.extend((0u32..).zip(chunks).map(|(i, chunk)| (i, max_of(chunk) + 0.0)));
    if !rest.is_empty() {
        out.push((chunks.len() as u32, max_of(rest) + 0.0));
    }
    keep_best(k, out);
    let limit = out.iter().fold(f32::INFINITY, |m, c| m.min(c.1));
    for i in 0..k {
        let start = out[i].0 as usize * CHUNK;
        let end = logits.len().min(start + CHUNK);
        push_at_least(&logits[start..end], start, limit, out);
    }
    out.drain(..k);
}

fn push_at_least(logits: &[f32], first_token: usize, limit: f32, out: &mut Vec<(u32, f32)>) {
    let tokens = first_token as u32..;
    out.extend(tokens.zip(logits).map(|(t, &l)| (t, number(l))).filter(|c| c.1 >= limit));
}

fn keep_best(k: usize, out: &mut Vec<(u32, f32)>) {
    if k < out.len() {
        out.select_nth_unstable_by_key(k - 1, rank);
        out.truncate(k);
    }
}

fn number(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit + 0.0 }
}

/// The largest; NaN is passed over.
fn max_of(x: &[f32]) -> f32 {
    // Not `f32::max`: this is one instruction.
    let max = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for (m, &x) in lanes.iter_mut().zip(chunk) {
            *m = max(*m, x);
        }
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = max(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    rest.iter().fold(lanes[0], |m, &x| max(m, x))
}

/// `ln Σ e^logit`, without overflow, within 1e-6 of itself or of 1.
pub fn logsumexp(logits: &[f32]) -> f32 {
    let best = logits.chunks(4096).fold(f32::NEG_INFINITY, |m, chunk| m.max(max_of(chunk)));
    if !best.is_finite() {
        return best;
    }
    (f64::from(best) + libm::log(sum_of(logits, |x| quick_exp(x - best)))) as f32
}

/// `Σ f(logit)` of terms that are not negative, within 2^-21 of itself: f32 for eight terms, then f64.
pub(super) fn sum_of(logits: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    let (chunks, rest) = logits.as_chunks::<{ 8 * LANES }>();
    let mut sums = [0.0f64; LANES];
    for chunk in chunks {
        let mut lanes = [0.0f32; LANES];
        for part in chunk.as_chunks::<LANES>().0 {
            for (sum, &x) in lanes.iter_mut().zip(part) {
                *sum += f(x);
            }
        }
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum += f64::from(lane);
        }
    }
    let rest: f64 = rest.iter().map(|&x| f64::from(f(x))).sum();
    sums.iter().sum::<f64>() + rest
}

/// `e^x` for x ≤ 0, within 4 units in the last place; 0 below -87.3 and for NaN.
///
/// [`exp`](crate::numerics::exp) without fused operations, which are calls where the instruction set has none.
pub(super) fn quick_exp(x: f32) -> f32 {
    // Adding this leaves round(x) + 127 in the lowest bits.
    const ROUND: f32 = 12_582_912.0 + 127.0;
    const LN2_HIGH: f32 = 355.0 / 512.0;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let in_range = x >= -87.3;
    let x = if in_range { x } else { 0.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p: f32 = 1.0 / 5040.0;
    for c in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = p * r + c;
    }
    let e = p * f32::from_bits(shifted.to_bits() << 23);
    if in_range { e } else { 0.0 }
}
