//! The text of a kernel: constants, and files of WGSL one after another.

use std::fmt::Write as _;

use inferno_model::backend::KvType;

use super::{
    ATTEND_THREADS, CHOOSE_THREADS, Dot, Few, Glu, HEAD_THREADS, Halves, Heads, MATRIX_THREADS, MATRIX_TILE,
    Many, NORM_THREADS, Prepared, Sums, attend_quantizes,
};
use crate::kv::KvLayout;
use crate::layout::{BLOCK, Floats, Integers, Layout, PANEL, Quants, Scales};
use crate::matrix::SLICES;

/// Where the inputs of a product are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Inputs {
    /// In buffers.
    Stored,
    /// In the memory of each workgroup.
    Own,
}

/// Activation of gates, whose other inputs are the next buffers.
pub(super) fn gates(inputs: Glu) -> &'static str {
    match inputs {
        Glu::Gated => file!("gates/gated"),
        Glu::Alone => file!("gates/alone"),
        Glu::Biased => file!("gates/biased"),
    }
}

/// WGSL, file after file.
pub(super) struct Text {
    pub(super) wgsl: String,
    pub(super) halves: Halves,
}

impl Text {
    pub(super) fn constant(&mut self, name: &str, value: u32) {
        let _ = writeln!(self.wgsl, "const {name} = {value}u;");
    }

    pub(super) fn flag(&mut self, name: &str, value: bool) {
        let _ = writeln!(self.wgsl, "const {name} = {value};");
    }

    pub(super) fn files(&mut self, files: &[&str]) {
        files.iter().for_each(|file| self.wgsl.push_str(file));
    }

    /// A kernel whose threads have a number each.
    pub(super) fn element(&mut self, files: &[&str]) {
        self.files(&[file!("element")]);
        self.files(files);
    }

    pub(super) fn math(&mut self) {
        self.files(&[file!("math")]);
        self.files(&[match self.halves {
            Halves::ByBits => file!("halves/by_bits"),
            Halves::ByDevice => file!("halves/by_device"),
        }]);
    }

    pub(super) fn choosing(&mut self) {
        self.constant("THREADS", CHOOSE_THREADS);
        self.math();
        self.files(&[file!("choosing/picks")]);
    }

    /// A kernel that quantizes what it computes, into the next two buffers.
    pub(super) fn quantized(&mut self, threads: u32) {
        self.constant("THREADS", threads);
        self.files(&[file!("rows/in_buffers"), file!("rows/quantized")]);
    }

    /// One that would, were its blocks whole.
    pub(super) fn not_quantized(&mut self, threads: u32) {
        self.constant("THREADS", threads);
        self.files(&[file!("rows/plain")]);
    }

    /// Sums of `n` numbers by all threads of a workgroup.
    pub(super) fn sums(&mut self, n: u32) {
        self.constant("SUMMED", n);
        self.files(&[file!("reduce")]);
    }

    /// The division by sums; sinks are the next buffer.
    pub(super) fn sinks(&mut self, has_sinks: bool) {
        self.files(&[if has_sinks { file!("sinks/present") } else { file!("sinks/absent") }]);
    }

    pub(super) fn kv(&mut self, kv: KvLayout) {
        for (name, width) in [("KEY", kv.key_width), ("VALUE", kv.value_width)] {
            self.constant(&format!("{name}_WIDTH"), width);
            self.constant(&format!("{name}_VECTORS"), kv.n_vectors(width));
            self.constant(&format!("{name}_RECORD"), kv.record_len(width));
        }
        self.files(&[file!("kv/record")]);
    }

    /// Conversion of keys and values to the cache's type.
    pub(super) fn store(&mut self, kv: KvLayout) {
        self.files(match kv.kv_type {
            KvType::F32 => &[file!("kv/store_f32")],
            KvType::F16 => &[file!("kv/narrow_f16"), file!("kv/store_pairs")],
            KvType::Bf16 => &[file!("kv/narrow_bf16"), file!("kv/store_pairs")],
            KvType::Q8_0 => &[file!("kv/store_q8_0")],
        });
    }

    /// Preparation of heads: norms, if `is_normed`, rotations and storing.
    pub(super) fn heads(&mut self, kv: KvLayout, is_normed: bool) {
        self.constant("MOST_BLOCKS", kv.key_width.max(kv.value_width).div_ceil(BLOCK as u32));
        self.flag("NORMED", is_normed);
        self.sums(HEAD_THREADS);
        self.store(kv);
        self.files(&[file!("rotate"), file!("head")]);
    }

    /// A row that every workgroup prepares, from the next buffers; returns the kernel's name.
    pub(super) fn prepared(&mut self, prepared: Prepared) -> &'static str {
        match prepared {
            Prepared::Norm => {
                self.sums(NORM_THREADS);
                self.files(&[file!("prepared/norm")]);
                "norm_matmul"
            }
            Prepared::Gates(inputs) => {
                self.files(&[file!("activations"), file!("prepared/gates"), gates(inputs)]);
                "glu_matmul"
            }
            Prepared::Row => {
                self.files(&[file!("prepared/row")]);
                "matmul_few"
            }
        }
    }

    /// With the calls for a thread's slices.
    pub(super) fn few(&mut self, layout: Layout, few: Few, inputs: Inputs) {
        let (lanes, n_slices) = (PANEL as u32, SLICES as u32);
        self.constant("THREADS", few.threads);
        self.constant("IN_FLIGHT", few.in_flight);
        self.constant("LANES", lanes);
        self.constant("SLICES", n_slices);
        self.product(layout, Some(few.dot), inputs);
        self.files(&[file!("matmul_few")]);
        let call = |first| format!("    sum_slice({first}u + slice, lane, panel, together, is_mine);\n");
        let calls: String = (0..n_slices).step_by((few.threads / lanes) as usize).map(call).collect();
        let head = "fn sum_slices(slice: u32, lane: u32, panel: u32, together: u32, is_mine: bool)";
        let _ = write!(self.wgsl, "{head} {{\n{calls}}}\n");
    }

    pub(super) fn many(&mut self, layout: Layout, many: Many) {
        match many {
            Many::Dots(dot, tile) => {
                let names = ["OUTPUTS", "ROWS", "WIDE", "TALL"];
                names.into_iter().zip(tile.shape()).for_each(|(name, n)| self.constant(name, n));
                self.product(layout, Some(dot), Inputs::Stored);
                self.files(&[match layout {
                    Layout::Floats(_) => file!("matmul_many_floats"),
                    Layout::Integers(_) => file!("matmul_many"),
                }]);
            }
            Many::Slices(_) => unreachable!("products of few rows have a kernel of their own"),
            Many::Matrices(size) => {
                self.matrices(size, ["Inputs", "Outputs"]);
                self.constant("OUTPUTS", MATRIX_TILE[0]);
                self.constant("ROWS", MATRIX_TILE[1]);
                self.constant("THREADS", MATRIX_THREADS);
                self.product(layout, None, Inputs::Stored);
                self.files(&[file!("matmul_many_matrices")]);
            }
        }
    }

    /// Cooperative matrices of `size` by `size`: what is multiplied, by their names, and `Sums`. Before all other text, as they are
    /// enabled.
    pub(super) fn matrices(&mut self, size: u32, [left, right]: [&str; 2]) {
        self.files(&["enable f16;\nenable wgpu_cooperative_matrix;\n"]);
        self.constant("SIZE", size);
        for (name, number, role) in [(left, "f16", "A"), (right, "f16", "B"), ("Sums", "f32", "C")] {
            let _ = writeln!(self.wgsl, "alias {name} = coop_mat{size}x{size}<{number}, {role}>;");
        }
    }

    /// Text that kernels of attention have in common, whichever way they multiply.
    pub(super) fn attention(&mut self, kv: KvLayout, heads: Heads, sums: Sums) {
        let is_split = sums == Sums::Parts;
        self.kv(kv);
        self.constant("SHARED_WIDTH", kv.shared_width());
        self.constant("SHARED_QUADS", kv.shared_width().div_ceil(4));
        self.flag("IS_SPLIT", is_split);
        self.files(match kv.kv_type {
            KvType::F32 => &[file!("kv/f32")],
            KvType::F16 => &[file!("formats/f16"), file!("kv/pairs")],
            KvType::Bf16 => &[file!("formats/bf16"), file!("kv/pairs")],
            KvType::Q8_0 => &[file!("kv/q8_0")],
        });
        self.files(&[file!("softmax"), file!("attention")]);
        if !is_split && attend_quantizes(kv.value_width) {
            self.quantized(ATTEND_THREADS);
        } else {
            self.not_quantized(ATTEND_THREADS);
        }
        self.sinks(sums == Sums::Whole { has_sinks: true });
        match heads {
            Heads::Stored => self.files(&[file!("queries/stored")]),
            Heads::Own { is_normed } => {
                self.heads(kv, is_normed);
                self.files(&[file!("queries/own")]);
            }
        }
    }

    /// Outputs of `n_matrices` matrices: those of the second and the third are the next buffers.
    pub(super) fn outs(&mut self, n_matrices: u8) {
        self.files(&[match n_matrices {
            1 => file!("outs/one"),
            2 => file!("outs/two"),
            _ => file!("outs/three"),
        }]);
    }

    /// Without a way to multiply bytes for a kernel that has one of its own.
    pub(super) fn product(&mut self, layout: Layout, dot: Option<Dot>, inputs: Inputs) {
        self.files(&[file!("products/params"), file!("activation")]);
        self.layout(layout);
        if let Layout::Floats(_) = layout {
            return self.files(match inputs {
                Inputs::Stored => &[file!("products/floats"), file!("inputs/floats")],
                Inputs::Own => &[file!("products/floats"), file!("inputs/own_floats")],
            });
        }
        self.files(&[file!("products/integers"), file!("products/add_run")]);
        self.files(match inputs {
            Inputs::Stored => &[file!("inputs/quants")],
            Inputs::Own => &[file!("inputs/own_quants"), file!("rows/quantized")],
        });
        if let Some(dot) = dot {
            self.files(&[match dot {
                Dot::Packed => file!("products/dot_packed"),
                Dot::Floats => file!("products/dot_floats"),
            }]);
            self.files(&[file!("products/add_block")]);
        }
    }

    /// Reading of weights in `layout`.
    pub(super) fn layout(&mut self, layout: Layout) {
        self.math();
        match layout {
            Layout::Floats(Floats::F32) => self.files(&[file!("formats/f32")]),
            Layout::Floats(Floats::F16) => self.files(&[file!("formats/f16"), file!("formats/pairs")]),
            Layout::Floats(Floats::Bf16) => self.files(&[file!("formats/bf16"), file!("formats/pairs")]),
            Layout::Integers(Integers { quants, scales, offset }) => {
                let _ = writeln!(self.wgsl, "const OFFSET = {offset};");
                if let Quants::Codebook(book) = quants {
                    let words =
                        book.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(b.map(|b| b as u8)));
                    let words: Vec<String> = words.map(|w| format!("{w}u")).collect();
                    let _ = writeln!(self.wgsl, "const BOOK = array<u32, 4>({});", words.join(", "));
                }
                self.files(match quants {
                    Quants::Bytes => &[file!("formats/bytes")],
                    Quants::Nibbles => &[file!("formats/halves"), file!("formats/nibbles")],
                    Quants::Crumbs => &[file!("formats/quarters"), file!("formats/crumbs")],
                    Quants::NibblesAndBits => &[
                        file!("formats/halves"),
                        file!("formats/eighths"),
                        file!("formats/nibbles_and_bits"),
                    ],
                    Quants::NibblesAndCrumbs => &[
                        file!("formats/halves"),
                        file!("formats/quarters"),
                        file!("formats/nibbles_and_crumbs"),
                    ],
                    Quants::CrumbsAndBits => &[
                        file!("formats/quarters"),
                        file!("formats/eighths"),
                        file!("formats/crumbs_and_bits"),
                    ],
                    Quants::Codebook(_) => &[file!("formats/halves"), file!("formats/codebook")],
                });
                self.files(&[file!("formats/scales")]);
                self.files(&[match scales {
                    Scales::F16 => file!("formats/scale_f16"),
                    Scales::E8m0 => file!("formats/scale_e8m0"),
                    Scales::AndMinimum => file!("formats/scale_and_minimum"),
                    Scales::KMinimum => file!("formats/scale_k_minimum"),
                    Scales::KHalves => file!("formats/scale_k_halves"),
                    Scales::KHalvesMinimum => file!("formats/scale_k_halves_minimum"),
                    Scales::E4m3Halves => file!("formats/scale_e4m3_halves"),
                }]);
            }
        }
    }
}
