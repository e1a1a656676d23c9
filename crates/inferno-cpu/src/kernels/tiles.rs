//! Products of many rows with quantized weights in tiles of bytes: the integers of `int8`, exact in either, and the
//! same FMA for each, so the same bits.
//!
//! A tile takes a run of weights (32 inputs that share a scale, or 16) and its sums go through memory to the vector
//! unit, which converts, scales and adds them. The sums of block b are read while tiles work on block b + [`AHEAD`]:
//! they have left the tile unit by then, and nobody waits.
//!
//! What eight rows × three panels × 32 inputs (12,288 products) take of a core, by counting, an estimate, not a
//! measurement (not measured: no machine with AMX at hand):
//!
//! ```text
//! vector ports    24 × (convert, multiply, fma) over two ports, 3 scales from half precision     37 cycles
//! load ports      8 + 3 × 8 rows of tiles, 24 rows of sums, 8 scales over two ports              32
//! stores          3 × 8 rows of tiles, one a cycle                                               24
//! tile unit       3 × 8 rows of inputs, one a cycle                                              24
//! front end       about 185 of six a cycle                                                       31
//! second cache    1.6 KiB of weights where the nearest has not kept them, 48 bytes a cycle       34
//! ```
//!
//! So at best 330 products a cycle, where `vpdpbusd` with the same scaling has 93 (128 without): 3.6 times. The window
//! of 512 micro-operations is less than three blocks, which the latencies of loading, multiplying and storing a tile
//! (some 45, 52 and 16 cycles) about fill: 40 cycles are likelier than 37. A run of 16 costs as much as one of 32, a
//! minimum 12 more.
//!
//! Another definition would be faster: weights rounded to bf16 and summed in tiles over all inputs need no scaling
//! between (first prototypes had 300 to 430 Gop/s this way, before tuning, and 350 to 2,200 that, without the
//! conversion of weights). It could not be measured here. Integers it is, as they give the bits of every other
//! level, and one row is computed as many are without reading wider weights: decoding stays at memory speed.

#![allow(clippy::inline_always, reason = "each level needs a copy with its instructions")]

#[cfg(test)]
mod tests;

use std::mem::MaybeUninit;

use crate::amx::bf16::Bf16Tiles;
use crate::amx::{Sums, Tiles};
use crate::kernels::formats::{Format, Q8, Wide, WideMin, WideRun16, WideRun16Min};
use crate::kernels::int8::{InputBlock, InputLine};
use crate::kernels::{Kernels, OutTile, PANELS, int8, tile_attention};
use crate::packed::{Bytes, Layout, Panel};
use crate::simd::avx512::Avx512;
use crate::simd::{ROW_GROUP, Simd};

/// The vector code beside tiles: weights are stored signed.
pub(super) type Vectors = Avx512<0>;

/// Blocks of weights that tiles are ahead of vectors.
const AHEAD: usize = 3;

/// Blocks whose sums are kept, in the nearest cache.
const KEPT: usize = AHEAD + 1;

/// Rows from which tiles are used: as many take half a tile as take whole vectors.
const LEAST_ROWS: usize = 5;
const _: () = assert!(LEAST_ROWS > int8::FEW_ROWS, "tiles take inputs as blocks");

/// A table of kernels with products in tiles.
///
/// # Safety
/// The machine has the tiles and AVX-512; `plain` is of [`Vectors`].
pub(super) unsafe fn with_tiles<T: Bf16Tiles>(plain: Kernels) -> Kernels {
    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn products<T: Tiles>(out: &mut [OutTile; PANELS], panels: &[Panel<'_>], x: &[InputLine], n_rows: usize) {
        // SAFETY: the caller of `with_tiles` promised it.
        let (s, tiles) = unsafe { (Vectors::proven(), T::proven()) };
        products_int8(s, tiles, out, panels, x, n_rows);
    }
    Kernels {
        // SAFETY: the caller of `with_tiles` promised the features.
        products_int8: |out, panels, x, n_rows| unsafe { products::<T>(out, panels, x, n_rows) },
        // SAFETY: the caller promised AVX-512, and the tiles are usable.
        tiles: T::are_usable().then(|| unsafe { tile_attention::kernel::kernels::<T>() }),
        ..plain
    }
}

/// As [`int8::products_int8`], which takes what tiles do not: few rows, and weights that are no bytes yet.
#[inline(always)]
fn products_int8<T: Tiles>(
    s: Vectors,
    tiles: T,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    lines: &[InputLine],
    n_rows: usize,
) {
    let layout = panels[0].layout;
    if n_rows < LEAST_ROWS {
        return int8::products_int8(s, out, panels, lines, n_rows);
    }
    let x: &[InputBlock] = bytemuck::cast_slice(lines);
    match layout {
        Layout::Q8 => panels_of::<T, Q8>(s, tiles, out, panels, x),
        Layout::Wide { run16: false, min: false, .. } => panels_of::<T, Wide<8>>(s, tiles, out, panels, x),
        Layout::Wide { run16: false, min: true, .. } => panels_of::<T, WideMin<8>>(s, tiles, out, panels, x),
        Layout::Wide { run16: true, min: false, .. } => {
            panels_of::<T, WideRun16<8>>(s, tiles, out, panels, x)
        }
        Layout::Wide { run16: true, min: true, .. } => {
            panels_of::<T, WideRun16Min<8>>(s, tiles, out, panels, x)
        }
        _ => int8::products_int8(s, out, panels, lines, n_rows),
    }
}

#[inline(always)]
fn panels_of<T: Tiles, W: Format<Vectors, Quants = Bytes>>(
    s: Vectors,
    tiles: T,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputBlock],
) {
    tiles.configure(W::RUN16);
    // SAFETY: configured above.
    unsafe {
        match panels.len() {
            1 => add_products::<T, W, 1>(s, tiles, out, panels, x),
            2 => add_products::<T, W, 2>(s, tiles, out, panels, x),
            _ => add_products::<T, W, 3>(s, tiles, out, panels, x),
        }
    }
}

/// out += a group of rows × N panels.
///
/// # Safety
/// The thread's tiles are configured for the format's runs.
#[inline(always)]
unsafe fn add_products<T: Tiles, W: Format<Vectors, Quants = Bytes>, const N: usize>(
    s: Vectors,
    tiles: T,
    out: &mut [OutTile; PANELS],
    panels: &[Panel<'_>],
    x: &[InputBlock],
) {
    const { assert!(W::BLOCKS == 1, "bytes have no larger unit than a block") };
    let mut quants: [&[Bytes]; N] = [&[]; N];
    let mut scales: [&[W::Scales]; N] = [&[]; N];
    for ((quants, scales), panel) in quants.iter_mut().zip(&mut scales).zip(panels) {
        *quants = &bytemuck::cast_slice(panel.quants)[..x.len()];
        *scales = &bytemuck::cast_slice(panel.scales)[..x.len()];
    }
    let mut acc = [[s.zero(); N]; ROW_GROUP];
    for r in 0..ROW_GROUP {
        for i in 0..N {
            acc[r][i] = s.load(&out[i][r]);
        }
    }
    let n_runs = 1 + usize::from(W::RUN16);
    let mut sums: [[MaybeUninit<[Sums; N]>; 2]; KEPT] =
        [const { [const { MaybeUninit::uninit() }; 2] }; KEPT];
    for b in 0..x.len() + AHEAD {
        if b < x.len() {
            let mut weights = [&quants[0][b]; N];
            for i in 1..N {
                weights[i] = &quants[i][b];
            }
            for (run, sums) in sums[b % KEPT].iter_mut().enumerate().take(n_runs) {
                // SAFETY: the caller has configured the tiles.
                unsafe { tiles.multiply(sums, &x[b].q, weights, run) };
            }
        }
        if let Some(b) = b.checked_sub(AHEAD) {
            let x = &x[b];
            let mut w = [W::block(s, &quants[0][b], &scales[0][b], W::unit(s, &scales[0][b]), 0); N];
            for i in 1..N {
                w[i] = W::block(s, &quants[i][b], &scales[i][b], W::unit(s, &scales[i][b]), 0);
            }
            for (run, sums) in sums[b % KEPT].iter().enumerate().take(n_runs) {
                // SAFETY: written AHEAD blocks ago, and not since, as KEPT is more.
                let sums = unsafe { sums.assume_init_ref() };
                let part = if W::RUN16 { run } else { 2 };
                for (r, acc) in acc.iter_mut().enumerate() {
                    let d = s.splat(x.d[r]);
                    for i in 0..N {
                        let product = s.to_f32(s.load_i32(&sums[i].0[r]));
                        acc[i] = s.fma(product, s.mul(w[i].scale[run], d), acc[i]);
                    }
                    if W::MIN {
                        let sum = s.splat(x.sum[part][r]);
                        for i in 0..N {
                            acc[i] = s.fnma(sum, w[i].min[run], acc[i]);
                        }
                    }
                }
            }
        }
    }
    for r in 0..ROW_GROUP {
        for i in 0..N {
            s.store(&mut out[i][r], acc[r][i]);
        }
    }
}
