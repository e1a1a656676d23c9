//! Tiles in plain Rust, for tests on machines that have none: the program of [`super::with_program`], instruction by
//! instruction, with the faults of the manual as panics.

use std::cell::RefCell;
use std::mem::MaybeUninit;

use inferno_model::numerics::tiles::dot_pairs;

use super::bf16::{Bf16Tiles, number, with_bf16_program};
use super::{Bytes, Config, Inputs, Shapes, Sums, Tiles};
use crate::kernels::tile_attention::{SumTile, Tile};

/// Tiles that need no machine.
#[derive(Clone, Copy)]
pub(crate) struct Emulated;

thread_local! {
    static MACHINE: RefCell<Machine> = const { RefCell::new(Machine { shapes: [(0, 0); 8], tiles: [[[0; 64]; 16]; 8] }) };
}

/// One thread's registers.
struct Machine {
    /// Rows and bytes in a row; none before `ldtilecfg`.
    shapes: [(usize, usize); 8],
    tiles: [[[u8; 64]; 16]; 8],
}

impl Machine {
    fn ldtilecfg(&mut self, config: &Config) {
        let Config { palette, start_row, reserved, row_bytes, rows } = config;
        assert!(*palette == 1 && *start_row == 0 && *reserved == [0; 14], "#GP");
        assert!(row_bytes[8..] == [0; 8] && rows[8..] == [0; 8], "#GP: there are eight tiles");
        for (shape, (&rows, &row_bytes)) in self.shapes.iter_mut().zip(rows.iter().zip(row_bytes)) {
            assert!(rows <= 16 && row_bytes <= 64 && (rows == 0) == (row_bytes == 0), "#GP: shape");
            *shape = (rows.into(), row_bytes.into());
        }
        self.tiles = [[[0; 64]; 16]; 8];
    }

    fn shape(&self, tile: usize) -> (usize, usize) {
        let (rows, row_bytes) = self.shapes[tile];
        assert!(rows > 0 && row_bytes.is_multiple_of(4), "#UD: tile {tile} is {rows} × {row_bytes}");
        (rows, row_bytes)
    }

    /// Rows and bytes beyond the shape become zero.
    fn tileloadd(&mut self, tile: usize, memory: &[u8], stride: usize) {
        let (rows, row_bytes) = self.shape(tile);
        self.tiles[tile] = [[0; 64]; 16];
        for (row, out) in self.tiles[tile][..rows].iter_mut().enumerate() {
            out[..row_bytes].copy_from_slice(&memory[row * stride..][..row_bytes]);
        }
    }

    fn tilestored(&self, memory: &mut [u8], stride: usize, tile: usize) {
        let (rows, row_bytes) = self.shape(tile);
        for (row, data) in self.tiles[tile][..rows].iter().enumerate() {
            memory[row * stride..][..row_bytes].copy_from_slice(&data[..row_bytes]);
        }
    }

    fn tilezero(&mut self, tile: usize) {
        self.shape(tile);
        self.tiles[tile] = [[0; 64]; 16];
    }

    /// (m, n, k) of a product of tiles that fit each other.
    fn product_shape(&self, c: usize, a: usize, b: usize) -> (usize, usize, usize) {
        assert!(c != a && a != b && b != c, "#UD: three tiles");
        let (shape_c, shape_a, shape_b) = (self.shape(c), self.shape(a), self.shape(b));
        let (m, n, k) = (shape_c.0, shape_c.1 / 4, shape_b.0);
        assert!(
            shape_a == (m, 4 * k) && shape_b == (k, 4 * n),
            "#UD: {shape_c:?} += {shape_a:?} × {shape_b:?}"
        );
        (m, n, k)
    }

    /// c (m, n) += a (m, k) × b (k, n), of k × 4 signed bytes.
    fn tdpbssd(&mut self, c: usize, a: usize, b: usize) {
        let (m, n, k) = self.product_shape(c, a, b);
        for m in 0..m {
            for k in 0..k {
                for n in 0..n {
                    let four = |tile: usize, row: usize, at: usize| -> [i32; 4] {
                        std::array::from_fn(|j| i32::from(self.tiles[tile][row][4 * at + j] as i8))
                    };
                    let (x, w) = (four(a, m, k), four(b, k, n));
                    let products: i32 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let out = &mut self.tiles[c][m][4 * n..4 * n + 4];
                    let sum = i32::from_le_bytes([out[0], out[1], out[2], out[3]]).wrapping_add(products);
                    out.copy_from_slice(&sum.to_le_bytes());
                }
            }
        }
    }

    /// c (m, n) += a (m, k) × b (k, n), of k pairs of bf16.
    fn tdpbf16ps(&mut self, c: usize, a: usize, b: usize) {
        let (m, n, k) = self.product_shape(c, a, b);
        let pair = |tile: &[[u8; 64]; 16], row: usize, at: usize| -> [f32; 2] {
            let four = &tile[row][4 * at..4 * at + 4];
            [number(u16::from_le_bytes([four[0], four[1]])), number(u16::from_le_bytes([four[2], four[3]]))]
        };
        for n in 0..n {
            let mut column = [[0.0; 2]; 16];
            column[..k].iter_mut().enumerate().for_each(|(k, b2)| *b2 = pair(&self.tiles[b], k, n));
            for m in 0..m {
                let mut row = [[0.0; 2]; 16];
                row[..k].iter_mut().enumerate().for_each(|(k, a2)| *a2 = pair(&self.tiles[a], m, k));
                let out = &mut self.tiles[c][m][4 * n..4 * n + 4];
                let sum = f32::from_le_bytes([out[0], out[1], out[2], out[3]]);
                out.copy_from_slice(&dot_pairs(sum, &row[..k], &column[..k]).to_le_bytes());
            }
        }
    }
}

impl Tiles for Emulated {
    unsafe fn proven() -> Emulated {
        Emulated
    }

    fn configure(self, run16: bool) {
        MACHINE.with_borrow_mut(|machine| machine.ldtilecfg(Shapes::of_runs(run16).config()));
    }

    unsafe fn multiply<const N: usize>(
        self,
        sums: &mut MaybeUninit<[Sums; N]>,
        inputs: &Inputs,
        weights: [&Bytes; N],
        run: usize,
    ) {
        let inputs = &inputs.as_flattened().as_flattened()[16 * run..];
        let weights = weights.map(|weights| &weights.as_flattened()[256 * run..]);
        let mut memory = [0xAA; 3 * size_of::<Sums>()];
        MACHINE.with_borrow_mut(|machine| {
            macro_rules! instruction {
                (inputs $tile:literal) => {
                    machine.tileloadd($tile, bytemuck::cast_slice(inputs), 32)
                };
                (weights $tile:literal $panel:ident) => {
                    machine.tileloadd($tile, bytemuck::cast_slice($panel), 64)
                };
                (zero $tile:literal) => {
                    machine.tilezero($tile)
                };
                (dot $sums:literal $inputs:literal $weights:literal) => {
                    machine.tdpbssd($sums, $inputs, $weights)
                };
                (store $tile:literal $at:literal) => {
                    machine.tilestored(&mut memory[$at..], 64, $tile)
                };
            }
            macro_rules! run {
                (($($panel:ident = $i:literal),*); $(($($instruction:tt)*))*) => {{
                    $(let $panel = weights[$i];)*
                    $(instruction!($($instruction)*);)*
                }};
            }
            match N {
                1 => super::with_program!(1, run),
                2 => super::with_program!(2, run),
                3 => super::with_program!(3, run),
                _ => unreachable!("there is no program for {N} panels"),
            }
        });
        let lane = |at: usize| i32::from_le_bytes(memory[at..at + 4].try_into().expect("four bytes"));
        sums.write(std::array::from_fn(|i| {
            Sums(std::array::from_fn(|row| std::array::from_fn(|n| lane(512 * i + 64 * row + 4 * n))))
        }));
    }
}

impl Bf16Tiles for Emulated {
    fn are_usable() -> bool {
        true
    }

    fn configure_bf16(self) {
        MACHINE.with_borrow_mut(|machine| machine.ldtilecfg(Shapes::Bf16.config()));
    }

    unsafe fn multiply_bf16<const G: usize, const N: usize>(
        self,
        sums: [&mut [SumTile; N]; G],
        inputs: [&[Tile]; G],
        weights: &[*const Tile],
    ) {
        inputs.iter().for_each(|inputs| assert_eq!(inputs.len(), weights.len(), "steps"));
        let mut memory = [[0xAA; 4 * size_of::<SumTile>()]; G];
        MACHINE.with_borrow_mut(|machine| {
            // In the programs, inputs and sums go by the number of their group.
            macro_rules! instruction {
                ($s:ident zero $tile:literal) => {
                    machine.tilezero($tile)
                };
                ($s:ident inputs $tile:literal $group:ident) => {
                    machine.tileloadd($tile, bytemuck::bytes_of(&inputs[$group][$s]), 64)
                };
                ($s:ident weights $tile:literal $at:literal) => {{
                    // SAFETY: the caller promised N tiles.
                    let tiles = unsafe { std::slice::from_raw_parts(weights[$s], N) };
                    machine.tileloadd($tile, &bytemuck::cast_slice(tiles)[$at..], 64)
                }};
                ($s:ident dot $sums:literal $inputs:literal $weights:literal) => {
                    machine.tdpbf16ps($sums, $inputs, $weights)
                };
                ($s:ident store $tile:literal $group:ident $at:literal) => {
                    machine.tilestored(&mut memory[$group][$at..], 64, $tile)
                };
            }
            macro_rules! run {
                (
                    $(($inputs:ident $sums:ident $g:literal))*;
                    $(($($before:tt)*))*; $(($($step:tt)*))*; $(($($after:tt)*))*
                ) => {{
                    $(let ($inputs, $sums): (usize, usize) = ($g, $g);)*
                    $(instruction!(none $($before)*);)*
                    for step in 0..weights.len() {
                        $(instruction!(step $($step)*);)*
                    }
                    $(instruction!(none $($after)*);)*
                }};
            }
            match (G, N) {
                (1, 1) => with_bf16_program!(1 1, run),
                (1, 2) => with_bf16_program!(1 2, run),
                (1, 4) => with_bf16_program!(1 4, run),
                (2, 1) => with_bf16_program!(2 1, run),
                (2, 2) => with_bf16_program!(2 2, run),
                _ => unreachable!("there is no program for {G} × {N}"),
            }
        });
        for (sums, memory) in sums.into_iter().zip(&memory) {
            for (tile, bytes) in sums.iter_mut().zip(memory.as_chunks::<{ size_of::<SumTile>() }>().0) {
                let numbers = bytes.as_chunks().0.iter().map(|&x| f32::from_le_bytes(x));
                tile.0.as_flattened_mut().iter_mut().zip(numbers).for_each(|(out, x)| *out = x);
            }
        }
    }
}
