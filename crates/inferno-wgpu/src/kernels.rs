//! Kernels by what they compute, and the variants they come in. `source.rs` has the files that each is made of, `params.rs` the
//! parameters that it takes.

/// The text of a file of `kernels/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $name, ".wgsl"))
    };
}

pub(crate) mod params;
mod source;
mod text;

use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;

use crate::kv::KvLayout;
use crate::layout::{BLOCK, Layout, PANEL};
use crate::recorder::Grid;
pub(crate) use source::Bindings;

/// Threads of a workgroup that has a row, and of one that has a head.
const NORM_THREADS: u32 = 128;
const HEAD_THREADS: u32 = 128;
/// Threads of one that chooses a token.
const CHOOSE_THREADS: u32 = 256;
/// Threads of the workgroups of `element.wgsl`.
pub(crate) const GROUP: u32 = 256;
/// Bytes that the workgroup of `attend` may keep of its queries.
const QUERY_BYTES: usize = 8 << 10;
/// Bytes that queries, their scores, a head and a page of keys and values may take together.
const STAGED_BYTES: u32 = 22 << 10;
/// Bytes of a state that the workgroup of `delta_rule` keeps.
const STATE_BYTES: u32 = 16 << 10;
/// Outputs and rows of a workgroup with cooperative matrices, and its threads.
const MATRIX_TILE: [u32; 2] = [64, 32];
pub(crate) const MATRIX_THREADS: u32 = 128;
/// Threads of `attend`.
const ATTEND_THREADS: u32 = 128;
/// Queries in a tile of attention by cooperative matrices, and numbers of the largest keys and values there.
pub(crate) const MATRIX_QUERIES: u32 = 16;
const MOST_MATRIX_WIDTH: u32 = 256;

/// Rows of a workgroup of [`Many::Slices`], whose sums take 16 KB of its memory.
const SLICE_ROWS: u32 = 16;

/// One pipeline each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Embed(Layout),
    /// Of tokens that `Choose` chose.
    EmbedChosen(Layout),
    Choose,
    ChooseFromAll,
    RmsNorm,
    Quantize,
    /// Rows at a time. With so many matrices at once.
    MatmulFew(Layout, u32, Few, u8),
    MatmulMany(Layout, Many, u8),
    /// Of a row that each workgroup prepares, with its number of blocks last, and the matrices that are multiplied at once before
    /// how it is prepared.
    MatmulPrepared(Layout, Few, u8, Prepared, u32),
    /// Of chosen experts, so many rows at a time.
    MatmulChosen(Layout, u32, Few),
    /// Heads with a matrix each; rows at a time.
    MatmulHeads(Layout, u32, Few),
    /// Numbers of two buffers, head by head.
    JoinHeads,
    /// So many rows together.
    Group(u32),
    /// With a bias?
    Add(bool),
    AddBias,
    HeadNorm,
    Rope,
    StoreKv(KvLayout),
    /// Those three in one; with a norm?
    Heads(KvLayout, bool),
    /// Queries in a tile; where heads come from; where sums go.
    Attend(KvLayout, u32, Heads, Sums),
    /// The same by cooperative matrices of that size, of [`MATRIX_QUERIES`].
    AttendMatrices(KvLayout, u32, Heads, Sums),
    /// value_width; with sinks?
    AttendMerge(u32, bool),
    Glu(Glu),
    SigmoidGate,
    /// With a bias for the selection? With scales of the experts' outputs?
    Route(bool, bool),
    /// With biases of experts?
    Combine(bool),
    TakeRows,
    Scale,
    ScaleRows,
    TakeColumns,
    Softcap,
    /// Taps; with a bias?
    CausalConv(u32, bool),
    /// Queries, keys, strengths and decays of the delta rule.
    DeltaPrepare,
    /// Width of a head.
    DeltaRule(u32),
    SsmSteps,
    /// Numbers of a column of a state; columns of a workgroup.
    SsmScan(u32, u32),
    /// What [`Halves::ByDevice`] is worth.
    CheckHalves,
}

/// Where the row of a product comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Prepared {
    /// The norm of a row.
    Norm,
    /// Gates, activated; without biases.
    Gates(Glu),
    /// A row as it is.
    Row,
}

/// Where the queries of attention come from, and the keys and values of their rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Heads {
    /// Prepared and stored before.
    Stored,
    /// Each workgroup does what [`Kernel::Heads`] would do, for tiles of one row.
    Own {
        /// Queries and keys are normed.
        is_normed: bool,
    },
}

/// Where the sums of attention go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Sums {
    /// To parts that are merged.
    Parts,
    /// To the output.
    Whole {
        /// A sink is added to each softmax.
        has_sinks: bool,
    },
}

/// How numbers in half precision are widened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) enum Halves {
    /// By integers, right everywhere.
    #[default]
    ByBits,
    /// By the device's own instruction, which may take subnormal numbers for zero.
    ByDevice,
}

/// How a product with few rows is taken. All ways give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Few {
    /// Threads that share a panel: a multiple of 8, at most 256.
    pub(crate) threads: u32,
    /// Blocks of weights that a thread asks for before it uses the first of them.
    pub(crate) in_flight: u32,
    pub(crate) dot: Dot,
}

/// How one with many rows is taken. All ways give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Many {
    Dots(Dot, Tile),
    /// As with few rows, [`SLICE_ROWS`] at a time: a workgroup has a panel, so that a matrix of any size keeps the device busy.
    Slices(Few),
    /// By cooperative matrices of so many rows and columns; of integers only.
    Matrices(u32),
}

/// The inputs of an activation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Glu {
    /// Gate and up.
    Gated,
    /// Up of a network without a gate.
    Alone,
    /// Gate and up of routed experts, which have biases.
    Biased,
}

/// What a workgroup computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Tile {
    /// 64 outputs of 64 rows.
    Large,
    /// 16 outputs of 32 rows: more workgroups for fewer rows.
    Small,
}

impl Tile {
    /// Outputs and rows, and those of a thread.
    fn shape(self) -> [u32; 4] {
        match self {
            Tile::Large => [64, 64, 4, 4],
            Tile::Small => [16, 32, 2, 2],
        }
    }
}

impl Many {
    /// Products of `n_matrices` matrices at once.
    pub(crate) fn kernel(self, layout: Layout, n_matrices: u8) -> Kernel {
        match self {
            Many::Slices(few) => Kernel::MatmulFew(layout, SLICE_ROWS, few, n_matrices),
            _ => Kernel::MatmulMany(layout, self, n_matrices),
        }
    }

    /// Its workgroups.
    pub(crate) fn grid(self, n_outputs: usize, n_rows: usize) -> Grid {
        let [outputs, rows] = match self {
            Many::Matrices(_) => MATRIX_TILE,
            Many::Dots(_, tile) => [0, 1].map(|i| tile.shape()[i]),
            Many::Slices(_) => {
                return Grid::Stacked(n_outputs.div_ceil(PANEL), n_rows.div_ceil(SLICE_ROWS as usize));
            }
        };
        Grid::Box(n_outputs.div_ceil(outputs as usize), n_rows.div_ceil(rows as usize), 1)
    }
}

/// How four bytes are multiplied with four others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dot {
    Packed,
    Floats,
}

/// Numbers in the largest keys and values that `attend` takes: a query fits what its workgroup keeps of them, and a thread has
/// four numbers of a value.
pub(crate) const MOST_KEY_WIDTH: usize = QUERY_BYTES / 4;
pub(crate) const MOST_VALUE_WIDTH: usize = 4 * ATTEND_THREADS as usize;

/// Columns of a head's state that a workgroup of `ssm_scan` has, each in four threads.
pub(crate) fn ssm_columns(head_width: usize) -> u32 {
    head_width.next_power_of_two().clamp(16, 64) as u32
}

/// Does a value have whole blocks, so that attention leaves its outputs quantized?
pub(crate) fn attend_quantizes(value_width: u32) -> bool {
    value_width.is_multiple_of(BLOCK as u32)
}

/// Columns of a state that a workgroup of the delta rule keeps in its memory, which has room for 16 KB of them.
pub(crate) fn delta_columns(width: u32) -> u32 {
    let most = (STATE_BYTES / (4 * width)).clamp(1, 32);
    1 << most.ilog2()
}

/// Does a workgroup with this number of queries have room for a page of keys and values?
pub(crate) fn stages(kv: KvLayout, queries: u32) -> bool {
    let quads = kv.shared_width().div_ceil(4) + kv.key_width.div_ceil(4);
    let records = (kv.record_len(kv.key_width) | 1) + (kv.record_len(kv.value_width) | 1);
    let (page_len, width) =
        (PAGE_LEN as u32, kv.key_width.max(kv.value_width).next_multiple_of(BLOCK as u32));
    16 * (queries * quads + page_len * records) + 4 * (queries * page_len + width) <= STAGED_BYTES
}

/// Whether cooperative matrices, where a device has them, attend to such keys and values: half precision holds them as they are, and a
/// workgroup has room for their queries.
pub(crate) fn attends_by_matrices(kv: KvLayout) -> bool {
    let is_held = match kv.kv_type {
        KvType::F16 => true,
        // In integers with a scale, numbers have up to 18 bits.
        KvType::F32 | KvType::Bf16 | KvType::Q8_0 => false,
    };
    is_held && !kv.is_latent && kv.key_width.max(kv.value_width) <= MOST_MATRIX_WIDTH
}

/// How many queries are in a small tile of `attend` and in a large one.
pub(crate) fn queries(kv: KvLayout) -> [u32; 2] {
    let quads = kv.shared_width().div_ceil(4) + kv.key_width.div_ceil(4);
    let most = (QUERY_BYTES as u32 / (16 * quads)).clamp(1, 16);
    let most = 1 << most.ilog2();
    [most.min(4), most]
}

#[cfg(test)]
mod tests;
