//! The functions that compute, once for every instruction set, in a table that is chosen at run time.
//!
//! Each is written over [`Simd`] in a module of this folder; [`table`] makes one copy for every level, with the level's
//! instructions enabled.

pub(crate) mod attention;
pub(crate) mod float;
mod formats;
pub(crate) mod int8;
mod kv;
mod math;
pub(crate) mod recurrent;
mod rows;
mod ssm;
mod stream;
pub(crate) mod tile_attention;
#[cfg(target_arch = "x86_64")]
mod tiles;

use inferno_model::architecture::Activation;
use inferno_model::rope::Angles;

use crate::isa::Isa;
use crate::kernels::attention::{Queries, Tile};
use crate::kernels::int8::InputLine;
use crate::kernels::recurrent::DeltaRow;
use crate::kernels::tile_attention::TileKernels;
use crate::kv::{Head, HeadMut};
use crate::packed::{Layout, PANEL, Panel};
use crate::simd::{LANES, ROW_GROUP};

/// Sixteen outputs of a group of rows.
pub(crate) type OutTile = [[f32; PANEL]; ROW_GROUP];

/// Panels that an integer product takes at once, at most.
pub(crate) const PANELS: usize = 3;

macro_rules! kernels {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $module:ident;)*) => {
        /// One level's kernels.
        pub(crate) struct Kernels {
            pub(crate) isa: Isa,
            /// What is added to weights that are stored as bytes.
            pub(crate) bias: u8,
            /// See `Simd::BY_PAIRS`.
            pub(crate) by_pairs: bool,
            /// What attends to keys and values in bf16, where there are tiles of it.
            pub(crate) tiles: Option<TileKernels>,
            $($(#[$doc])* pub(crate) $name: fn($($ty),*),)*
        }

        /// Makes a level's table: `table!(level, bias of stored bytes, `Simd::BY_PAIRS`, proof that it may be used, its
        /// features)`.
        macro_rules! table {
            ($isa:expr, $bias:expr, $by_pairs:literal, $proven:expr, $features:literal) => {{
                $(
                    #[target_feature(enable = $features)]
                    fn $name($($arg: $ty),*) {
                        $module::$name($proven, $($arg),*);
                    }
                )*
                Kernels {
                    isa: $isa,
                    bias: $bias,
                    by_pairs: $by_pairs,
                    tiles: None,
                    // SAFETY: `Kernels::of` hands a table out only after it has found the level's features.
                    $($name: |$($arg),*| unsafe { $name($($arg),*) },)*
                }
            }};
        }
    };
}

kernels! {
    /// x / rms(x) * weight for every row of x; see `Backend::rms_norm`.
    fn rms_norm(out: &mut [f32], x: &[f32], weight: &[f32], eps: f32) = rows;
    /// The same in place.
    fn norm_in_place(x: &mut [f32], weight: &[f32], eps: f32) = rows;
    /// x += y
    fn add(x: &mut [f32], y: &[f32]) = rows;
    /// x += y * scale, one FMA each
    fn add_scaled(x: &mut [f32], y: &[f32], scale: f32) = rows;
    /// x *= factor
    fn scale(x: &mut [f32], factor: f32) = rows;
    /// gate = activation(gate) * up
    fn glu(gate: &mut [f32], up: &[f32], activation: Activation) = rows;
    /// x = activation(x)
    fn activate(x: &mut [f32], activation: Activation) = rows;
    /// x *= sigmoid(gate), each number of the gate for as many neighbouring numbers of x
    fn sigmoid_gate(x: &mut [f32], gate: &[f32]) = rows;
    /// x = cap * tanh(x / cap)
    fn softcap(x: &mut [f32], cap: f32) = rows;
    /// Rotates the heads of row `row` of the angles' rows.
    fn rope(x: &mut [f32], head_dim: usize, angles: &Angles, row: usize) = rows;
    /// Quantizes up to [`ROW_GROUP`] rows, to as many lines a block as `int8::lines_per_block` says.
    fn quantize(out: &mut [InputLine], rows: &[&[f32]]) = int8;
    /// out += rows `0..n_rows` of a group × up to [`PANELS`] quantized panels of one matrix.
    fn products_int8(out: &mut [OutTile; PANELS], panels: &[Panel<'_>], x: &[InputLine], n_rows: usize) = int8;
    /// A quantized panel in `layout`, which is that of `Layout::unpacked` or of `Layout::wide`.
    fn widen(layout: Layout, quants: &mut [u8], scales: &mut [u8], panel: Panel<'_>) = int8;
    /// out = output `lane` of a panel, as numbers.
    fn dequantize_lane(out: &mut [f32], panel: Panel<'_>, lane: usize) = int8;
    /// Interleaves up to [`ROW_GROUP`] rows; rows that are missing are zero.
    fn interleave(out: &mut [[f32; ROW_GROUP]], rows: &[&[f32]]) = float;
    /// out += rows `0..n_rows` of a group × a panel of floats.
    fn product_float(out: &mut OutTile, panel: Panel<'_>, x: &[[f32; ROW_GROUP]], n_rows: usize) = float;
    /// Writes the keys and values of one position, place `place` of a page, to a head's bytes in it.
    fn store_head(tile: HeadMut<'_>, place: usize, k: &[f32], v: &[f32]) = kv;
    /// A head's keys and values in a page as f32: [key_width][PAGE_LEN] and [PAGE_LEN][value_width in whole vectors].
    fn load_head(keys: &mut [f32], values: &mut [f32], tile: Head<'_>) = kv;
    /// The same of a latent page, whose keys begin with their values.
    fn load_latent(keys: &mut [f32], values: &mut [f32], tile: Head<'_>, rank: usize) = kv;
    /// Adds a tile of keys and values to every query's softmax.
    fn attend_tile(queries: &mut Queries<'_>, tile: &Tile<'_>) = attention;
    /// Adds the softmax of a later partition.
    fn merge(whole: &mut [f32], part: &[f32]) = attention;
    /// out = a softmax, divided by its sum, to which a sink is added first.
    fn finish(out: &mut [f32], whole: &[f32], sink: Option<f32>) = attention;
    /// out = Σ inputs × taps + bias, in that order; see `Backend::causal_conv`.
    fn convolve(out: &mut [f32], inputs: &[&[f32]], taps: &[&[f32]], bias: Option<&[f32]>) = recurrent;
    /// Heads of `width` with length 1, times `factor`.
    fn unit_heads(x: &mut [f32], width: usize, factor: f32) = recurrent;
    /// x = e^(rate * softplus(x + dt)), each rate for as many neighbouring numbers.
    fn decays(x: &mut [f32], dt: &[f32], rates: &[f32]) = recurrent;
    /// Sixteen columns of a value head's state, continued by a row; `out` holds the row's values first.
    fn delta_rule(state: &mut [[f32; LANES]], out: &mut [f32; LANES], row: &DeltaRow<'_>) = recurrent;
    /// dt = softplus(dt + bias), decay = e^(dt × a)
    fn ssm_steps(dt: &mut [f32], decay: &mut [f32], bias: &[f32], a: &[f32]) = ssm;
    /// S = decay × S + (dt × x) B, out = S C + d × x, of a block of columns; see `Backend::ssm_scan`.
    fn ssm_scan(
        out: &mut [f32; LANES],
        state: &mut [[f32; LANES]],
        x: &[f32; LANES],
        b: &[f32],
        c: &[f32],
        factors: [f32; 3],
    ) = ssm;
    /// Reads all bytes and prefetches lines that many ahead; `seen` depends on each.
    fn stream(seen: &mut [i8; 64], bytes: &[u8], ahead: usize) = stream;
}

impl Kernels {
    /// The kernels of a level that this machine has.
    pub(crate) fn of(isa: Isa) -> Kernels {
        assert!(isa.is_available(), "the level was checked");
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Scalar => table!(isa, 0, false, crate::simd::scalar::Scalar, "sse2"),
            #[cfg(target_arch = "aarch64")]
            Isa::Scalar => table!(isa, 0, false, crate::simd::scalar::Scalar, "neon"),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => table!(
                isa,
                0,
                false,
                // SAFETY: only called by functions that enable the features.
                unsafe { crate::simd::neon::Neon::proven() },
                "neon,dotprod"
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => table!(
                isa,
                0,
                true,
                // SAFETY: as above.
                unsafe { crate::simd::avx2::Avx2::proven() },
                "avx2,fma,f16c"
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::AvxVnni => table!(
                isa,
                128,
                false,
                // SAFETY: as above.
                unsafe { crate::simd::avx2::AvxVnni::proven() },
                "avx2,fma,f16c,avxvnni"
            ),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => table!(
                isa,
                128,
                false,
                // SAFETY: as above.
                unsafe { crate::simd::avx512::Avx512::<128>::proven() },
                "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
            ),
            // SAFETY: the level is available.
            #[cfg(target_arch = "x86_64")]
            Isa::Amx => unsafe { Kernels::with_tiles::<crate::amx::Hardware>() },
            other => unreachable!("`{other}` is not available"),
        }
    }

    /// The level with tiles.
    ///
    /// # Safety
    /// The machine has AVX-512 and those tiles.
    #[cfg(target_arch = "x86_64")]
    unsafe fn with_tiles<T: crate::amx::bf16::Bf16Tiles>() -> Kernels {
        let plain = table!(
            Isa::Amx,
            0,
            false,
            // SAFETY: only called by functions that enable the features.
            unsafe { tiles::Vectors::proven() },
            "avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq,avx512vnni"
        );
        // SAFETY: the caller's promise, and the table is of these vectors.
        unsafe { tiles::with_tiles::<T>(plain) }
    }

    /// The level with tiles that are emulated, on a machine with AVX-512.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(crate) fn with_emulated_tiles() -> Kernels {
        assert!(Isa::Avx512.is_available(), "the vectors are not emulated");
        // SAFETY: there is AVX-512, and such tiles are everywhere.
        unsafe { Kernels::with_tiles::<crate::amx::emulated::Emulated>() }
    }
}
