//! Gated delta-net (<https://arxiv.org/abs/2412.06464>): a matrix per value head, which every row decays, corrects and reads.

use crate::architecture::Activation;
use crate::backend::{Backend, CausalConv, Columns, DeltaHeads, DeltaRule, GluMatmul, LayerIdx, NormMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's gated delta-net.
///
/// A state is the tail of the convolution, (kernel - 1, channels), and then the matrices, (value heads, width, width).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeltaNetShape {
    /// Heads and their width.
    pub heads: DeltaHeads,
    /// Positions that the convolution of queries, keys and values sees, a row's own included.
    pub kernel: usize,
    /// Strengths and decays are projected by one tensor, `ssm_ba`, whose rows are those of a key head's value heads: strengths, then decays.
    pub fuses_strengths: bool,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl DeltaNetShape {
    /// Channels of the convolution: queries, keys and values.
    pub fn channels(&self) -> usize {
        2 * self.heads.key_dim() + self.heads.value_dim()
    }

    /// Numbers of the convolution's tail.
    pub fn tail_width(&self) -> usize {
        (self.kernel - 1) * self.channels()
    }

    /// Numbers of a state.
    pub fn state_width(&self) -> usize {
        self.tail_width() + self.heads.state_width()
    }
}

/// The tensors of one layer's delta-net.
#[derive(Debug)]
pub struct DeltaNet<W> {
    /// Heads, widths and numbers of the layer.
    pub shape: DeltaNetShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// (channels, dim): queries, keys, values
    pub attn_qkv: W,
    /// (value heads × width, dim)
    pub attn_gate: W,
    /// (value heads, dim)
    pub ssm_beta: W,
    /// (value heads, dim)
    pub ssm_alpha: W,
    /// (kernel, channels)
    pub ssm_conv1d: W,
    /// (value heads,)
    pub ssm_a: W,
    /// (value heads,)
    pub ssm_dt: W,
    /// (width,)
    pub ssm_norm: W,
    /// (dim, value heads × width)
    pub ssm_out: W,
    /// (dim,)
    pub post_attention_norm: Option<W>,
}

/// Activations of a delta-net. `n` is the number of rows.
pub(crate) struct DeltaNetScratch<T> {
    shape: DeltaNetShape,
    qkv: T,       // (n, channels)
    convolved: T, // (n, channels)
    gate: T,      // (n, value heads × width)
    beta: T,      // (n, value heads)
    alpha: T,     // (n, value heads)
    out: T,       // (n, value heads × width)
}

impl<T> DeltaNetScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(
        shape: &DeltaNetShape,
        b: &mut B,
    ) -> Result<Self, BackendError> {
        let DeltaHeads { n_value_heads, .. } = shape.heads;
        let value_dim = shape.heads.value_dim();
        Ok(DeltaNetScratch {
            shape: *shape,
            qkv: b.buffer(shape.channels())?,
            convolved: b.buffer(shape.channels())?,
            gate: b.buffer(value_dim)?,
            beta: b.buffer(n_value_heads)?,
            alpha: b.buffer(n_value_heads)?,
            out: b.buffer(value_dim)?,
        })
    }

    pub(super) fn fits(&self, shape: &DeltaNetShape) -> bool {
        self.shape.heads == shape.heads
    }
}

impl<W> DeltaNet<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: DeltaNetShape,
    ) -> Result<Self, LoadError> {
        let DeltaHeads { n_key_heads, n_value_heads, width, .. } = shape.heads;
        let (dim, channels, value_dim) = (part.dim(), shape.channels(), shape.heads.value_dim());
        let [attn_qkv, attn_gate] =
            part.matrices(["attn_qkv.weight", "attn_gate.weight"], [channels, value_dim], dim)?;
        let [ssm_beta, ssm_alpha] = match shape.fuses_strengths {
            true => part.cut_heads("ssm_ba.weight", n_key_heads, [n_value_heads / n_key_heads; 2], dim)?,
            false => part.matrices(["ssm_beta.weight", "ssm_alpha.weight"], [n_value_heads; 2], dim)?,
        };
        Ok(DeltaNet {
            shape,
            attn_norm: part.norm(part.norms.before_mixer)?,
            attn_qkv,
            attn_gate,
            ssm_beta,
            ssm_alpha,
            ssm_conv1d: part.taps("ssm_conv1d.weight", shape.kernel, channels)?,
            ssm_a: part.vector("ssm_a", n_value_heads)?,
            ssm_dt: part.vector("ssm_dt.bias", n_value_heads)?,
            ssm_norm: part.vector("ssm_norm.weight", width)?,
            ssm_out: part.matrix("ssm_out.weight", dim, value_dim)?,
            post_attention_norm: part.optional_norm(part.norms.after_mixer)?,
        })
    }

    /// Every row continues its sequence's state.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, batch, .. }: &mut Sequences<'_, B>,
        s: &mut DeltaNetScratch<B::Buffer>,
        layer: LayerIdx,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let DeltaNetShape { heads, kernel, .. } = self.shape;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut s.qkv, &mut s.gate, &mut s.beta, &mut s.alpha],
            weights: &[&self.attn_qkv, &self.attn_gate, &self.ssm_beta, &self.ssm_alpha],
            normed: &mut stream.h,
            x: &stream.x,
            norm: self.attn_norm.as_ref(),
            eps,
        });
        b.causal_conv(CausalConv {
            out: &mut s.convolved,
            x: &s.qkv,
            weight: &self.ssm_conv1d,
            kernel,
            bias: None,
            activation: Some(Activation::Silu),
            pool: kv,
            layer,
            at: 0,
            batch,
        });
        b.delta_rule(DeltaRule {
            out: &mut s.out,
            q: Columns { x: &s.convolved, first: 0 },
            k: Columns { x: &s.convolved, first: heads.key_dim() },
            v: Columns { x: &s.convolved, first: 2 * heads.key_dim() },
            beta: &s.beta,
            alpha: &s.alpha,
            ssm_a: &self.ssm_a,
            ssm_dt: &self.ssm_dt,
            heads,
            pool: kv,
            layer,
            at: self.shape.tail_width(),
            batch,
        });
        b.head_norm(&mut s.out, &self.ssm_norm, eps);
        let branch = stream.branch(&None, &self.post_attention_norm, eps);
        b.glu_matmul(GluMatmul {
            gate: &mut s.gate,
            up: Some(&s.out),
            activation: Activation::Silu,
            down: &self.ssm_out,
            branch,
        });
    }
}
