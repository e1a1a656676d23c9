//! Kimi delta attention (<https://arxiv.org/abs/2510.26692>): a delta-net whose states have a decay for every row, with a convolution each for
//! queries, keys and values.

use crate::architecture::Activation;
use crate::backend::{Backend, CausalConv, Columns, DeltaHeads, DeltaRule, LayerIdx, MatmulAdd, NormMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's Kimi delta attention, with as many key heads as value heads.
///
/// A state is the tails of the three convolutions, (kernel - 1, heads × width) each, and then the matrices, (heads, width, width).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KdaShape {
    /// Heads and their width.
    pub heads: DeltaHeads,
    /// Positions that the convolutions see, a row's own included.
    pub kernel: usize,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl KdaShape {
    /// Numbers of one convolution's tail.
    pub fn tail_width(&self) -> usize {
        (self.kernel - 1) * self.heads.value_dim()
    }

    /// Numbers of a state.
    pub fn state_width(&self) -> usize {
        3 * self.tail_width() + self.heads.state_width()
    }
}

/// The tensors of one layer's Kimi delta attention.
#[derive(Debug)]
pub struct Kda<W> {
    /// Heads, widths and numbers of the layer.
    pub shape: KdaShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// (heads × width, dim) each: queries, keys, values
    pub attn_qkv: [W; 3],
    /// (kernel, heads × width) each
    pub ssm_conv1d: [W; 3],
    /// (width, dim) and (heads × width, width): decays
    pub ssm_f: [W; 2],
    /// (width, dim) and (heads × width, width): the gate
    pub ssm_g: [W; 2],
    /// (heads, dim)
    pub ssm_beta: W,
    /// (heads,)
    pub ssm_a: W,
    /// (heads × width,)
    pub ssm_dt: W,
    /// (width,)
    pub ssm_norm: W,
    /// (dim, heads × width)
    pub attn_output: W,
    /// (dim,)
    pub post_attention_norm: Option<W>,
}

/// Activations of Kimi delta attention. `n` is the number of rows.
pub(crate) struct KdaScratch<T> {
    shape: KdaShape,
    projected: [T; 3], // (n, heads × width) each: queries, keys, values
    convolved: [T; 3], // (n, heads × width) each
    ranks: [T; 2],     // (n, width) each: of decays, of the gate
    alpha: T,          // (n, heads × width)
    gate: T,           // (n, heads × width)
    beta: T,           // (n, heads)
    out: T,            // (n, heads × width)
}

impl<T> KdaScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &KdaShape, b: &mut B) -> Result<Self, BackendError> {
        let DeltaHeads { n_value_heads, width, .. } = shape.heads;
        let value_dim = shape.heads.value_dim();
        let mut wide = || b.buffer(value_dim);
        let (projected, convolved) = ([wide()?, wide()?, wide()?], [wide()?, wide()?, wide()?]);
        let (alpha, gate, out) = (wide()?, wide()?, wide()?);
        Ok(KdaScratch {
            shape: *shape,
            projected,
            convolved,
            ranks: [b.buffer(width)?, b.buffer(width)?],
            alpha,
            gate,
            beta: b.buffer(n_value_heads)?,
            out,
        })
    }

    pub(super) fn fits(&self, shape: &KdaShape) -> bool {
        self.shape.heads == shape.heads
    }
}

impl<W> Kda<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: KdaShape,
    ) -> Result<Self, LoadError> {
        let DeltaHeads { n_value_heads, width, .. } = shape.heads;
        let (dim, value_dim, kernel) = (part.dim(), shape.heads.value_dim(), shape.kernel);
        let names = ["attn_q.weight", "attn_k.weight", "attn_v.weight"];
        Ok(Kda {
            shape,
            attn_norm: part.norm(part.norms.before_mixer)?,
            attn_qkv: part.matrices(names, [value_dim; 3], dim)?,
            ssm_conv1d: [
                part.taps("ssm_conv1d_q.weight", kernel, value_dim)?,
                part.taps("ssm_conv1d_k.weight", kernel, value_dim)?,
                part.taps("ssm_conv1d_v.weight", kernel, value_dim)?,
            ],
            ssm_f: [
                part.matrix("ssm_f_a.weight", width, dim)?,
                part.matrix("ssm_f_b.weight", value_dim, width)?,
            ],
            ssm_g: [
                part.matrix("ssm_g_a.weight", width, dim)?,
                part.matrix("ssm_g_b.weight", value_dim, width)?,
            ],
            ssm_beta: part.matrix("ssm_beta.weight", n_value_heads, dim)?,
            ssm_a: part.column("ssm_a", n_value_heads)?,
            ssm_dt: part.vector("ssm_dt.bias", value_dim)?,
            ssm_norm: part.vector("ssm_norm.weight", width)?,
            attn_output: part.matrix("attn_output.weight", dim, value_dim)?,
            post_attention_norm: part.optional_norm(part.norms.after_mixer)?,
        })
    }

    /// Every row continues its sequence's state.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, batch, .. }: &mut Sequences<'_, B>,
        s: &mut KdaScratch<B::Buffer>,
        layer: LayerIdx,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let KdaShape { heads, kernel, .. } = self.shape;
        let ([q, k, v], [f, g]) = (&mut s.projected, &mut s.ranks);
        let ([attn_q, attn_k, attn_v], [f_a, f_b], [g_a, g_b]) = (&self.attn_qkv, &self.ssm_f, &self.ssm_g);
        b.norm_matmul(NormMatmul {
            outs: &mut [q, k, v, f, g, &mut s.beta],
            weights: &[attn_q, attn_k, attn_v, f_a, g_a, &self.ssm_beta],
            normed: &mut stream.h,
            x: &stream.x,
            norm: self.attn_norm.as_ref(),
            eps,
        });
        b.matmul(&mut [&mut s.alpha], &[f_b], &s.ranks[0]);
        b.matmul(&mut [&mut s.gate], &[g_b], &s.ranks[1]);
        for (i, weight) in self.ssm_conv1d.iter().enumerate() {
            b.causal_conv(CausalConv {
                out: &mut s.convolved[i],
                x: &s.projected[i],
                weight,
                kernel,
                bias: None,
                activation: Some(Activation::Silu),
                pool: kv,
                layer,
                at: i * self.shape.tail_width(),
                batch,
            });
        }
        let [q, k, v] = s.convolved.each_ref().map(|x| Columns { x, first: 0 });
        b.delta_rule(DeltaRule {
            out: &mut s.out,
            q,
            k,
            v,
            beta: &s.beta,
            alpha: &s.alpha,
            ssm_a: &self.ssm_a,
            ssm_dt: &self.ssm_dt,
            heads,
            pool: kv,
            layer,
            at: 3 * self.shape.tail_width(),
            batch,
        });
        b.head_norm(&mut s.out, &self.ssm_norm, eps);
        b.sigmoid_gate(&mut s.out, &s.gate);
        let branch = stream.branch(&None, &self.post_attention_norm, eps);
        b.matmul_add(MatmulAdd { input: &s.out, weight: &self.attn_output, branch });
    }
}
