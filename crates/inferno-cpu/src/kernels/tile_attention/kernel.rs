//! What computes; see the module above.

#![allow(clippy::inline_always, reason = "the level needs a copy with its instructions")]

use std::ops::Range;

use bytemuck::Zeroable;
use inferno_model::batch::PAGE_LEN;

use super::{COLUMNS, GROUP, PAGES, Partition, Scratch, SumTile, Tile, TileKernels};
use crate::amx::bf16::Bf16Tiles;
use crate::kernels::attention::{MAX, OUT};
use crate::kernels::math;
use crate::kernels::tiles::Vectors;
use crate::kv::{Head, HeadMut};
use crate::simd::{LANES, Simd};

/// The kernels of a level with tiles.
///
/// # Safety
/// The machine has AVX-512, and the tiles are usable.
pub(in crate::kernels) unsafe fn kernels<T: Bf16Tiles>() -> TileKernels {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn attend_proven<T: Bf16Tiles>(part: &mut Partition<'_>) {
        // SAFETY: the caller of `kernels` promised it.
        let (s, tiles) = unsafe { (Vectors::proven(), T::proven()) };
        attend(s, tiles, part);
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn store_proven(head: HeadMut<'_>, place: usize, k: &[f32], v: &[f32]) {
        // SAFETY: as above.
        store_head(unsafe { Vectors::proven() }, head, place, k, v);
    }
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn gather_proven(tiles: &mut [Tile], row: usize, q: &[f32]) {
        // SAFETY: as above.
        gather(unsafe { Vectors::proven() }, tiles, row, q);
    }
    TileKernels {
        // SAFETY: the caller promised the features, here and below.
        attend: |part| unsafe { attend_proven::<T>(part) },
        // SAFETY: as above.
        store_head: |head, place, k, v| unsafe { store_proven(head, place, k, v) },
        // SAFETY: as above.
        gather: |tiles, row, q| unsafe { gather_proven(tiles, row, q) },
    }
}

/// Up to sixteen numbers in bf16, filled up with zero.
#[inline(always)]
fn round(s: Vectors, x: &[f32]) -> [u16; LANES] {
    let mut out = [0; LANES];
    if let Some(x) = x.first_chunk() {
        s.store_bf16(&mut out, s.round_bf16(s.load(x)));
    } else {
        let mut wide = [0.0; LANES];
        wide[..x.len()].copy_from_slice(x);
        s.store_bf16(&mut out, s.round_bf16(s.load(&wide)));
    }
    out
}

#[inline(always)]
fn store_head(s: Vectors, head: HeadMut<'_>, place: usize, k: &[f32], v: &[f32]) {
    // [step][half][16 pairs][16 positions][2]
    let keys: &mut [[Tile; 2]] = bytemuck::cast_slice_mut(head.keys);
    let mut i = 0;
    while i * LANES < k.len() {
        let k = round(s, &k[i * LANES..k.len().min((i + 1) * LANES)]);
        let rows = &mut keys[i / 2][place / COLUMNS].0[i % 2 * 8..][..8];
        for (row, pair) in rows.iter_mut().zip(k.as_chunks::<2>().0) {
            row.as_chunks_mut::<2>().0[place % COLUMNS] = *pair;
        }
        i += 1;
    }
    // [16 dimensions][16 pairs of positions][16][2]
    let values: &mut [Tile] = bytemuck::cast_slice_mut(head.values);
    for (i, tile) in values.iter_mut().enumerate() {
        let v = round(s, &v[i * COLUMNS..v.len().min((i + 1) * COLUMNS)]);
        for (pair, &v) in tile.0[place / 2].as_chunks_mut::<2>().0.iter_mut().zip(&v) {
            pair[place % 2] = v;
        }
    }
}

#[inline(always)]
fn gather(s: Vectors, tiles: &mut [Tile], row: usize, q: &[f32]) {
    let mut i = 0;
    while i * LANES < q.len() {
        let q = round(s, &q[i * LANES..q.len().min((i + 1) * LANES)]);
        tiles[i / 2].0[row][i % 2 * LANES..][..LANES].copy_from_slice(&q);
        i += 1;
    }
}

#[inline(always)]
fn attend<T: Bf16Tiles>(s: Vectors, tiles: T, part: &mut Partition<'_>) {
    tiles.configure_bf16();
    let mut first = 0;
    while first < part.visible.len() {
        if part.visible.len() - first > GROUP {
            queries::<T, 2>(s, tiles, part, first);
        } else {
            queries::<T, 1>(s, tiles, part, first);
        }
        first += 2 * GROUP;
    }
}

/// Queries `first..`, as many as G groups have.
#[inline(always)]
fn queries<T: Bf16Tiles, const G: usize>(s: Vectors, tiles: T, part: &mut Partition<'_>, first: usize) {
    let visible = &part.visible[first..part.visible.len().min(first + G * GROUP)];
    let end = part.start + part.pages.len() * PAGE_LEN;
    let seen = visible[0].start.max(part.start)..visible[visible.len() - 1].end.min(end);
    if seen.is_empty() {
        return;
    }
    let pages = (seen.start - part.start) / PAGE_LEN..(seen.end - part.start).div_ceil(PAGE_LEN);
    let start = part.start + pages.start * PAGE_LEN;
    let pages = &part.pages[pages];
    let Scratch { scores, p, out, weights, values } = &mut *part.scratch;

    let n_steps = n_tiles(pages[0].keys) / 2;
    let q = &part.q[first / GROUP * n_steps..][..G * n_steps];
    let [scores0, scores1] = scores;
    for (k, page) in pages.iter().enumerate() {
        weights.clear();
        for keys in bytemuck::cast_slice::<u8, [Tile; 2]>(page.keys) {
            weights.push(keys.as_ptr());
        }
        // SAFETY: `attend` has configured the tiles; there are two at every pointer.
        unsafe {
            if G == 1 {
                tiles.multiply_bf16([&mut scores0[k]], [q], weights);
            } else {
                let (q0, q1) = q.split_at(n_steps);
                tiles.multiply_bf16([&mut scores0[k], &mut scores1[k]], [q0, q1], weights);
            }
        }
    }

    let n_values = n_tiles(pages[0].values);
    let state_len = OUT + n_values * COLUMNS;
    let states = &mut part.states[first * state_len..][..visible.len() * state_len];
    // Bit r: does query r see any of this?
    let mut rows = 0u32;
    for (r, (visible, state)) in visible.iter().zip(states.chunks_exact_mut(state_len)).enumerate() {
        let lanes = lanes(visible, start, pages.len());
        if !lanes.is_empty() {
            rows |= 1 << r;
            let scores = if r < GROUP { &mut *scores0 } else { &mut *scores1 };
            let (scores, p) = (&mut scores[..pages.len()], &mut p[r / GROUP][..pages.len()]);
            give(s, scores, p, r % GROUP, lanes, (part.scale, part.softcap), state);
        }
    }

    let mut sums =
        Values { p, out, weights, bases: [std::ptr::null(); PAGES], n_pages: pages.len(), n_values };
    for (base, page) in sums.bases.iter_mut().zip(pages) {
        *base = bytemuck::cast_slice::<u8, Tile>(page.values).as_ptr();
    }
    if is_finite_where_hidden(pages, visible, start) {
        // SAFETY: as above; each page has its values at its base.
        unsafe { add_values::<T, G>(s, tiles, &mut sums, states, rows) };
        return;
    }
    while rows != 0 {
        let r = rows.trailing_zeros();
        rows &= rows - 1;
        copy_seen(values, pages, lanes(&visible[r as usize], start, pages.len()));
        for (base, copy) in sums.bases.iter_mut().zip(values.chunks_exact(n_values)) {
            *base = copy.as_ptr();
        }
        // SAFETY: as above, of the copies.
        unsafe { add_values::<T, G>(s, tiles, &mut sums, states, 1 << r) };
    }
}

fn n_tiles(bytes: &[u8]) -> usize {
    bytes.len() / size_of::<Tile>()
}

/// What of `n_pages` pages from position `start` on is visible, counted from there.
#[inline(always)]
fn lanes(visible: &Range<usize>, start: usize, n_pages: usize) -> Range<usize> {
    visible.start.saturating_sub(start)..visible.end.saturating_sub(start).min(n_pages * PAGE_LEN)
}

/// Turns query `r`'s products into scores, these into what it gives to each key, and notes their sums and maximum.
#[inline(always)]
fn give(
    s: Vectors,
    scores: &mut [[SumTile; 2]],
    p: &mut [Tile],
    r: usize,
    lanes: Range<usize>,
    (scale, softcap): (f32, Option<f32>),
    state: &mut [f32],
) {
    let mut max = s.splat(f32::NEG_INFINITY);
    for (k, halves) in scores.iter_mut().enumerate() {
        for (half, scores) in halves.iter_mut().enumerate() {
            let first = k * PAGE_LEN + half * LANES;
            let scores = &mut scores.0[r];
            let mut x = s.splat(f32::NEG_INFINITY);
            if first < lanes.end && first + LANES > lanes.start {
                x = s.mul(s.load(scores), s.splat(scale));
                if let Some(cap) = softcap {
                    x = math::softcap(s, x, cap);
                }
                if first < lanes.start || first + LANES > lanes.end {
                    let mut numbers = s.to_array(x);
                    for (i, x) in numbers.iter_mut().enumerate() {
                        if first + i < lanes.start || first + i >= lanes.end {
                            *x = f32::NEG_INFINITY;
                        }
                    }
                    x = s.load(&numbers);
                }
                max = s.max(x, max);
            }
            s.store(scores, x);
        }
    }
    let max = s.max_lane(max);
    let mut sum = s.zero();
    for (halves, p) in scores.iter().zip(p) {
        for (scores, p) in halves.iter().zip(p.0[r].as_chunks_mut::<LANES>().0) {
            let x = math::exp(s, s.sub(s.load(&scores.0[r]), s.splat(max)));
            let x = s.round_bf16(x);
            sum = s.add(sum, x);
            s.store_bf16(p, x);
        }
    }
    let (sums, rest) = state.split_first_chunk_mut::<LANES>().expect("a state");
    s.store(sums, sum);
    rest[MAX - LANES] = max;
}

/// What queries give to keys, times values.
struct Values<'a> {
    /// Of two groups: [page]
    p: &'a [[Tile; PAGES]; 2],
    out: &'a mut [[SumTile; 4]; 2],
    weights: &'a mut Vec<*const Tile>,
    /// Each page's values.
    bases: [*const Tile; PAGES],
    n_pages: usize,
    /// Tiles of a page's values.
    n_values: usize,
}

/// Writes the sums of the values to the states of the queries whose bit is set in `rows`.
///
/// # Safety
/// This thread's tiles are configured. There are `n_values` tiles at every base.
#[inline(always)]
unsafe fn add_values<T: Bf16Tiles, const G: usize>(
    s: Vectors,
    tiles: T,
    values: &mut Values<'_>,
    states: &mut [f32],
    rows: u32,
) {
    let mut i = 0;
    while i < values.n_values {
        // SAFETY: the caller's promise; there are as many tiles from the i-th on.
        unsafe {
            match (G, values.n_values - i) {
                (1, 4..) => {
                    columns::<T, G, 4>(s, tiles, values, i, states, rows);
                    i += 4;
                }
                (_, 2..) => {
                    columns::<T, G, 2>(s, tiles, values, i, states, rows);
                    i += 2;
                }
                _ => {
                    columns::<T, G, 1>(s, tiles, values, i, states, rows);
                    i += 1;
                }
            }
        }
    }
}

/// The same of N tiles of outputs, from the `i`-th on.
///
/// # Safety
/// The same.
#[inline(always)]
unsafe fn columns<T: Bf16Tiles, const G: usize, const N: usize>(
    s: Vectors,
    tiles: T,
    values: &mut Values<'_>,
    i: usize,
    states: &mut [f32],
    mut rows: u32,
) {
    let Values { p: [p0, p1], out: [out0, out1], weights, bases, n_pages, n_values } = values;
    let (p0, p1) = (&p0[..*n_pages], &p1[..*n_pages]);
    weights.clear();
    for base in &bases[..*n_pages] {
        weights.push(base.wrapping_add(i));
    }
    let out0 = out0.first_chunk_mut::<N>().expect("at most four");
    let out1 = out1.first_chunk_mut::<N>().expect("at most four");
    // SAFETY: the caller's promise.
    unsafe {
        if G == 1 {
            tiles.multiply_bf16([&mut *out0], [p0], weights);
        } else {
            tiles.multiply_bf16([&mut *out0, &mut *out1], [p0, p1], weights);
        }
    }
    let states = states.as_chunks_mut::<LANES>().0;
    while rows != 0 {
        let r = rows.trailing_zeros() as usize;
        rows &= rows - 1;
        let sums = if r < GROUP { &*out0 } else { &*out1 };
        let state = &mut states[r * (OUT / LANES + *n_values)..][OUT / LANES + i..][..N];
        for (state, sums) in state.iter_mut().zip(sums) {
            // Where it is a zero, the sign depends on pages that the query does not see.
            s.store(state, s.add(s.load(&sums.0[r % GROUP]), s.zero()));
        }
    }
}

/// Are all values numbers, in the pages that some query does not see all of?
#[inline(always)]
fn is_finite_where_hidden(pages: &[Head<'_>], visible: &[Range<usize>], start: usize) -> bool {
    let all_see = visible[visible.len() - 1].start..visible[0].end;
    for (k, page) in pages.iter().enumerate() {
        let first = start + k * PAGE_LEN;
        if all_see.start <= first && first + PAGE_LEN <= all_see.end {
            continue;
        }
        const EXPONENT: u16 = 0x7F80;
        let mut worst = 0;
        for &x in bytemuck::cast_slice::<u8, u16>(page.values) {
            worst = worst.max(x & EXPONENT);
        }
        if worst == EXPONENT {
            return false;
        }
    }
    true
}

/// Copies the values of the pages, those outside of `lanes` as zero.
fn copy_seen(out: &mut Vec<Tile>, pages: &[Head<'_>], lanes: Range<usize>) {
    out.clear();
    for (k, page) in pages.iter().enumerate() {
        for tile in bytemuck::cast_slice::<u8, Tile>(page.values) {
            let mut copy = Tile::zeroed();
            for position in 0..PAGE_LEN {
                if lanes.contains(&(k * PAGE_LEN + position)) {
                    let (pair, i) = (position / 2, position % 2);
                    for column in 0..COLUMNS {
                        copy.0[pair][2 * column + i] = tile.0[pair][2 * column + i];
                    }
                }
            }
            out.push(copy);
        }
    }
}
