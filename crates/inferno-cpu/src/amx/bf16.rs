//! Tiles of bf16, for attention: sums of products of sixteen rows with sixteen columns, 32 numbers a step.
//!
//! ```text
//!            rows   bytes in a row
//! tmm0..3    16     64               sums: [16 rows][16 columns] f32
//! tmm4..5    16     64               inputs: [16 rows][32]
//! tmm6..7    16     64               weights: [pair of 32][16 columns][2]
//! ```
//!
//! What `tdpbf16ps` adds to a sum is `numerics::tiles::dot_pairs`. The manual's pseudo-code says so; Intel's guide to
//! intrinsics has other sums, so a machine is believed only after [`is_right`]. The assembly has so far run only in the
//! Bochs emulator (after release 3.0): detection, self-test and 600 random products of all shapes.

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use inferno_model::numerics::tiles::dot_pairs;

use super::{Hardware, Shapes, Tiles, is_usable};
use crate::kernels::tile_attention::{SumTile, Tile};

/// What multiplies tiles of bf16. A value is the proof that it can, if they are usable.
pub(crate) trait Bf16Tiles: Tiles {
    /// Are there such tiles, and do they multiply as we think?
    fn are_usable() -> bool;

    /// Prepares this thread's tiles.
    fn configure_bf16(self);

    /// `sums[g][n]` = the sum over all steps of `inputs[g][step]` × tile n of those that begin at `weights[step]`.
    ///
    /// # Safety
    /// They are usable, and this thread has last been configured for them. There are N tiles at every pointer.
    unsafe fn multiply_bf16<const G: usize, const N: usize>(
        self,
        sums: [&mut [SumTile; N]; G],
        inputs: [&[Tile]; G],
        weights: &[*const Tile],
    );
}

/// Calls `$f! { (operands of each group); instructions before all steps; in every step; after them }` with what
/// multiplies that many groups of rows by that many tiles of weights.
macro_rules! with_bf16_program {
    (1 1, $f:ident) => {
        $f! {
            (inputs0 sums0 0);
            (zero 0);
            (inputs 4 inputs0) (weights 6 0) (dot 0 4 6);
            (store 0 sums0 0)
        }
    };
    (1 2, $f:ident) => {
        $f! {
            (inputs0 sums0 0);
            (zero 0) (zero 1);
            (inputs 4 inputs0) (weights 6 0) (dot 0 4 6) (weights 7 1024) (dot 1 4 7);
            (store 0 sums0 0) (store 1 sums0 1024)
        }
    };
    (1 4, $f:ident) => {
        $f! {
            (inputs0 sums0 0);
            (zero 0) (zero 1) (zero 2) (zero 3);
            (inputs 4 inputs0) (weights 6 0) (dot 0 4 6) (weights 7 1024) (dot 1 4 7)
            (weights 6 2048) (dot 2 4 6) (weights 7 3072) (dot 3 4 7);
            (store 0 sums0 0) (store 1 sums0 1024) (store 2 sums0 2048) (store 3 sums0 3072)
        }
    };
    (2 1, $f:ident) => {
        $f! {
            (inputs0 sums0 0) (inputs1 sums1 1);
            (zero 0) (zero 1);
            (inputs 4 inputs0) (weights 6 0) (dot 0 4 6) (inputs 5 inputs1) (dot 1 5 6);
            (store 0 sums0 0) (store 1 sums1 0)
        }
    };
    (2 2, $f:ident) => {
        $f! {
            (inputs0 sums0 0) (inputs1 sums1 1);
            (zero 0) (zero 1) (zero 2) (zero 3);
            (inputs 4 inputs0) (weights 6 0) (dot 0 4 6) (weights 7 1024) (dot 1 4 7)
            (inputs 5 inputs1) (dot 2 5 6) (dot 3 5 7);
            (store 0 sums0 0) (store 1 sums0 1024) (store 2 sums1 0) (store 3 sums1 1024)
        }
    };
}
#[cfg(test)]
pub(super) use with_bf16_program;

/// An instruction of a program as text.
macro_rules! instruction {
    (zero $tile:literal) => {
        concat!("tilezero tmm", $tile)
    };
    (inputs $tile:literal $group:ident) => {
        concat!("tileloadd tmm", $tile, ", [{", stringify!($group), "} + {stride}*1]")
    };
    (weights $tile:literal $at:literal) => {
        concat!("tileloadd tmm", $tile, ", [{step} + {stride}*1 + ", $at, "]")
    };
    (dot $sums:literal $inputs:literal $weights:literal) => {
        concat!("tdpbf16ps tmm", $sums, ", tmm", $inputs, ", tmm", $weights)
    };
    (store $tile:literal $group:ident $at:literal) => {
        concat!("tilestored [{", stringify!($group), "} + {stride}*1 + ", $at, "], tmm", $tile)
    };
}

#[allow(clippy::inline_always, reason = "it is a part of a loop")]
impl Bf16Tiles for Hardware {
    fn are_usable() -> bool {
        static USABLE: OnceLock<bool> = OnceLock::new();
        *USABLE.get_or_init(|| {
            // SAFETY: it is used only if the machine has the instructions and this process may use them.
            is_usable() && has_bf16() && is_right(unsafe { Hardware::proven() })
        })
    }

    #[inline(always)]
    fn configure_bf16(self) {
        self.load(Shapes::Bf16);
    }

    #[inline(always)]
    unsafe fn multiply_bf16<const G: usize, const N: usize>(
        self,
        sums: [&mut [SumTile; N]; G],
        inputs: [&[Tile]; G],
        weights: &[*const Tile],
    ) {
        assert!(!weights.is_empty(), "the loop ends when it has counted to zero");
        for inputs in inputs {
            assert_eq!(inputs.len(), weights.len(), "steps");
        }
        macro_rules! run {
            (
                $(($inputs:ident $sums:ident $g:literal))*;
                $(($($before:tt)*))*; $(($($step:tt)*))*; $(($($after:tt)*))*
            ) => {
                // SAFETY: the proof `self` and the caller's promise say that the instructions may be used and that all
                // tiles have 16 rows of 64 bytes. The loop runs once for each of `weights`, which is at least once.
                // It loads whole `Tile`s: one of each group's inputs a step, as there are as many, and N from each
                // pointer, as the caller promised. Stores are of N `SumTile`s in each group.
                unsafe {
                    asm!(
                        $(instruction!($($before)*),)*
                        "2:",
                        "mov {step}, qword ptr [{weights}]",
                        $(instruction!($($step)*),)*
                        $(concat!("add {", stringify!($inputs), "}, 1024"),)*
                        "add {weights}, 8",
                        "dec {n_steps}",
                        "jnz 2b",
                        $(instruction!($($after)*),)*
                        $($inputs = inout(reg) inputs[$g].as_ptr() => _,)*
                        $($sums = in(reg) sums[$g].as_mut_ptr(),)*
                        weights = inout(reg) weights.as_ptr() => _,
                        n_steps = inout(reg) weights.len() => _,
                        step = out(reg) _,
                        stride = in(reg) 64usize,
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack),
                    );
                }
            };
        }
        match (G, N) {
            (1, 1) => with_bf16_program!(1 1, run),
            (1, 2) => with_bf16_program!(1 2, run),
            (1, 4) => with_bf16_program!(1 4, run),
            (2, 1) => with_bf16_program!(2 1, run),
            (2, 2) => with_bf16_program!(2 2, run),
            _ => unreachable!("there is no program for {G} × {N}"),
        }
    }
}

/// Do the tiles that the CPU has multiply bf16?
fn has_bf16() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    __cpuid(0).eax >= 0x1E
        && __cpuid_count(7, 0).edx & AMX_BF16 != 0
        && __cpuid_count(0x1D, 1).ecx & 0xFFFF >= 16
        && __cpuid_count(0x1E, 0).ebx & 0xFF >= 16
}

/// Are a few products what `numerics` says?
pub(super) fn is_right(tiles: impl Bf16Tiles) -> bool {
    tiles.configure_bf16();
    Kind::ALL.into_iter().all(|kind| {
        let mut seed = 1;
        let [a, b, c, d]: [[Tile; 4]; 4] = std::array::from_fn(|_| kind.tiles(&mut seed));
        // SAFETY: the caller uses only usable tiles, or asks for this whether they are; configured above.
        unsafe {
            multiplies::<1, 1>(tiles, [&a[..3]], &[&c, &d, &b])
                && multiplies::<1, 2>(tiles, [&a[..2]], &[&c, &d])
                && multiplies::<1, 4>(tiles, [&a[..3]], &[&c, &b, &d])
                && multiplies::<2, 1>(tiles, [&a[..2], &b[..2]], &[&c, &d])
                && multiplies::<2, 2>(tiles, [&a[..3], &b[..3]], &[&d, &c, &a])
        }
    })
}

/// What tells possible meanings of the instruction apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Numbers of many sizes and both signs: sums in any other order round otherwise.
    Ordinary,
    /// The same with many zeros and denormals among them, which are zero.
    Denormal,
    /// Products about the smallest normal number, of one sign, and sums of them that are exact: nothing on which the
    /// manual's words could be read in two ways.
    Tiny,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Ordinary, Kind::Denormal, Kind::Tiny];

    /// Tiles of noise.
    pub(super) fn tiles<const N: usize>(self, seed: &mut u64) -> [Tile; N] {
        std::array::from_fn(|_| Tile(std::array::from_fn(|_| std::array::from_fn(|_| self.number(seed)))))
    }

    /// From an LCG of Knuth's.
    fn number(self, seed: &mut u64) -> u16 {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let bits = (*seed >> 40) as u16;
        let sign_and_digits = bits & 0x807F;
        let size = (*seed >> 56) as u16;
        match self {
            Kind::Ordinary => sign_and_digits | (122 + size % 12) << 7,
            Kind::Denormal if size.is_multiple_of(3) => sign_and_digits,
            Kind::Denormal => sign_and_digits | (200 + size % 20) << 7,
            // A product has at most eight digits.
            Kind::Tiny => bits & 0x70 | (62 + size % 5) << 7,
        }
    }
}

/// Is this product what `numerics` says?
///
/// # Safety
/// This thread's tiles are configured.
pub(super) unsafe fn multiplies<const G: usize, const N: usize>(
    tiles: impl Bf16Tiles,
    inputs: [&[Tile]; G],
    weights: &[&[Tile; 4]],
) -> bool {
    let mut sums = [[SumTile([[f32::NAN; 16]; 16]); N]; G];
    let mut pointers = [std::ptr::null(); 16];
    pointers.iter_mut().zip(weights).for_each(|(pointer, tiles)| *pointer = tiles.as_ptr());
    // SAFETY: the caller's promise; no program takes more than four tiles a step.
    unsafe { tiles.multiply_bf16(sums.each_mut(), inputs, &pointers[..weights.len()]) };
    (0..G).all(|g| (0..N).all(|n| is_sum(&sums[g][n], inputs[g], |step| &weights[step][n])))
}

fn is_sum<'a>(sums: &SumTile, inputs: &[Tile], weights: impl Fn(usize) -> &'a Tile) -> bool {
    (0..16).all(|row| {
        (0..16).all(|column| {
            let mut sum = 0.0;
            for (step, inputs) in inputs.iter().enumerate() {
                let weights = weights(step);
                let a = std::array::from_fn::<_, 16, _>(|i| [0, 1].map(|j| number(inputs.0[row][2 * i + j])));
                let b =
                    std::array::from_fn::<_, 16, _>(|i| [0, 1].map(|j| number(weights.0[i][2 * column + j])));
                sum = dot_pairs(sum, &a, &b);
            }
            sum.to_bits() == sums.0[row][column].to_bits()
        })
    })
}

/// A bf16 in f32.
pub(super) fn number(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}
