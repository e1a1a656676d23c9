//! The machine, the emulation and plain integers against each other.

use xtask::testing::{Random, skip};

use super::bf16::Bf16Tiles;
use super::emulated::Emulated;
use super::*;
use crate::kernels::tile_attention::Tile;

fn random_bytes(random: &mut Random) -> (Inputs, [Bytes; 3]) {
    let mut byte = || match random.below(8) {
        0 => -128,
        1 => 127,
        _ => random.bits() as i8,
    };
    let mut inputs = [[[0; 4]; 8]; ROW_GROUP];
    inputs.as_flattened_mut().as_flattened_mut().fill_with(&mut byte);
    let mut weights = [[[0; 64]; 8]; 3];
    weights.as_flattened_mut().as_flattened_mut().fill_with(&mut byte);
    (inputs, weights)
}

fn gives_plain_sums(tiles: impl Tiles) {
    assert!(is_right(tiles));
    let mut random = Random(18);
    for i in 0..300 {
        let (inputs, weights) = random_bytes(&mut random);
        let [w0, w1, w2] = weights.each_ref();
        let (run16, run) = [(false, 0), (true, 0), (true, 1)][i % 3];
        tiles.configure(run16);
        // SAFETY: configured above.
        unsafe {
            assert!(multiplies(tiles, &inputs, [w0], (run16, run)));
            assert!(multiplies(tiles, &inputs, [w0, w1], (run16, run)));
            assert!(multiplies(tiles, &inputs, [w0, w1, w2], (run16, run)));
        }
    }
}

#[test]
fn emulated_tiles_give_plain_sums() {
    gives_plain_sums(Emulated);
}

#[test]
fn tiles_give_plain_sums_on_every_thread() {
    if !is_usable() {
        return skip("amx", "this machine has no `amx`");
    }
    // SAFETY: it is usable.
    let tiles = unsafe { Hardware::proven() };
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| gives_plain_sums(tiles));
        }
    });
}

/// Tiles that take inputs as unsigned.
#[derive(Clone, Copy)]
struct Wrong;

impl Tiles for Wrong {
    unsafe fn proven() -> Wrong {
        Wrong
    }
    fn configure(self, run16: bool) {
        Emulated.configure(run16);
    }
    unsafe fn multiply<const N: usize>(
        self,
        sums: &mut MaybeUninit<[Sums; N]>,
        inputs: &Inputs,
        weights: [&Bytes; N],
        run: usize,
    ) {
        let half = inputs.map(|row| row.map(|four| four.map(|x| (x as u8 >> 1) as i8)));
        let rest = inputs.map(|row| row.map(|four| four.map(|x| (x as u8 - (x as u8 >> 1)) as i8)));
        let (mut a, mut b) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        // SAFETY: the caller's promise; all sums are written.
        let (a, b): ([Sums; N], [Sums; N]) = unsafe {
            Emulated.multiply(&mut a, &half, weights, run);
            Emulated.multiply(&mut b, &rest, weights, run);
            (a.assume_init(), b.assume_init())
        };
        let add = |i: usize, row: usize, n: usize| a[i].0[row][n] + b[i].0[row][n];
        sums.write(std::array::from_fn(|i| {
            Sums(std::array::from_fn(|row| std::array::from_fn(|n| add(i, row, n))))
        }));
    }
}

#[test]
fn a_machine_that_multiplies_otherwise_has_no_tiles() {
    assert!(!is_right(Wrong));
}

#[test]
fn what_is_usable_is_there() {
    assert!(!is_usable() || has_tiles());
}

/// As [`bf16::is_right`], of more noise.
fn gives_sums_of_pairs(tiles: impl Bf16Tiles) {
    assert!(bf16::is_right(tiles));
    tiles.configure_bf16();
    let mut seed = 32;
    for i in 0..60 {
        let kind = bf16::Kind::ALL[i % 3];
        let [a, b]: [[Tile; 16]; 2] = std::array::from_fn(|_| kind.tiles(&mut seed));
        let weights: [[Tile; 4]; 2] = std::array::from_fn(|_| kind.tiles(&mut seed));
        let n_steps = 1 + i % 16;
        let weights: Vec<_> = weights.iter().cycle().take(n_steps).collect();
        let (a, b) = (&a[..n_steps], &b[..n_steps]);
        // SAFETY: configured above.
        unsafe {
            assert!(bf16::multiplies::<1, 1>(tiles, [a], &weights));
            assert!(bf16::multiplies::<1, 2>(tiles, [a], &weights));
            assert!(bf16::multiplies::<1, 4>(tiles, [b], &weights));
            assert!(bf16::multiplies::<2, 1>(tiles, [a, b], &weights));
            assert!(bf16::multiplies::<2, 2>(tiles, [b, a], &weights));
        }
    }
}

#[test]
fn emulated_tiles_of_bf16_give_sums_of_pairs() {
    gives_sums_of_pairs(Emulated);
}

#[test]
fn tiles_of_bf16_give_sums_of_pairs() {
    if !<Hardware as Bf16Tiles>::are_usable() {
        return skip("amx-bf16", "this machine has no tiles of bf16");
    }
    // SAFETY: they are usable.
    gives_sums_of_pairs(unsafe { Hardware::proven() });
}
