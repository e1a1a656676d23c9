//! The compound operation of attention.

use super::compound::add_bias;
use super::{Attention, Backend};
use crate::batch::Batch;
use crate::rope::Angles;

/// Extent of the norms of queries and keys, and their place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum QkNorm {
    /// Every head on its own, before the rotation.
    #[default]
    Heads,
    /// Every head on its own, after the rotation.
    RotatedHeads,
    /// All heads of a row at once, before the rotation.
    Rows,
}

/// Attention from the projections of a step's rows to the output of its heads. Keys and values are stored on the way.
#[derive(Debug)]
pub struct AttendHeads<'a, W, T, P> {
    /// (n, q heads × value width)
    pub out: &'a mut T,
    /// (n, q heads × key width); holds anything afterwards, as do keys and values
    pub q: &'a mut T,
    /// (n, KV heads × key width)
    pub k: &'a mut T,
    /// (n, KV heads × value width)
    pub v: &'a mut T,
    /// Added to a row of queries.
    pub q_bias: Option<&'a W>,
    /// Added to a row of keys.
    pub k_bias: Option<&'a W>,
    /// Added to a row of values.
    pub v_bias: Option<&'a W>,
    /// (key width,), or (q heads × key width,) for [`QkNorm::Rows`]: the norm of queries
    pub q_norm: Option<&'a W>,
    /// (key width,), or (KV heads × key width,) for [`QkNorm::Rows`]: the norm of keys
    pub k_norm: Option<&'a W>,
    /// Extent of those norms, and their place.
    pub qk_norm: QkNorm,
    /// (value width,), the norm of every value head
    pub v_norm: Option<&'a W>,
    /// Added to the mean square in norms.
    pub eps: f32,
    /// Rotation of queries and keys, and scales of queries.
    pub angles: Option<&'a Angles>,
    /// Where keys and values are stored.
    pub pool: &'a mut P,
    /// The step.
    pub batch: &'a Batch,
    /// Heads, widths and numbers of the layer.
    pub attention: &'a Attention,
    /// (q heads,), see [`Backend::attend`]
    pub sinks: Option<&'a W>,
}

impl<W, T, P> AttendHeads<'_, W, T, P> {
    /// The plain path.
    pub fn plain<B: Backend<Weight = W, Buffer = T, KvPool = P> + ?Sized>(mut self, b: &mut B) {
        self.add_biases(b);
        let (width, eps, angles) = (self.attention.key_width, self.eps, self.angles);
        for (heads, norm) in [(&mut *self.q, self.q_norm), (&mut *self.k, self.k_norm)] {
            norm_and_rotate(b, heads, width, (norm, self.qk_norm, eps), angles);
        }
        if let Some(norm) = self.v_norm {
            b.head_norm(self.v, norm, eps);
        }
        self.scale_queries(b);
        b.store_kv(self.pool, self.attention.layer, self.k, self.v, self.batch);
        b.attend(self.out, self.q, self.pool, self.batch, self.attention, self.sinks);
    }

    /// The first part of the plain path: biases of queries, keys and values.
    pub fn add_biases<B: Backend<Weight = W, Buffer = T, KvPool = P> + ?Sized>(&mut self, b: &mut B) {
        add_bias(b, self.q, self.q_bias);
        add_bias(b, self.k, self.k_bias);
        add_bias(b, self.v, self.v_bias);
    }

    /// Another part of it: the scales of queries, if they have any.
    pub fn scale_queries<B: Backend<Weight = W, Buffer = T, KvPool = P> + ?Sized>(&mut self, b: &mut B) {
        scale_queries(b, self.q, self.angles);
    }
}

/// The norm and the rotation of queries or keys in heads of `width`.
pub(crate) fn norm_and_rotate<B: Backend + ?Sized>(
    b: &mut B,
    heads: &mut B::Buffer,
    width: usize,
    (norm, qk_norm, eps): (Option<&B::Weight>, QkNorm, f32),
    angles: Option<&Angles>,
) {
    let is_normed_last = qk_norm == QkNorm::RotatedHeads;
    if let Some(norm) = norm.filter(|_| !is_normed_last) {
        b.head_norm(heads, norm, eps);
    }
    if let Some(angles) = angles {
        b.rope(heads, width, angles);
    }
    if let Some(norm) = norm.filter(|_| is_normed_last) {
        b.head_norm(heads, norm, eps);
    }
}

/// The scales of queries, if they have any.
pub(crate) fn scale_queries<B: Backend + ?Sized>(b: &mut B, q: &mut B::Buffer, angles: Option<&Angles>) {
    if let Some(angles) = angles.filter(|angles| !angles.query_scales.is_empty()) {
        b.scale_rows(q, &angles.query_scales);
    }
}
