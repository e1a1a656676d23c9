//! Multi-head latent attention (DeepSeek-V2, <https://arxiv.org/abs/2405.04434>), absorbed: the cache holds one latent row a
//! position, which all heads share as key and as value.
//!
//! ```text
//! x ──▶ q, per head [nope | pe]     nope ──▶ attn_k_b ──▶ [latent | pe]  queries of rank + rope_width numbers
//! x ──▶ [c | k_pe]                  c normed, pe rotated: the key; c alone: the value
//! softmax(q kᵀ) c, per head of rank numbers ──▶ attn_v_b ──▶ attn_output
//! ```
//!
//! Keys and values of heads (`attn_k_b` × c, `attn_v_b` × c) are never computed, of a prompt neither: they would round
//! otherwise, and a row's result would depend on the step that computes it.

use crate::backend::{self, Backend, LayerIdx, MatmulAdd, NormMatmul, scale_queries};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's latent attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatentShape {
    /// Query heads.
    pub n_heads: usize,
    /// Numbers of the compressed query; `None`: queries come from the residual stream by one matrix.
    pub query_rank: Option<usize>,
    /// Numbers of the compressed key and value.
    pub rank: usize,
    /// Numbers of a query head that are not rotated.
    pub nope_width: usize,
    /// Numbers of a query head that are rotated, and of the key that all heads share.
    pub rope_width: usize,
    /// Numbers in what a head gives.
    pub value_width: usize,
    /// Index into [`Architecture::ropes`](crate::architecture::Architecture::ropes); `None`: nothing rotates.
    pub rope_idx: Option<usize>,
    /// Scores are multiplied by this.
    pub scale: f32,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl LatentShape {
    /// Numbers of a key, and of a query head after `attn_k_b`.
    pub fn key_width(&self) -> usize {
        self.rank + self.rope_width
    }

    fn of_backend(&self, layer: LayerIdx) -> backend::Attention {
        backend::Attention {
            layer,
            n_heads: self.n_heads,
            n_kv_heads: 1,
            key_width: self.key_width(),
            value_width: self.rank,
            scale: self.scale,
            softcap: None,
            window: None,
        }
    }
}

/// The tensors of one layer's latent attention.
#[derive(Debug)]
pub struct Latent<W> {
    /// Heads, widths and numbers of the layer.
    pub shape: LatentShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// The compression of queries, if the layer has one.
    pub query: Option<QueryRank<W>>,
    /// Rows of `attn_q_b`, or of `attn_q`, that are not rotated: (n_heads × nope_width, query_rank or dim)
    pub attn_q_nope: W,
    /// Rows of the same tensor that are rotated: (n_heads × rope_width, query_rank or dim)
    pub attn_q_pe: W,
    /// Rows of `attn_kv_a_mqa`: (rank, dim)
    pub attn_kv_a: W,
    /// Rows of `attn_kv_a_mqa`: (rope_width, dim)
    pub attn_k_pe: W,
    /// (rank,)
    pub attn_kv_a_norm: W,
    /// (n_heads, rank, nope_width)
    pub attn_k_b: W,
    /// (n_heads, value_width, rank)
    pub attn_v_b: W,
    /// (dim, n_heads × value_width)
    pub attn_output: W,
}

/// Tensors that compress queries.
#[derive(Debug)]
pub struct QueryRank<W> {
    /// (query_rank, dim)
    pub attn_q_a: W,
    /// (query_rank,)
    pub attn_q_a_norm: W,
}

/// Activations of latent attention. `n` is the number of rows.
pub(crate) struct LatentScratch<T> {
    widths: [usize; 7],
    q_a: T,      // (n, query_rank)
    q_normed: T, // (n, query_rank)
    nope: T,     // (n, n_heads × nope_width)
    pe: T,       // (n, n_heads × rope_width)
    c: T,        // (n, rank)
    k_pe: T,     // (n, rope_width)
    q: T,        // (n, n_heads × (rank + rope_width))
    latent: T,   // (n, n_heads × rank)
    out: T,      // (n, n_heads × value_width)
}

impl<T> LatentScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &LatentShape, b: &mut B) -> Result<Self, BackendError> {
        let LatentShape { n_heads, rank, nope_width, rope_width, value_width, .. } = *shape;
        let query_rank = shape.query_rank.unwrap_or(1);
        Ok(LatentScratch {
            widths: widths(shape),
            q_a: b.buffer(query_rank)?,
            q_normed: b.buffer(query_rank)?,
            nope: b.buffer(n_heads * nope_width)?,
            pe: b.buffer(n_heads * rope_width)?,
            c: b.buffer(rank)?,
            k_pe: b.buffer(rope_width)?,
            q: b.buffer(n_heads * shape.key_width())?,
            latent: b.buffer(n_heads * rank)?,
            out: b.buffer(n_heads * value_width)?,
        })
    }

    pub(super) fn fits(&self, shape: &LatentShape) -> bool {
        self.widths == widths(shape)
    }
}

fn widths(shape: &LatentShape) -> [usize; 7] {
    let LatentShape { n_heads, rank, nope_width, rope_width, value_width, .. } = *shape;
    [n_heads, shape.query_rank.unwrap_or(0), rank, nope_width, rope_width, value_width, shape.key_width()]
}

impl<W> Latent<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: LatentShape,
    ) -> Result<Self, LoadError> {
        let LatentShape { n_heads, query_rank, rank, nope_width, rope_width, value_width, .. } = shape;
        let dim = part.dim();
        let query_heads = [nope_width, rope_width];
        let query = match query_rank {
            Some(query_rank) => Some(QueryRank {
                attn_q_a: part.matrix("attn_q_a.weight", query_rank, dim)?,
                attn_q_a_norm: part.vector("attn_q_a_norm.weight", query_rank)?,
            }),
            None => None,
        };
        let [attn_q_nope, attn_q_pe] = match query_rank {
            Some(query_rank) => part.cut_heads("attn_q_b.weight", n_heads, query_heads, query_rank)?,
            None => part.cut_heads("attn_q.weight", n_heads, query_heads, dim)?,
        };
        let [attn_kv_a, attn_k_pe] = part.cut("attn_kv_a_mqa.weight", [rank, rope_width], dim)?;
        let [attn_k_b, attn_v_b] = match part.has("attn_k_b.weight") || !part.has("attn_kv_b.weight") {
            true => {
                // Some files have the matrices of both forms.
                part.passes_over("attn_kv_b.weight");
                [
                    part.tensor("attn_k_b.weight", [n_heads, rank, nope_width])?,
                    part.tensor("attn_v_b.weight", [n_heads, value_width, rank])?,
                ]
            }
            // Files from before the absorbed form have rows that give a head's keys and values.
            false => {
                part.cut_and_transpose_heads("attn_kv_b.weight", n_heads, [nope_width, value_width], rank)?
            }
        };
        Ok(Latent {
            shape,
            attn_norm: part.norm(part.norms.before_mixer)?,
            query,
            attn_q_nope,
            attn_q_pe,
            attn_kv_a,
            attn_k_pe,
            attn_kv_a_norm: part.vector("attn_kv_a_norm.weight", rank)?,
            attn_k_b,
            attn_v_b,
            attn_output: part.matrix("attn_output.weight", dim, n_heads * value_width)?,
        })
    }

    /// Every row looks at its sequence's rows up to itself.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, angles, batch }: &mut Sequences<'_, B>,
        s: &mut LatentScratch<B::Buffer>,
        layer: LayerIdx,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let LatentShape { n_heads, rope_width, rope_idx, .. } = self.shape;
        let angles = rope_idx.map(|idx| &angles[idx]);
        let (normed, x, norm) = (&mut stream.h, &stream.x, self.attn_norm.as_ref());
        match &self.query {
            None => b.norm_matmul(NormMatmul {
                outs: &mut [&mut s.nope, &mut s.pe, &mut s.c, &mut s.k_pe],
                weights: &[&self.attn_q_nope, &self.attn_q_pe, &self.attn_kv_a, &self.attn_k_pe],
                normed,
                x,
                norm,
                eps,
            }),
            Some(QueryRank { attn_q_a, attn_q_a_norm }) => {
                b.norm_matmul(NormMatmul {
                    outs: &mut [&mut s.q_a, &mut s.c, &mut s.k_pe],
                    weights: &[attn_q_a, &self.attn_kv_a, &self.attn_k_pe],
                    normed,
                    x,
                    norm,
                    eps,
                });
                b.norm_matmul(NormMatmul {
                    outs: &mut [&mut s.nope, &mut s.pe],
                    weights: &[&self.attn_q_nope, &self.attn_q_pe],
                    normed: &mut s.q_normed,
                    x: &s.q_a,
                    norm: Some(attn_q_a_norm),
                    eps,
                });
            }
        }
        b.head_norm(&mut s.c, &self.attn_kv_a_norm, eps);
        if let Some(angles) = angles {
            b.rope(&mut s.k_pe, rope_width, angles);
            b.rope(&mut s.pe, rope_width, angles);
        }
        b.store_kv(kv, layer, &s.k_pe, &s.c, batch);
        b.matmul_heads(&mut s.q, &self.attn_k_b, &s.nope, Some(&s.pe), n_heads);
        scale_queries(*b, &mut s.q, angles);
        b.attend(&mut s.latent, &s.q, kv, batch, &self.shape.of_backend(layer), None);
        b.matmul_heads(&mut s.out, &self.attn_v_b, &s.latent, None, n_heads);
        let branch = stream.branch(&None, &None, eps);
        b.matmul_add(MatmulAdd { input: &s.out, weight: &self.attn_output, branch });
    }
}
