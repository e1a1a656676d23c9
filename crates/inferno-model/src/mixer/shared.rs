//! Attention over the keys and values that a layer before stores: the layer computes queries alone.
//!
//! Source: Gemma 4 in Hugging Face transformers (`num_kv_shared_layers` in `modeling_gemma4.py`).

use super::{AttentionScratch, AttentionShape};
use crate::backend::{
    Backend, LayerIdx, MatmulAdd, NormMatmul, QkNorm, add_bias, norm_and_rotate, scale_queries,
};
use crate::error::LoadError;
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's attention over the keys and values of another layer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SharedShape {
    /// Heads, widths and numbers of the layer; its cache group is that of the other layer.
    pub attention: AttentionShape,
    /// The layer before this one that stores the keys and values.
    pub source: usize,
}

/// The tensors of such a layer. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Shared<W> {
    /// Heads, widths and numbers of the layer.
    pub shape: SharedShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// (q_dim, dim)
    pub attn_q: W,
    /// (q_dim,)
    pub attn_q_bias: Option<W>,
    /// (key_width,), or (q_dim,) of whole rows
    pub attn_q_norm: Option<W>,
    /// (n_heads,)
    pub attn_sinks: Option<W>,
    /// (dim, out_dim)
    pub attn_output: W,
    /// (dim,)
    pub attn_output_bias: Option<W>,
    /// (dim,)
    pub post_attention_norm: Option<W>,
}

impl<W> Shared<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: SharedShape,
    ) -> Result<Self, LoadError> {
        // Files may have tensors for keys and values that such a layer never computes.
        for spare in ["attn_k.weight", "attn_v.weight", "attn_k.bias", "attn_v.bias", "attn_k_norm.weight"] {
            part.leave_out(spare);
        }
        let (dim, norms, attention) = (part.dim(), part.norms, &shape.attention);
        let (q_dim, out_dim) = (attention.q_dim(), attention.out_dim());
        let q_norm = match attention.qk_norm {
            QkNorm::Heads | QkNorm::RotatedHeads => attention.key_width,
            QkNorm::Rows => q_dim,
        };
        Ok(Shared {
            shape,
            attn_norm: part.norm(norms.before_mixer)?,
            attn_q: part.matrix("attn_q.weight", q_dim, dim)?,
            attn_q_bias: part.optional("attn_q.bias", q_dim)?,
            attn_q_norm: part.optional("attn_q_norm.weight", q_norm)?,
            attn_sinks: part.optional("attn_sinks.weight", attention.n_heads)?,
            attn_output: part.matrix("attn_output.weight", dim, out_dim)?,
            attn_output_bias: part.optional("attn_output.bias", dim)?,
            post_attention_norm: part.optional_norm(norms.after_mixer)?,
        })
    }

    /// Every row looks at its sequence's rows up to itself, as the other layer has stored them.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, angles, batch }: &mut Sequences<'_, B>,
        s: &mut AttentionScratch<B::Buffer>,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let SharedShape { attention, source } = &self.shape;
        let AttentionScratch { q, out, .. } = s;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut *q],
            weights: &[&self.attn_q],
            normed: &mut stream.h,
            x: &stream.x,
            norm: self.attn_norm.as_ref(),
            eps,
        });
        let angles = attention.rope_idx.map(|idx| &angles[idx]);
        add_bias(*b, q, self.attn_q_bias.as_ref());
        let norm = (self.attn_q_norm.as_ref(), attention.qk_norm, eps);
        norm_and_rotate(*b, q, attention.key_width, norm, angles);
        scale_queries(*b, q, angles);
        let layer = LayerIdx { layer: *source, group: attention.group };
        b.attend(out, q, kv, batch, &attention.of_backend(layer), self.attn_sinks.as_ref());
        let branch = stream.branch(&self.attn_output_bias, &self.post_attention_norm, eps);
        b.matmul_add(MatmulAdd { input: out, weight: &self.attn_output, branch });
    }
}
