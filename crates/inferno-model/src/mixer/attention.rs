//! Attention over the keys and values of a sequence.

use crate::backend::{self, AttendHeads, Backend, LayerIdx, MatmulAdd, NormMatmul, QkNorm};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// Query heads.
    pub n_heads: usize,
    /// Key heads, as many value heads; `n_heads` is a multiple of it.
    pub n_kv_heads: usize,
    /// Numbers in one query head or key head.
    pub key_width: usize,
    /// Numbers in one value head.
    pub value_width: usize,
    /// Index into [`Architecture::ropes`](crate::architecture::Architecture::ropes); `None`: queries and keys are not rotated.
    pub rope_idx: Option<usize>,
    /// Keys a row sees, itself included; `None` sees all.
    pub window: Option<usize>,
    /// Scores are squashed to `±cap` by `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Extent of the norms of queries and keys, in files that have them.
    pub qk_norm: QkNorm,
    /// Every value head is normed, without weights.
    pub norms_values: bool,
    /// The layer has no `attn_v`: a row's values are its keys, before they are normed and rotated.
    pub values_are_keys: bool,
    /// Outputs of heads are multiplied by the sigmoid of a gate, whose rows follow those of the head's query in `attn_q`.
    pub has_gate: bool,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl AttentionShape {
    /// Numbers of a row in all query heads.
    pub fn q_dim(&self) -> usize {
        self.n_heads * self.key_width
    }

    /// Numbers of a row in all key heads.
    pub fn k_dim(&self) -> usize {
        self.n_kv_heads * self.key_width
    }

    /// Numbers of a row in all value heads.
    pub fn v_dim(&self) -> usize {
        self.n_kv_heads * self.value_width
    }

    /// Numbers of a row in what all heads give.
    pub fn out_dim(&self) -> usize {
        self.n_heads * self.value_width
    }

    pub(super) fn of_backend(&self, layer: LayerIdx) -> backend::Attention {
        backend::Attention {
            layer,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            key_width: self.key_width,
            value_width: self.value_width,
            scale: self.scale,
            softcap: self.softcap,
            window: self.window,
        }
    }
}

/// The tensors of one layer's attention. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Attention<W> {
    /// Heads, widths and numbers of the layer.
    pub shape: AttentionShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// (q_dim, dim)
    pub attn_q: W,
    /// Rows of `attn_q` or of `attn_qkv`: (out_dim, dim)
    pub attn_q_gate: Option<W>,
    /// (k_dim, dim)
    pub attn_k: W,
    /// (v_dim, dim); `attn_k` where values are keys
    pub attn_v: W,
    /// (q_dim,)
    pub attn_q_bias: Option<W>,
    /// (k_dim,)
    pub attn_k_bias: Option<W>,
    /// (v_dim,)
    pub attn_v_bias: Option<W>,
    /// (key_width,), or (q_dim,) of whole rows
    pub attn_q_norm: Option<W>,
    /// (key_width,), or (k_dim,) of whole rows
    pub attn_k_norm: Option<W>,
    /// (value_width,), of ones
    pub attn_v_norm: Option<W>,
    /// (n_heads,)
    pub attn_sinks: Option<W>,
    /// (dim, out_dim)
    pub attn_output: W,
    /// (dim,)
    pub attn_output_bias: Option<W>,
    /// (dim,)
    pub post_attention_norm: Option<W>,
}

/// Activations of attention. `n` is the number of rows.
pub(crate) struct AttentionScratch<T> {
    /// q_dim, k_dim, v_dim, out_dim
    widths: [usize; 4],
    pub(super) q: T,   // (n, q_dim)
    k: T,              // (n, k_dim)
    v: T,              // (n, v_dim)
    pub(super) out: T, // (n, out_dim)
    gate: Option<T>,   // (n, out_dim)
}

impl<T> AttentionScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(
        shape: &AttentionShape,
        b: &mut B,
    ) -> Result<Self, BackendError> {
        let widths = widths(shape);
        let [q, k, v, out] = widths;
        let gate = shape.has_gate.then(|| b.buffer(out)).transpose()?;
        let (q, k, v, out) = (b.buffer(q)?, b.buffer(k)?, b.buffer(v)?, b.buffer(out)?);
        Ok(AttentionScratch { widths, q, k, v, out, gate })
    }

    pub(super) fn fits(&self, shape: &AttentionShape) -> bool {
        self.widths == widths(shape) && self.gate.is_some() == shape.has_gate
    }
}

fn widths(shape: &AttentionShape) -> [usize; 4] {
    [shape.q_dim(), shape.k_dim(), shape.v_dim(), shape.out_dim()]
}

impl<W> Attention<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: AttentionShape,
    ) -> Result<Self, LoadError> {
        let (dim, norms) = (part.dim(), part.norms);
        let [q_dim, k_dim, v_dim, out_dim] = widths(&shape);
        let values = if shape.values_are_keys { "attn_k.weight" } else { "attn_v.weight" };
        let (gated, rows) = ([shape.key_width, shape.value_width], [k_dim, v_dim]);
        let (attn_q, attn_q_gate, attn_k, attn_v) = match (shape.has_gate, part.has("attn_qkv.weight")) {
            (false, true) => {
                let [q, k, v] = part.cut("attn_qkv.weight", [q_dim, k_dim, v_dim], dim)?;
                (q, None, k, v)
            }
            (false, false) => {
                let names = ["attn_q.weight", "attn_k.weight", values];
                let [q, k, v] = part.matrices(names, [q_dim, k_dim, v_dim], dim)?;
                (q, None, k, v)
            }
            (true, true) => {
                let rows = part.cut_heads_and_rows("attn_qkv.weight", shape.n_heads, gated, rows, dim)?;
                let [q, gate, k, v] = rows;
                (q, Some(gate), k, v)
            }
            (true, false) => {
                let [q, gate] = part.cut_heads("attn_q.weight", shape.n_heads, gated, dim)?;
                let [k, v] = part.matrices(["attn_k.weight", values], rows, dim)?;
                (q, Some(gate), k, v)
            }
        };
        let [q_norm, k_norm] = match shape.qk_norm {
            QkNorm::Heads | QkNorm::RotatedHeads => [shape.key_width; 2],
            QkNorm::Rows => [q_dim, k_dim],
        };
        let v_bias = if shape.values_are_keys { "attn_k.bias" } else { "attn_v.bias" };
        Ok(Attention {
            shape,
            attn_norm: part.norm(norms.before_mixer)?,
            attn_q,
            attn_q_gate,
            attn_k,
            attn_v,
            attn_q_bias: part.optional("attn_q.bias", q_dim)?,
            attn_k_bias: part.optional("attn_k.bias", k_dim)?,
            attn_v_bias: part.optional(v_bias, v_dim)?,
            attn_q_norm: part.optional("attn_q_norm.weight", q_norm)?,
            attn_k_norm: part.optional("attn_k_norm.weight", k_norm)?,
            attn_v_norm: shape.norms_values.then(|| part.ones(shape.value_width)).transpose()?,
            attn_sinks: part.optional("attn_sinks.weight", shape.n_heads)?,
            attn_output: part.matrix("attn_output.weight", dim, out_dim)?,
            attn_output_bias: part.optional("attn_output.bias", dim)?,
            post_attention_norm: part.optional_norm(norms.after_mixer)?,
        })
    }

    /// Every row looks at its sequence's rows up to itself.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, angles, batch }: &mut Sequences<'_, B>,
        s: &mut AttentionScratch<B::Buffer>,
        layer: LayerIdx,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let (normed, x, norm) = (&mut stream.h, &stream.x, self.attn_norm.as_ref());
        match (&mut s.gate, &self.attn_q_gate) {
            (Some(gate), Some(attn_q_gate)) => b.norm_matmul(NormMatmul {
                outs: &mut [&mut s.q, gate, &mut s.k, &mut s.v],
                weights: &[&self.attn_q, attn_q_gate, &self.attn_k, &self.attn_v],
                normed,
                x,
                norm,
                eps,
            }),
            _ => b.norm_matmul(NormMatmul {
                outs: &mut [&mut s.q, &mut s.k, &mut s.v],
                weights: &[&self.attn_q, &self.attn_k, &self.attn_v],
                normed,
                x,
                norm,
                eps,
            }),
        }
        b.attend_heads(AttendHeads {
            out: &mut s.out,
            q: &mut s.q,
            k: &mut s.k,
            v: &mut s.v,
            q_bias: self.attn_q_bias.as_ref(),
            k_bias: self.attn_k_bias.as_ref(),
            v_bias: self.attn_v_bias.as_ref(),
            q_norm: self.attn_q_norm.as_ref(),
            k_norm: self.attn_k_norm.as_ref(),
            qk_norm: self.shape.qk_norm,
            v_norm: self.attn_v_norm.as_ref(),
            eps,
            angles: self.shape.rope_idx.map(|idx| &angles[idx]),
            pool: kv,
            batch,
            attention: &self.shape.of_backend(layer),
            sinks: self.attn_sinks.as_ref(),
        });
        if let Some(gate) = &s.gate {
            b.sigmoid_gate(&mut s.out, gate);
        }
        let branch = stream.branch(&self.attn_output_bias, &self.post_attention_norm, eps);
        b.matmul_add(MatmulAdd { input: &s.out, weight: &self.attn_output, branch });
    }
}
