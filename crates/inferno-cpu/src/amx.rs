//! Intel's tiles of signed bytes: whether there are any, and the one thing we do with them.
//!
//! [`Tiles::multiply`] takes a group of eight rows by up to three panels over one run of weights, 32 inputs or 16, and
//! leaves exact integers in memory. A tile has a number of rows and of bytes in a row, set for all eight by
//! [`Tiles::configure`]:
//!
//! ```text
//!            rows     bytes in a row
//! tmm0..2    8        64               sums: [8 rows of inputs][16 outputs] i32
//! tmm4..6    8 or 4   64               weights: [4 inputs at a time][16 outputs][4], a panel's block as it is packed
//! tmm7       8        32 or 16         inputs: [8 rows][4 at a time][4], an input block's bytes as they are
//! ```
//!
//! `tdpbssd` adds, to lane n of row m of the sums, the products of four signed bytes of row m of the inputs and four
//! signed bytes of lane n of the weights, for each four (Intel's Software Developer's Manual, volume 2).
//!
//! The instructions are written as one list, [`with_program`], from which come both the assembly and the emulation
//! that the tests run on machines without tiles. The assembly itself has so far run only in the Bochs emulator (after
//! release 3.0, with its `tdpbssd` made to extend signs): detection, self-test and 1,800 random products of all shapes.

pub(crate) mod bf16;
#[cfg(test)]
pub(crate) mod emulated;
#[cfg(test)]
mod tests;

use std::arch::asm;
use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use crate::packed::{Bytes, PANEL};
use crate::simd::ROW_GROUP;

/// 32 inputs of a group of rows: [row][4 at a time][4].
pub(crate) type Inputs = [[[i8; 4]; 8]; ROW_GROUP];

/// Sums of products: [row][output].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Sums(pub(crate) [[i32; PANEL]; ROW_GROUP]);

/// What multiplies tiles: the machine, or in tests an emulation of it. A value is the proof that it can.
pub(crate) trait Tiles: Copy {
    /// # Safety
    /// The machine has what it takes.
    unsafe fn proven() -> Self;

    /// Prepares this thread's tiles for runs of 16 inputs or of 32.
    fn configure(self, run16: bool);

    /// `sums[i]` = run `run` (of one, or of two) of a block of inputs × that of panel i's block of weights.
    ///
    /// # Safety
    /// This thread has last been configured for this length of a run.
    unsafe fn multiply<const N: usize>(
        self,
        sums: &mut MaybeUninit<[Sums; N]>,
        inputs: &Inputs,
        weights: [&Bytes; N],
        run: usize,
    );
}

/// Operand of `ldtilecfg`.
#[repr(C, align(64))]
struct Config {
    /// 1: eight tiles of up to 16 rows of up to 64 bytes.
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The shapes of a thread's tiles: an index into [`CONFIGS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shapes {
    /// For runs of 32 inputs.
    Run32,
    /// For runs of 16.
    Run16,
    /// See [`bf16`].
    Bf16,
}

static CONFIGS: [Config; 3] = [Config::of_runs(8), Config::of_runs(4), Config::of_bf16()];

impl Shapes {
    fn of_runs(run16: bool) -> Shapes {
        if run16 { Shapes::Run16 } else { Shapes::Run32 }
    }

    fn config(self) -> &'static Config {
        &CONFIGS[self as usize]
    }
}

impl Config {
    /// Sixteen rows of 64 bytes.
    const fn of_bf16() -> Config {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (rows[tile], row_bytes[tile]) = (16, 64);
            tile += 1;
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }

    /// For runs of that many times four inputs.
    const fn of_runs(fours: u8) -> Config {
        let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
        let mut tile = 0;
        while tile < 8 {
            (rows[tile], row_bytes[tile]) = match tile {
                0..=2 => (ROW_GROUP as u8, 64),
                4..=6 => (fours, 64),
                7 => (ROW_GROUP as u8, 4 * fours as u16),
                _ => (0, 0),
            };
            tile += 1;
        }
        Config { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
    }
}

/// Calls `$f! { operands; instructions }` with what multiplies `$n` panels.
///
/// Every step uses the same registers. That costs nothing if the core renames them; we believe it does, and know no
/// measurement.
macro_rules! with_program {
    (1, $f:ident) => {
        $f! {
            (w0 = 0);
            (inputs 7) (weights 4 w0)
            (zero 0) (dot 0 7 4) (store 0 0)
        }
    };
    (2, $f:ident) => {
        $f! {
            (w0 = 0, w1 = 1);
            (inputs 7) (weights 4 w0) (weights 5 w1)
            (zero 0) (dot 0 7 4) (store 0 0)
            (zero 1) (dot 1 7 5) (store 1 512)
        }
    };
    (3, $f:ident) => {
        $f! {
            (w0 = 0, w1 = 1, w2 = 2);
            (inputs 7) (weights 4 w0) (weights 5 w1) (weights 6 w2)
            (zero 0) (dot 0 7 4) (store 0 0)
            (zero 1) (dot 1 7 5) (store 1 512)
            (zero 2) (dot 2 7 6) (store 2 1024)
        }
    };
}
#[cfg(test)]
use with_program;

/// An instruction of a program as text.
macro_rules! instruction {
    (inputs $tile:literal) => {
        concat!("tileloadd tmm", $tile, ", [{inputs} + {input_stride}*1]")
    };
    (weights $tile:literal $panel:ident) => {
        concat!("tileloadd tmm", $tile, ", [{", stringify!($panel), "} + {stride}*1]")
    };
    (zero $tile:literal) => {
        concat!("tilezero tmm", $tile)
    };
    (dot $sums:literal $inputs:literal $weights:literal) => {
        concat!("tdpbssd tmm", $sums, ", tmm", $inputs, ", tmm", $weights)
    };
    (store $tile:literal $at:literal) => {
        concat!("tilestored [{sums} + {stride}*1 + ", $at, "], tmm", $tile)
    };
}

/// Proof that this machine multiplies tiles.
#[derive(Clone, Copy)]
pub(crate) struct Hardware(());

thread_local! {
    /// What this thread has loaded.
    static LOADED: Cell<Option<Shapes>> = const { Cell::new(None) };
}

impl Hardware {
    #[allow(clippy::inline_always, reason = "as below")]
    #[inline(always)]
    fn load(self, shapes: Shapes) {
        if LOADED.get() == Some(shapes) {
            return;
        }
        let config = &raw const *shapes.config();
        // SAFETY: the proof `self` says that the instruction may be used; it reads 64 bytes, which are a `Config` of
        // palette 1 whose tiles have at most 16 rows of at most 64 bytes.
        unsafe {
            asm!(
                "ldtilecfg [{}]", in(reg) config,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack, preserves_flags, readonly),
            );
        }
        LOADED.set(Some(shapes));
    }
}

#[allow(clippy::inline_always, reason = "it is a part of a loop")]
impl Tiles for Hardware {
    unsafe fn proven() -> Hardware {
        Hardware(())
    }

    #[inline(always)]
    fn configure(self, run16: bool) {
        self.load(Shapes::of_runs(run16));
    }

    #[inline(always)]
    unsafe fn multiply<const N: usize>(
        self,
        sums: &mut MaybeUninit<[Sums; N]>,
        inputs: &Inputs,
        weights: [&Bytes; N],
        run: usize,
    ) {
        debug_assert!(run < 2, "a block has two runs at most");
        let inputs = inputs.as_ptr().cast::<u8>();
        macro_rules! run {
            (($($panel:ident = $i:literal),*); $(($($instruction:tt)*))*) => {
                // SAFETY: the proof `self` and the caller's promise say that the instructions may be used and that the
                // tiles have the shapes drawn above. Loads are of `Inputs` and `Bytes`: 8 rows of 32 bytes from 32
                // each, or 16 of each 32 from 16 × `run`; 8 rows of 64 bytes, or 4 from row 4 × `run`. Stores are of
                // 8 rows of 64 bytes, which a `Sums` is, to each of N.
                unsafe {
                    asm!(
                        $(instruction!($($instruction)*),)*
                        inputs = in(reg) inputs.add(16 * run),
                        input_stride = in(reg) 32usize,
                        stride = in(reg) 64usize,
                        sums = in(reg) sums.as_mut_ptr(),
                        $($panel = in(reg) (&raw const *weights[$i]).cast::<u8>().add(256 * run),)*
                        out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                        out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                        options(nostack, preserves_flags),
                    );
                }
            };
        }
        match N {
            1 => with_program!(1, run),
            2 => with_program!(2, run),
            3 => with_program!(3, run),
            _ => unreachable!("there is no program for {N} panels"),
        }
    }
}

/// Can this process use tiles of bytes, and do they multiply as we think? Decided once; a machine that multiplies
/// otherwise has none.
pub(crate) fn is_usable() -> bool {
    static USABLE: OnceLock<bool> = OnceLock::new();
    *USABLE.get_or_init(|| {
        // SAFETY: it is used only if the machine has the instructions, the system keeps the registers, and this
        // process may use them.
        has_tiles() && is_permitted() && is_right(unsafe { Hardware::proven() })
    })
}

/// Has the CPU tiles of bytes, of the size we use, and does the system keep them?
fn has_tiles() -> bool {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_TILE_AND_INT8: u32 = 1 << 24 | 1 << 25;
    /// The configuration and the tiles.
    const STATE: u32 = 1 << 17 | 1 << 18;
    let highest = __cpuid(0).eax;
    if highest < 0x1E || __cpuid(1).ecx & OSXSAVE == 0 {
        return false;
    }
    let features = __cpuid_count(7, 0).edx;
    if features & AMX_TILE_AND_INT8 != AMX_TILE_AND_INT8 {
        return false;
    }
    let state: u32;
    // SAFETY: OSXSAVE says that there is the instruction and that it may be used.
    unsafe {
        asm!("xgetbv", in("ecx") 0, out("eax") state, out("edx") _, options(nomem, nostack, preserves_flags));
    }
    let (palette, unit) = (__cpuid_count(0x1D, 1), __cpuid_count(0x1E, 0));
    let (row_bytes, n_tiles, n_rows) = (palette.ebx & 0xFFFF, palette.ebx >> 16, palette.ecx & 0xFFFF);
    let (most_fours, most_bytes) = (unit.ebx & 0xFF, unit.ebx >> 8 & 0xFFFF);
    state & STATE == STATE
        && row_bytes >= 64
        && n_tiles >= 8
        && n_rows >= ROW_GROUP as u32
        && most_fours >= 8
        && most_bytes >= 64
}

/// Asks the system to let this process, with all its threads, use tiles.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let result: i64;
    // SAFETY: `syscall` changes rax, rcx and r11; this call takes two numbers and touches no memory of ours.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// Are a few products what plain integers give?
fn is_right(tiles: impl Tiles) -> bool {
    // Bytes that differ in sign and size, and the ends: -128 × -128 is wrong wherever one is taken as unsigned.
    let byte = |i: usize, factor: usize| if i.is_multiple_of(7) { -128 } else { (i * factor + i / 64) as i8 };
    let inputs: Inputs = std::array::from_fn(|row| {
        std::array::from_fn(|k| std::array::from_fn(|j| byte(32 * row + 4 * k + j, 93)))
    });
    let weights: [Bytes; 3] = std::array::from_fn(|i| {
        std::array::from_fn(|k| std::array::from_fn(|lane| byte(512 * i + 64 * k + lane, 151)))
    });
    let [w0, w1, w2] = weights.each_ref();
    [(false, 0), (true, 0), (true, 1)].into_iter().all(|(run16, run)| {
        tiles.configure(run16);
        // SAFETY: configured above.
        unsafe {
            multiplies(tiles, &inputs, [w0], (run16, run))
                && multiplies(tiles, &inputs, [w2, w0], (run16, run))
                && multiplies(tiles, &inputs, [w0, w1, w2], (run16, run))
        }
    })
}

/// Is this product what plain integers give?
///
/// # Safety
/// As [`Tiles::multiply`].
unsafe fn multiplies<const N: usize>(
    tiles: impl Tiles,
    inputs: &Inputs,
    weights: [&Bytes; N],
    (run16, run): (bool, usize),
) -> bool {
    let mut sums = MaybeUninit::uninit();
    // SAFETY: the caller's promise; it writes all sums.
    let sums = unsafe {
        tiles.multiply(&mut sums, inputs, weights, run);
        sums.assume_init()
    };
    sums == weights.map(|weights| plain_sums(inputs, weights, (run16, run)))
}

/// What [`Tiles::multiply`] gives, by definition.
fn plain_sums(inputs: &Inputs, weights: &Bytes, (run16, run): (bool, usize)) -> Sums {
    let fours = if run16 { 4 * run..4 * run + 4 } else { 0..8 };
    Sums(std::array::from_fn(|row| {
        std::array::from_fn(|output| {
            let products = fours.clone().flat_map(|k| {
                (0..4).map(move |j| i32::from(inputs[row][k][j]) * i32::from(weights[k][4 * output + j]))
            });
            products.sum()
        })
    }))
}
