//! From the files in `kernels/` to kernels: each is a list of files, with constants before them.

/// The text of a file of `kernels/`.
macro_rules! file {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels/", $name, ".wgsl"))
    };
}

mod text;

use std::fmt::Write as _;

use inferno_model::backend::KvType;
use inferno_model::routing::MOST_GROUPS;

use crate::kv::KvLayout;
use crate::layout::{BLOCK, Layout};
use crate::recorder::Grid;
use text::{Text, product_buffers};

/// Threads of a workgroup that has a row, and of one that has a head.
const NORM_THREADS: u32 = 128;
const HEAD_THREADS: u32 = 128;
/// Threads of one that chooses a token.
const CHOOSE_THREADS: u32 = 256;
/// Experts of a layer, at most: as many as a file may have.
const MOST_EXPERTS: u32 = 4096;
/// Threads of the workgroups of `element.wgsl`.
pub(crate) const GROUP: u32 = 256;
/// Bytes that the workgroup of `attend` may keep of its queries.
const QUERY_BYTES: usize = 8 << 10;
/// Bytes of a state that the workgroup of `delta_rule` keeps.
const STATE_BYTES: u32 = 16 << 10;
/// Outputs and rows of a workgroup with cooperative matrices, and its threads.
const MATRIX_TILE: [u32; 2] = [64, 32];
pub(crate) const MATRIX_THREADS: u32 = 128;
/// Threads of `attend`.
const ATTEND_THREADS: u32 = 128;

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
    /// Queries in a tile; where sums go.
    Attend(KvLayout, u32, Sums),
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
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
    pub(crate) dot: Dot,
}

/// How one with many rows is taken. All ways give the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Many {
    Dots(Dot, Tile),
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
    /// Its workgroups.
    pub(crate) fn grid(self, n_outputs: usize, n_rows: usize) -> Grid {
        let [outputs, rows] = match self {
            Many::Matrices(_) => MATRIX_TILE,
            Many::Dots(_, tile) => [0, 1].map(|i| tile.shape()[i]),
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

/// A kernel's text, and which of its buffers it writes.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) wgsl: String,
    /// Buffer i is written if bit i is set.
    pub(crate) written: u8,
    pub(crate) n_buffers: u8,
}

impl Kernel {
    /// Its text.
    pub(crate) fn source(self, halves: Halves) -> Source {
        let mut text = Text { wgsl: String::new(), halves };
        let (name, written, n_buffers) = match self {
            Kernel::Embed(layout) | Kernel::EmbedChosen(layout) => {
                text.layout(layout);
                text.files(&[match self {
                    Kernel::Embed(_) => file!("tokens/uploaded"),
                    _ => file!("tokens/chosen"),
                }]);
                text.files(&[match layout {
                    Layout::Floats(_) => file!("formats/float_values"),
                    Layout::Integers(_) => file!("formats/integer_values"),
                }]);
                text.element(&[file!("embed")]);
                ("embed", 0b010, 3)
            }
            Kernel::Choose => {
                text.choosing();
                text.files(&[file!("choose")]);
                ("choose", 0b001, 3)
            }
            Kernel::ChooseFromAll => {
                text.choosing();
                text.files(&[file!("choose_from_all")]);
                ("choose_from_all", 0b001, 3)
            }
            Kernel::RmsNorm => {
                text.quantized(0, NORM_THREADS);
                text.files(&[file!("reduce"), file!("rms_norm")]);
                ("rms_norm", 0b00111, 5)
            }
            Kernel::Quantize => {
                text.quantized(0, GROUP);
                text.element(&[file!("quantize")]);
                ("quantize", 0b011, 3)
            }
            Kernel::MatmulFew(layout, rows, few, n_matrices) => {
                text.constant("ROWS", rows);
                text.few(layout, few);
                text.files(&[file!("products/every_row"), file!("matmul_few")]);
                let (written, n_buffers) = text.outs(layout, n_matrices);
                ("matmul_few", written, n_buffers)
            }
            Kernel::MatmulMany(layout, many, n_matrices) => {
                text.many(layout, many);
                let (written, n_buffers) = text.outs(layout, n_matrices);
                ("matmul_many", written, n_buffers)
            }
            Kernel::MatmulChosen(layout, rows, few) => {
                let n_buffers = product_buffers(layout);
                text.constant("ROWS", rows);
                text.constant("ORDER_BINDING", n_buffers.into());
                text.constant("GROUPS_BINDING", u32::from(n_buffers) + 1);
                text.few(layout, few);
                text.files(&[file!("products/chosen_experts"), file!("matmul_few"), file!("outs/one")]);
                ("matmul_chosen", 0b010, n_buffers + 2)
            }
            Kernel::MatmulHeads(layout, rows, few) => {
                text.constant("ROWS", rows);
                text.few(layout, few);
                text.files(&[file!("products/heads"), file!("matmul_few"), file!("outs/one")]);
                ("matmul_heads", 0b010, product_buffers(layout))
            }
            Kernel::JoinHeads => {
                text.element(&[file!("join_heads")]);
                ("join_heads", 0b001, 3)
            }
            Kernel::Group(rows) => {
                text.constant("GROUP", GROUP);
                text.constant("ROWS", rows);
                text.constant("MOST_EXPERTS", MOST_EXPERTS);
                text.files(&[file!("group")]);
                ("group", 0b011, 3)
            }
            Kernel::Add(is_biased) => {
                let addend = if is_biased { file!("addends/biased") } else { file!("addends/plain") };
                text.element(&[file!("add"), addend]);
                ("add", 0b001, if is_biased { 3 } else { 2 })
            }
            Kernel::AddBias => {
                text.element(&[file!("add_bias")]);
                ("add_bias", 0b01, 2)
            }
            Kernel::HeadNorm => {
                text.constant("THREADS", HEAD_THREADS);
                text.files(&[file!("reduce"), file!("head_norm")]);
                ("head_norm", 0b01, 2)
            }
            Kernel::Rope => {
                text.element(&[file!("rotate"), file!("rope")]);
                ("rope", 0b01, 2)
            }
            Kernel::StoreKv(kv) => {
                text.store(kv);
                text.element(&[file!("store_kv")]);
                ("store_kv", 0b0001, 4)
            }
            Kernel::Heads(kv, is_normed) => {
                text.store(kv);
                text.constant("THREADS", HEAD_THREADS);
                text.constant("MOST_BLOCKS", kv.key_width.max(kv.value_width).div_ceil(BLOCK as u32));
                let _ = writeln!(text.wgsl, "const NORMED = {is_normed};");
                text.files(&[file!("reduce"), file!("rotate"), file!("heads")]);
                ("heads", 0b000_0111, 7)
            }
            Kernel::Attend(kv, queries, sums) => {
                let is_split = sums == Sums::Parts;
                text.kv(kv);
                text.constant("QUERIES", queries);
                text.constant("SHARED_WIDTH", kv.shared_width());
                text.constant("SHARED_QUADS", kv.shared_width().div_ceil(4));
                text.constant("QUAD_LANES", kv.value_width.div_ceil(4).next_power_of_two());
                let _ = writeln!(text.wgsl, "const IS_SPLIT = {is_split};");
                text.files(match kv.kv_type {
                    KvType::F32 => &[file!("kv/f32")],
                    KvType::F16 => &[file!("formats/f16"), file!("kv/pairs")],
                    KvType::Bf16 => &[file!("formats/bf16"), file!("kv/pairs")],
                    KvType::Q8_0 => &[file!("kv/q8_0")],
                });
                text.files(&[file!("softmax"), file!("attend")]);
                let (written, n_buffers) = if !is_split && attend_quantizes(kv.value_width) {
                    text.quantized(4, ATTEND_THREADS);
                    (0b111000, 6)
                } else {
                    text.not_quantized(ATTEND_THREADS);
                    (0b1000, 4)
                };
                ("attend", written, text.sinks(sums == Sums::Whole { has_sinks: true }, n_buffers))
            }
            Kernel::AttendMerge(value_width, has_sinks) => {
                text.constant("VALUE_WIDTH", value_width);
                text.element(&[file!("softmax"), file!("attend_merge")]);
                let (written, n_buffers) = if attend_quantizes(value_width) {
                    text.quantized(3, GROUP);
                    (0b11001, 5)
                } else {
                    text.not_quantized(GROUP);
                    (0b001, 3)
                };
                ("attend_merge", written, text.sinks(has_sinks, n_buffers))
            }
            Kernel::Glu(inputs) => {
                text.quantized(0, GROUP);
                text.element(&[file!("glu"), file!("activations")]);
                let (file, n_buffers) = match inputs {
                    Glu::Gated => (file!("gates/gated"), 4),
                    Glu::Alone => (file!("gates/alone"), 3),
                    Glu::Biased => (file!("gates/biased"), 7),
                };
                text.files(&[file]);
                ("glu", 0b0111, n_buffers)
            }
            Kernel::SigmoidGate => {
                text.math();
                text.element(&[file!("sigmoid_gate")]);
                ("sigmoid_gate", 0b01, 2)
            }
            Kernel::Route(is_biased, is_scaled) => {
                text.math();
                text.constant("MOST_GROUPS", MOST_GROUPS as u32);
                let _ = writeln!(text.wgsl, "const IS_BIASED = {is_biased};");
                let bias = if is_biased { file!("routing/biased") } else { file!("routing/plain") };
                text.constant("SCALES_BINDING", 3 + u32::from(is_biased));
                let scale = if is_scaled { file!("routing/scaled") } else { file!("routing/unscaled") };
                text.element(&[file!("route"), bias, scale]);
                ("route", 0b011, 3 + u8::from(is_biased) + u8::from(is_scaled))
            }
            Kernel::Combine(is_biased) => {
                let file = if is_biased { file!("combined/biased") } else { file!("combined/plain") };
                text.element(&[file!("combine"), file]);
                ("combine", 0b001, if is_biased { 5 } else { 3 })
            }
            Kernel::TakeRows => {
                text.element(&[file!("take_rows")]);
                ("take_rows", 0b001, 3)
            }
            Kernel::Scale => {
                text.element(&[file!("scale")]);
                ("scale", 0b1, 1)
            }
            Kernel::ScaleRows => {
                text.element(&[file!("scale_rows")]);
                ("scale_rows", 0b01, 2)
            }
            Kernel::TakeColumns => {
                text.element(&[file!("take_columns")]);
                ("take_columns", 0b01, 2)
            }
            Kernel::Softcap => {
                text.element(&[file!("softcap")]);
                text.math();
                ("softcap", 0b1, 1)
            }
            Kernel::CausalConv(kernel, is_biased) => {
                text.constant("KERNEL", kernel);
                text.math();
                let bias = if is_biased { file!("biases/present") } else { file!("biases/absent") };
                text.element(&[file!("causal_conv"), file!("activations"), bias]);
                ("causal_conv", 0b00_0011, if is_biased { 6 } else { 5 })
            }
            Kernel::DeltaPrepare => {
                text.constant("THREADS", HEAD_THREADS);
                text.math();
                text.files(&[file!("reduce"), file!("delta_prepare")]);
                ("delta_prepare", 0b000_0001, 7)
            }
            Kernel::DeltaRule(width) => {
                text.constant("WIDTH", width);
                text.constant("COLUMNS", delta_columns(width));
                text.files(&[file!("delta_rule")]);
                ("delta_rule", 0b00011, 5)
            }
            Kernel::SsmSteps => {
                text.math();
                text.element(&[file!("ssm_steps")]);
                ("ssm_steps", 0b0001, 4)
            }
            Kernel::SsmScan(state_size, columns) => {
                text.constant("STATE_SIZE", state_size);
                text.constant("COLUMNS", columns);
                text.files(&[file!("ssm_scan")]);
                ("ssm_scan", 0b00_0011, 6)
            }
            Kernel::CheckHalves => {
                text.element(&[file!("check_halves")]);
                text.math();
                ("check_halves", 0b1, 1)
            }
        };
        Source { name, wgsl: text.wgsl, written, n_buffers }
    }
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

/// How many queries are in a small tile of `attend` and in a large one.
pub(crate) fn queries(kv: KvLayout) -> [u32; 2] {
    let quads = kv.shared_width().div_ceil(4) + kv.key_width.div_ceil(4);
    let most = (QUERY_BYTES as u32 / (16 * quads)).clamp(1, 16);
    let most = 1 << most.ilog2();
    [most.min(4), most]
}

#[cfg(test)]
mod tests;
