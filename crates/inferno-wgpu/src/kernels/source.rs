//! The parts of a kernel: files of `kernels/`, with constants before them.

use std::fmt::Write as _;

use inferno_model::routing::MOST_GROUPS;

use super::params::{self, Member, Params as _};
use super::text::{Inputs, Text, gates};
use super::{
    GROUP, HEAD_THREADS, Halves, Kernel, MATRIX_QUERIES, NORM_THREADS, attend_quantizes, delta_columns,
    stages,
};
use crate::layout::Layout;

/// Experts of a layer, at most: as many as a file may have.
const MOST_EXPERTS: u32 = 4096;

/// A kernel's text, its buffers and its parameters.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) wgsl: String,
    pub(crate) bindings: Bindings,
    pub(crate) members: &'static [Member],
}

/// The buffers that a text declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Bindings {
    pub(crate) n: u8,
    /// Buffer i is written if bit i is set.
    written: u16,
}

impl Bindings {
    /// Whether buffer `i` is written.
    pub(crate) fn is_written(self, i: usize) -> bool {
        self.written >> i & 1 == 1
    }
}

/// Buffers are bound in the order in which a text declares them: every `@binding(NEXT)` is one.
fn numbered(text: &str) -> (String, Bindings) {
    let mut parts = text.split("@binding(NEXT)");
    let mut wgsl = parts.next().unwrap_or_default().to_owned();
    let mut bindings = Bindings::default();
    for part in parts {
        bindings.written |= u16::from(part.starts_with(" var<storage, read_write>")) << bindings.n;
        let _ = write!(wgsl, "@binding({}){part}", bindings.n);
        bindings.n += 1;
    }
    (wgsl, bindings)
}

impl Kernel {
    /// Its text and its parameters.
    pub(crate) fn source(self, halves: Halves) -> Source {
        let mut text = Text { wgsl: String::new(), halves };
        let (name, members) = match self {
            Kernel::Embed(layout) | Kernel::EmbedChosen(layout) => {
                text.layout(layout);
                let values = match layout {
                    Layout::Floats(_) => file!("formats/float_values"),
                    Layout::Integers(_) => file!("formats/integer_values"),
                };
                let tokens = match self {
                    Kernel::Embed(_) => file!("tokens/uploaded"),
                    _ => file!("tokens/chosen"),
                };
                text.element(&[values, file!("embed"), tokens]);
                ("embed", params::Embed::MEMBERS)
            }
            Kernel::Choose => {
                text.choosing();
                text.files(&[file!("choose")]);
                ("choose", params::Choose::MEMBERS)
            }
            Kernel::ChooseFromAll => {
                text.choosing();
                text.files(&[file!("choose_from_all")]);
                ("choose_from_all", params::Choose::MEMBERS)
            }
            Kernel::RmsNorm => {
                text.math();
                text.quantized(NORM_THREADS);
                text.sums(NORM_THREADS);
                text.files(&[file!("rms_norm")]);
                ("rms_norm", params::RmsNorm::MEMBERS)
            }
            Kernel::Quantize => {
                text.math();
                text.quantized(GROUP);
                text.element(&[file!("quantize")]);
                ("quantize", params::Quantize::MEMBERS)
            }
            Kernel::MatmulFew(layout, rows, few, n_matrices) => {
                text.constant("ROWS", rows);
                text.few(layout, few, Inputs::Stored);
                text.files(&[file!("products/every_row"), file!("panels/one")]);
                text.outs(n_matrices);
                ("matmul_few", params::Product::MEMBERS)
            }
            Kernel::MatmulPrepared(layout, few, n_matrices, prepared, n_blocks) => {
                text.constant("ROWS", 1);
                text.constant("N_BLOCKS", n_blocks);
                text.few(layout, few, Inputs::Own);
                text.files(&[file!("products/every_row"), file!("panels/prepared")]);
                let name = text.prepared(prepared);
                text.outs(n_matrices);
                (name, params::Product::MEMBERS)
            }
            Kernel::MatmulMany(layout, many, n_matrices) => {
                text.many(layout, many);
                text.outs(n_matrices);
                ("matmul_many", params::Product::MEMBERS)
            }
            Kernel::MatmulChosen(layout, rows, few) => {
                text.constant("ROWS", rows);
                text.few(layout, few, Inputs::Stored);
                text.files(&[file!("products/chosen_experts"), file!("panels/one")]);
                text.outs(1);
                ("matmul_chosen", params::Product::MEMBERS)
            }
            Kernel::MatmulHeads(layout, rows, few) => {
                text.constant("ROWS", rows);
                text.few(layout, few, Inputs::Stored);
                text.files(&[file!("products/heads"), file!("panels/one")]);
                text.outs(1);
                ("matmul_heads", params::Product::MEMBERS)
            }
            Kernel::JoinHeads => {
                text.element(&[file!("join_heads")]);
                ("join_heads", params::JoinHeads::MEMBERS)
            }
            Kernel::Group(rows) => {
                text.constant("GROUP", GROUP);
                text.constant("ROWS", rows);
                text.constant("MOST_EXPERTS", MOST_EXPERTS);
                text.files(&[file!("group")]);
                ("group", params::Group::MEMBERS)
            }
            Kernel::Add(is_biased) => {
                let addend = if is_biased { file!("addends/biased") } else { file!("addends/plain") };
                text.element(&[file!("add"), addend]);
                ("add", params::Add::MEMBERS)
            }
            Kernel::AddBias => {
                text.element(&[file!("add_bias")]);
                ("add_bias", params::Add::MEMBERS)
            }
            Kernel::HeadNorm => {
                text.constant("THREADS", HEAD_THREADS);
                text.sums(HEAD_THREADS);
                text.files(&[file!("head_norm")]);
                ("head_norm", params::HeadNorm::MEMBERS)
            }
            Kernel::Rope => {
                text.element(&[file!("rotate"), file!("rope")]);
                ("rope", params::Rope::MEMBERS)
            }
            Kernel::StoreKv(kv) => {
                text.math();
                text.kv(kv);
                text.store(kv);
                text.element(&[file!("store_kv")]);
                ("store_kv", params::StoreKv::MEMBERS)
            }
            Kernel::Heads(kv, is_normed) => {
                text.math();
                text.constant("THREADS", HEAD_THREADS);
                text.kv(kv);
                text.heads(kv, is_normed);
                text.files(&[file!("heads")]);
                ("heads", params::Heads::MEMBERS)
            }
            Kernel::Attend(kv, queries, heads, sums) => {
                text.math();
                text.constant("QUERIES", queries);
                text.constant("QUAD_LANES", kv.value_width.div_ceil(4).next_power_of_two());
                text.attention(kv, heads, sums);
                text.files(&[file!("attend")]);
                text.files(&[match stages(kv, queries) {
                    true => file!("pages/staged"),
                    false => file!("pages/pool"),
                }]);
                ("attend", params::Attend::MEMBERS)
            }
            Kernel::AttendMatrices(kv, size, heads, sums) => {
                text.matrices(size, ["Lefts", "Rights"]);
                text.math();
                text.constant("QUERIES", MATRIX_QUERIES);
                text.attention(kv, heads, sums);
                text.files(&[file!("attend_matrices"), file!("pages/pool")]);
                ("attend", params::Attend::MEMBERS)
            }
            Kernel::AttendMerge(value_width, has_sinks) => {
                text.math();
                text.constant("VALUE_WIDTH", value_width);
                text.element(&[file!("softmax"), file!("attend_merge")]);
                if attend_quantizes(value_width) {
                    text.quantized(GROUP);
                } else {
                    text.not_quantized(GROUP);
                }
                text.sinks(has_sinks);
                ("attend_merge", params::AttendMerge::MEMBERS)
            }
            Kernel::Glu(inputs) => {
                text.math();
                text.quantized(GROUP);
                text.element(&[file!("glu"), file!("activation"), file!("activations")]);
                text.files(&[gates(inputs)]);
                ("glu", params::Glu::MEMBERS)
            }
            Kernel::SigmoidGate => {
                text.math();
                text.element(&[file!("sigmoid_gate")]);
                ("sigmoid_gate", params::SigmoidGate::MEMBERS)
            }
            Kernel::Route(is_biased, is_scaled) => {
                text.math();
                text.constant("MOST_GROUPS", MOST_GROUPS as u32);
                text.flag("IS_BIASED", is_biased);
                let bias = if is_biased { file!("routing/biased") } else { file!("routing/plain") };
                let scale = if is_scaled { file!("routing/scaled") } else { file!("routing/unscaled") };
                text.element(&[file!("route"), bias, scale]);
                ("route", params::Route::MEMBERS)
            }
            Kernel::Combine(is_biased) => {
                let file = if is_biased { file!("combined/biased") } else { file!("combined/plain") };
                text.element(&[file!("combine"), file]);
                ("combine", params::Combine::MEMBERS)
            }
            Kernel::TakeRows => {
                text.element(&[file!("take_rows")]);
                ("take_rows", params::TakeRows::MEMBERS)
            }
            Kernel::Scale => {
                text.element(&[file!("scale")]);
                ("scale", params::Scale::MEMBERS)
            }
            Kernel::ScaleRows => {
                text.element(&[file!("scale_rows")]);
                ("scale_rows", params::ScaleRows::MEMBERS)
            }
            Kernel::TakeColumns => {
                text.element(&[file!("take_columns")]);
                ("take_columns", params::TakeColumns::MEMBERS)
            }
            Kernel::Softcap => {
                text.element(&[file!("softcap")]);
                text.math();
                ("softcap", params::Softcap::MEMBERS)
            }
            Kernel::CausalConv(kernel, is_biased) => {
                text.constant("KERNEL", kernel);
                text.math();
                let bias = if is_biased { file!("biases/present") } else { file!("biases/absent") };
                text.element(&[file!("causal_conv"), file!("activation"), file!("activations"), bias]);
                ("causal_conv", params::CausalConv::MEMBERS)
            }
            Kernel::DeltaPrepare => {
                text.constant("THREADS", HEAD_THREADS);
                text.math();
                text.sums(HEAD_THREADS);
                text.files(&[file!("delta_prepare")]);
                ("delta_prepare", params::DeltaPrepare::MEMBERS)
            }
            Kernel::DeltaRule(width) => {
                text.constant("WIDTH", width);
                text.constant("COLUMNS", delta_columns(width));
                text.files(&[file!("delta_rule")]);
                ("delta_rule", params::DeltaRule::MEMBERS)
            }
            Kernel::SsmSteps => {
                text.math();
                text.element(&[file!("ssm_steps")]);
                ("ssm_steps", params::SsmSteps::MEMBERS)
            }
            Kernel::SsmScan(state_size, columns) => {
                text.constant("STATE_SIZE", state_size);
                text.constant("COLUMNS", columns);
                text.files(&[file!("ssm_scan")]);
                ("ssm_scan", params::SsmScan::MEMBERS)
            }
            Kernel::CheckHalves => {
                text.element(&[file!("check_halves")]);
                text.math();
                ("check_halves", params::Nothing::MEMBERS)
            }
        };
        let (wgsl, bindings) = numbered(&text.wgsl);
        Source { name, wgsl, bindings, members }
    }
}
