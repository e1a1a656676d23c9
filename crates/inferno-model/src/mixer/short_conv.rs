//! Gated short convolution (LFM2; `modeling_lfm2.py` in Hugging Face transformers): `out_proj (c · convolution(b · x))`, where b, c
//! and x are projections of a row. Its state is the last few rows of `b · x`.

use crate::architecture::Activation;
use crate::backend::{Backend, CausalConv, LayerIdx, MatmulAdd, NormMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's short convolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShortConvShape {
    /// Channels: the width of the residual stream.
    pub channels: usize,
    /// Positions that the convolution sees, its own included.
    pub kernel: usize,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl ShortConvShape {
    /// Numbers of the layer's state.
    pub fn state_width(&self) -> usize {
        (self.kernel - 1) * self.channels
    }
}

/// The tensors of one layer's short convolution.
#[derive(Debug)]
pub struct ShortConv<W> {
    /// Widths of the layer.
    pub shape: ShortConvShape,
    /// (dim,)
    pub attn_norm: Option<W>,
    /// Rows of `shortconv.in_proj`, which gate the input: (channels, dim)
    pub in_proj_b: W,
    /// Rows of the same that gate the output: (channels, dim)
    pub in_proj_c: W,
    /// Rows of the same: (channels, dim)
    pub in_proj_x: W,
    /// (kernel, channels)
    pub conv: W,
    /// (dim, channels)
    pub out_proj: W,
}

/// Activations of a short convolution, (n, channels) each.
pub(crate) struct ShortConvScratch<T> {
    channels: usize,
    b: T,
    c: T,
    x: T,
}

impl<T> ShortConvScratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(
        shape: &ShortConvShape,
        backend: &mut B,
    ) -> Result<Self, BackendError> {
        let channels = shape.channels;
        let (b, c, x) = (backend.buffer(channels)?, backend.buffer(channels)?, backend.buffer(channels)?);
        Ok(ShortConvScratch { channels, b, c, x })
    }

    pub(super) fn fits(&self, shape: &ShortConvShape) -> bool {
        self.channels == shape.channels
    }
}

impl<W> ShortConv<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: ShortConvShape,
    ) -> Result<Self, LoadError> {
        let (dim, ShortConvShape { channels, kernel, .. }) = (part.dim(), shape);
        let [in_proj_b, in_proj_c, in_proj_x] = part.cut("shortconv.in_proj.weight", [channels; 3], dim)?;
        Ok(ShortConv {
            shape,
            attn_norm: part.norm(part.norms.before_mixer)?,
            in_proj_b,
            in_proj_c,
            in_proj_x,
            conv: part.taps("shortconv.conv.weight", kernel, channels)?,
            out_proj: part.matrix("shortconv.out_proj.weight", dim, channels)?,
        })
    }

    /// Every row sees the few rows of its sequence before it.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, batch, .. }: &mut Sequences<'_, B>,
        s: &mut ShortConvScratch<B::Buffer>,
        layer: usize,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut s.b, &mut s.c, &mut s.x],
            weights: &[&self.in_proj_b, &self.in_proj_c, &self.in_proj_x],
            normed: &mut stream.h,
            x: &stream.x,
            norm: self.attn_norm.as_ref(),
            eps,
        });
        b.glu(&mut s.b, &s.x, Activation::Identity);
        b.causal_conv(CausalConv {
            out: &mut s.x,
            x: &s.b,
            weight: &self.conv,
            kernel: self.shape.kernel,
            bias: None,
            activation: None,
            pool: kv,
            layer: LayerIdx { layer, group: self.shape.group },
            at: 0,
            batch,
        });
        b.glu(&mut s.c, &s.x, Activation::Identity);
        let branch = stream.branch(&None, &None, eps);
        b.matmul_add(MatmulAdd { input: &s.c, weight: &self.out_proj, branch });
    }
}
