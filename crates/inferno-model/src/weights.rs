//! A model's tensors by their GGUF names, checked against the architecture and handed to a backend.
//!
//! Fused tensors (`attn_qkv`, gate and up in one `ffn_up`) are cut by rows here; nobody else knows of them.

use std::collections::HashSet;

use inferno_format::{DType, Gguf, TensorEntry};

use crate::architecture::{Architecture, FfnShape, Routing};
use crate::backend::{Backend, ExpertWeights, HostTensor, Source};
use crate::error::LoadError;

/// All tensors of a model, in a backend's layout.
#[derive(Debug)]
pub struct Weights<W> {
    /// (vocab_size, dim)
    pub token_embd: W,
    /// (dim,)
    pub output_norm: W,
    /// (vocab_size, dim); `None` if tied to `token_embd`.
    pub output: Option<W>,
    /// One per layer.
    pub layers: Vec<LayerWeights<W>>,
}

/// The tensors of one layer. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct LayerWeights<W> {
    /// (dim,)
    pub attn_norm: W,
    /// (n_heads × head_dim, dim)
    pub attn_q: W,
    /// (n_kv_heads × head_dim, dim)
    pub attn_k: W,
    /// (n_kv_heads × head_dim, dim)
    pub attn_v: W,
    /// (n_heads × head_dim,)
    pub attn_q_bias: Option<W>,
    /// (n_kv_heads × head_dim,)
    pub attn_k_bias: Option<W>,
    /// (n_kv_heads × head_dim,)
    pub attn_v_bias: Option<W>,
    /// (head_dim,)
    pub attn_q_norm: Option<W>,
    /// (head_dim,)
    pub attn_k_norm: Option<W>,
    /// (dim, n_heads × head_dim)
    pub attn_output: W,
    /// (dim,)
    pub attn_output_bias: Option<W>,
    /// (dim,)
    pub post_attention_norm: Option<W>,
    /// (dim,)
    pub ffn_norm: W,
    /// The feed-forward network.
    pub ffn: Ffn<W>,
    /// (dim,)
    pub post_ffw_norm: Option<W>,
}

/// One network for every row, or many to choose from.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are GGUF tensor names")]
pub enum Ffn<W> {
    /// gate and up (ffn_dim, dim), down (dim, ffn_dim)
    Dense { ffn_gate: W, ffn_up: W, ffn_down: W },
    /// router (n_experts, dim)
    Experts { ffn_gate_inp: W, experts: ExpertWeights<W>, routing: Routing },
}

impl<W> Weights<W> {
    /// Reads, checks and uploads every tensor of `file`, then makes sure that the file was not changed meanwhile.
    pub fn load<B: Backend<Weight = W>>(
        file: &Gguf,
        arch: &Architecture,
        backend: &mut B,
    ) -> Result<Weights<W>, LoadError> {
        let mut loader = Loader::new(file, arch, backend);
        let (dim, vocab_size) = (arch.dim, arch.vocab_size);
        let token_embd = loader.matrix("token_embd.weight", vocab_size, dim)?;
        let output_norm = loader.vector("output_norm.weight", dim)?;
        let output = match file.tensor("output.weight") {
            Some(_) => Some(loader.matrix("output.weight", vocab_size, dim)?),
            None => None,
        };
        let layers = (0..arch.layers.len()).map(|i| loader.layer(i)).collect::<Result<_, _>>()?;
        loader.finish()?;
        Ok(Weights { token_embd, output_norm, output, layers })
    }
}

/// The factors that divide RoPE frequencies, if the file has them: `n` positive numbers.
pub(crate) fn rope_factors(file: &Gguf, name: &str, n: usize) -> Result<Option<Vec<f32>>, LoadError> {
    let Some(entry) = file.tensor(name) else { return Ok(None) };
    check_shape(entry, &[n])?;
    check_float(entry)?;
    let mut factors = vec![0.0; n];
    let bytes = file.read(entry)?;
    inferno_format::dequantize(entry.dtype, &bytes, &mut factors).expect("floats of the length just checked");
    match factors.iter().all(|f| f.is_finite() && *f > 0.0) {
        true => Ok(Some(factors)),
        false => Err(LoadError::Values { name: name.into(), expected: "finite numbers above zero" }),
    }
}

struct Loader<'a, B> {
    file: &'a Gguf,
    arch: &'a Architecture,
    backend: &'a mut B,
    /// Names of per-layer tensors, without `blk.N.`, that any layer has.
    in_layers: HashSet<&'a str>,
    used: HashSet<String>,
}

impl<'a, B: Backend> Loader<'a, B> {
    fn new(file: &'a Gguf, arch: &'a Architecture, backend: &'a mut B) -> Self {
        let in_layers = file.tensors().iter().filter_map(|t| t.name.strip_prefix("blk.")?.split_once('.'));
        let in_layers = in_layers.map(|(_, name)| name).collect();
        Loader { file, arch, backend, in_layers, used: HashSet::new() }
    }

    fn layer(&mut self, i: usize) -> Result<LayerWeights<B::Weight>, LoadError> {
        let Architecture { dim, head_dim, n_heads, n_kv_heads, .. } = *self.arch;
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let blk = |name: &str| format!("blk.{i}.{name}");

        let [attn_q, attn_k, attn_v] = match self.file.tensor(&blk("attn_qkv.weight")) {
            Some(_) => self.cut(&blk("attn_qkv.weight"), [q_dim, kv_dim, kv_dim], dim)?,
            None => {
                let names = ["attn_q.weight", "attn_k.weight", "attn_v.weight"].map(blk);
                self.matrices(&names, [q_dim, kv_dim, kv_dim], dim)?
            }
        };
        Ok(LayerWeights {
            attn_norm: self.vector(&blk("attn_norm.weight"), dim)?,
            attn_q,
            attn_k,
            attn_v,
            attn_q_bias: self.optional(i, "attn_q.bias", q_dim)?,
            attn_k_bias: self.optional(i, "attn_k.bias", kv_dim)?,
            attn_v_bias: self.optional(i, "attn_v.bias", kv_dim)?,
            attn_q_norm: self.optional(i, "attn_q_norm.weight", head_dim)?,
            attn_k_norm: self.optional(i, "attn_k_norm.weight", head_dim)?,
            attn_output: self.matrix(&blk("attn_output.weight"), dim, q_dim)?,
            attn_output_bias: self.optional(i, "attn_output.bias", dim)?,
            post_attention_norm: self.optional(i, "post_attention_norm.weight", dim)?,
            ffn_norm: self.vector(&blk("ffn_norm.weight"), dim)?,
            ffn: self.ffn(i)?,
            post_ffw_norm: self.optional(i, "post_ffw_norm.weight", dim)?,
        })
    }

    fn ffn(&mut self, i: usize) -> Result<Ffn<B::Weight>, LoadError> {
        let dim = self.arch.dim;
        let blk = |name: &str| format!("blk.{i}.{name}");
        match self.arch.ffn {
            FfnShape::Dense { ffn_dim } => {
                let up = blk("ffn_up.weight");
                let fused = self.file.tensor(&blk("ffn_gate.weight")).is_none()
                    && self.file.tensor(&up).is_some_and(|t| t.n_rows() == 2 * ffn_dim);
                let [ffn_gate, ffn_up] = match fused {
                    true => self.cut(&up, [ffn_dim, ffn_dim], dim)?,
                    false => self.matrices(&[blk("ffn_gate.weight"), up], [ffn_dim, ffn_dim], dim)?,
                };
                let ffn_down = self.matrix(&blk("ffn_down.weight"), dim, ffn_dim)?;
                Ok(Ffn::Dense { ffn_gate, ffn_up, ffn_down })
            }
            FfnShape::Experts { n_experts, ffn_dim, routing } => Ok(Ffn::Experts {
                ffn_gate_inp: self.matrix(&blk("ffn_gate_inp.weight"), n_experts, dim)?,
                experts: ExpertWeights {
                    ffn_gate_exps: self.stacked(i, "ffn_gate", [n_experts, ffn_dim, dim])?,
                    ffn_up_exps: self.stacked(i, "ffn_up", [n_experts, ffn_dim, dim])?,
                    ffn_down_exps: self.stacked(i, "ffn_down", [n_experts, dim, ffn_dim])?,
                },
                routing,
            }),
        }
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<B::Weight, LoadError> {
        let entry = self.entry(name, &[cols, rows])?;
        self.upload(entry, 1, rows, cols)
    }

    /// Matrices that have the same input.
    fn matrices<const N: usize>(
        &mut self,
        names: &[String; N],
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        let mut tensors = Vec::new();
        for (name, rows) in names.iter().zip(rows) {
            let entry = self.entry(name, &[cols, rows])?;
            tensors.push(self.tensor(name.clone(), [1, rows, cols], vec![(entry, 0)]));
        }
        self.upload_together(&tensors)
    }

    /// The matrices of all experts of layer `i`: in one tensor, or one each as older files have them
    /// (`ffn_up.3.weight` for `ffn_up_exps.weight`).
    fn stacked(&mut self, i: usize, name: &str, shape: [usize; 3]) -> Result<B::Weight, LoadError> {
        let [n_experts, rows, cols] = shape;
        let one = format!("blk.{i}.{name}_exps.weight");
        let each = |expert| format!("blk.{i}.{name}.{expert}.weight");
        if self.file.tensor(&one).is_some() || self.file.tensor(&each(0)).is_none() {
            let entry = self.entry(&one, &[cols, rows, n_experts])?;
            return self.upload(entry, n_experts, rows, cols);
        }
        let first = self.entry(&each(0), &[cols, rows])?;
        let mut parts = Vec::new();
        for expert in 0..n_experts {
            let entry = self.entry(&each(expert), &[cols, rows])?;
            if entry.dtype != first.dtype {
                return Err(unfit_type(entry, |t| t == first.dtype));
            }
            parts.push((entry, 0));
        }
        self.upload_parts(one, shape, parts)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<B::Weight, LoadError> {
        let entry = self.entry(name, &[len])?;
        check_float(entry)?;
        self.upload(entry, 1, 1, len)
    }

    /// A per-layer vector that a family may have; if one layer has it, all must.
    fn optional(&mut self, i: usize, name: &str, len: usize) -> Result<Option<B::Weight>, LoadError> {
        let expected = self.in_layers.contains(name) || self.arch.required.contains(&name);
        expected.then(|| self.vector(&format!("blk.{i}.{name}"), len)).transpose()
    }

    /// Cuts a matrix into several by rows.
    fn cut<const N: usize>(
        &mut self,
        name: &str,
        rows: [usize; N],
        cols: usize,
    ) -> Result<[B::Weight; N], LoadError> {
        let entry = self.entry(name, &[cols, rows.iter().sum()])?;
        let mut start = 0;
        let mut tensors = Vec::new();
        for rows in rows {
            tensors.push(self.tensor(name.into(), [1, rows, cols], vec![(entry, start)]));
            start += rows;
        }
        self.upload_together(&tensors)
    }

    /// The tensor `name`, marked as used, if it has these dimensions and a type we compute with.
    fn entry(&mut self, name: &str, dims: &[usize]) -> Result<&'a TensorEntry, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into(), expected: dims.into() };
        let entry = self.file.tensor(name).ok_or_else(missing)?;
        check_shape(entry, dims)?;
        if !entry.dtype.can_dequantize() {
            return Err(unfit_type(entry, DType::can_dequantize));
        }
        self.used.insert(name.into());
        Ok(entry)
    }

    fn upload(
        &mut self,
        entry: &'a TensorEntry,
        n_experts: usize,
        rows: usize,
        cols: usize,
    ) -> Result<B::Weight, LoadError> {
        self.upload_parts(entry.name.clone(), [n_experts, rows, cols], vec![(entry, 0)])
    }

    fn upload_parts(
        &mut self,
        name: String,
        shape: [usize; 3],
        parts: Vec<(&'a TensorEntry, usize)>,
    ) -> Result<B::Weight, LoadError> {
        self.backend.upload(&self.tensor(name, shape, parts))
    }

    fn upload_together<const N: usize>(
        &mut self,
        tensors: &[HostTensor<'a>],
    ) -> Result<[B::Weight; N], LoadError> {
        let weights = self.backend.upload_together(tensors)?;
        Ok(weights.try_into().ok().expect("a weight for every tensor"))
    }

    fn tensor(
        &self,
        name: String,
        [n_experts, rows, cols]: [usize; 3],
        parts: Vec<(&'a TensorEntry, usize)>,
    ) -> HostTensor<'a> {
        let dtype = parts[0].0.dtype;
        HostTensor { name, dtype, n_experts, rows, cols, source: Source::File { file: self.file, parts } }
    }

    /// Refuses tensors that found no use, and a file that changed while it was read.
    fn finish(self) -> Result<(), LoadError> {
        // Read with the architecture, or constants that follow from the metadata.
        const ELSEWHERE: [&str; 5] = [
            "rope_freqs.weight",
            "rope_factors_long.weight",
            "rope_factors_short.weight",
            "attn_rot_embd",
            "rotary_emb.inv_freq",
        ];
        let unused = |t: &&TensorEntry| {
            !self.used.contains(&t.name) && !ELSEWHERE.iter().any(|known| t.name.ends_with(known))
        };
        if let Some(entry) = self.file.tensors().iter().find(unused) {
            return Err(LoadError::UnusedTensor { name: entry.name.clone(), family: self.arch.family });
        }
        Ok(self.file.verify_unchanged()?)
    }
}

/// Dimensions in GGUF order; ones at the end do not count.
fn check_shape(entry: &TensorEntry, expected: &[usize]) -> Result<(), LoadError> {
    let trim = |dims: &[usize]| dims.len() - dims.iter().rev().take_while(|&&d| d == 1).count();
    if entry.dims[..trim(&entry.dims)] == expected[..trim(expected)] {
        return Ok(());
    }
    Err(LoadError::Shape { name: entry.name.clone(), found: entry.dims.to_vec(), expected: expected.into() })
}

fn check_float(entry: &TensorEntry) -> Result<(), LoadError> {
    if entry.dtype.is_float() { Ok(()) } else { Err(unfit_type(entry, DType::is_float)) }
}

fn unfit_type(entry: &TensorEntry, fits: impl Fn(DType) -> bool) -> LoadError {
    let known = DType::ALL.iter().filter(|&&t| fits(t)).map(|t| t.name()).collect::<Vec<_>>().join(" ");
    LoadError::TensorType { name: entry.name.clone(), found: entry.dtype.name(), known }
}
