//! Mamba-2 (<https://arxiv.org/abs/2405.21060>): a convolution over a few positions, and a state per head that decays.
//!
//! ```text
//! x ──▶ ssm_in ──▶ [z | xBC | dt]      xBC ──▶ convolution, SiLU ──▶ scan (dt, A, D)
//! scan · silu(z) ──▶ norm by groups ──▶ ssm_out
//! ```

use crate::architecture::Activation;
use crate::backend::{Backend, CausalConv, LayerIdx, MatmulAdd, NormMatmul, SsmScan, SsmShape};
use crate::error::{BackendError, LoadError};
use crate::layer::{Pass, Sequences};
use crate::weights::Part;

/// One layer's Mamba-2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mamba2Shape {
    /// Heads and widths.
    pub ssm: SsmShape,
    /// Positions that the convolution sees, its own included.
    pub kernel: usize,
    /// Index into [`Architecture::cache_groups`](crate::architecture::Architecture::cache_groups).
    pub group: usize,
}

impl Mamba2Shape {
    /// Numbers of the convolution's tail, with which the layer's state begins.
    pub fn tail_len(&self) -> usize {
        (self.kernel - 1) * self.ssm.xbc_width()
    }

    /// Numbers of the layer's state.
    pub fn state_width(&self) -> usize {
        self.tail_len() + self.ssm.state_len()
    }
}

/// The tensors of one layer's Mamba-2. A tensor the file does not have is `None`.
#[derive(Debug)]
pub struct Mamba2<W> {
    /// Heads and widths of the layer.
    pub shape: Mamba2Shape,
    /// (dim,); `None` where the rows of another mixer's norm are read
    pub attn_norm: Option<W>,
    /// Rows of `ssm_in`: (inner, dim)
    pub ssm_in_z: W,
    /// Rows of `ssm_in`: (inner + 2 × n_groups × state_size, dim)
    pub ssm_in_xbc: W,
    /// Rows of `ssm_in`: (n_heads, dim)
    pub ssm_in_dt: W,
    /// (kernel, xbc_width)
    pub ssm_conv1d: W,
    /// (xbc_width,)
    pub ssm_conv1d_bias: Option<W>,
    /// (n_heads,)
    pub ssm_dt_bias: W,
    /// (n_heads,), below zero
    pub ssm_a: W,
    /// (n_heads,)
    pub ssm_d: W,
    /// (inner,): a norm of each group on its own
    pub ssm_norm: Option<W>,
    /// (dim, inner)
    pub ssm_out: W,
}

/// Activations of Mamba-2. `n` is the number of rows.
pub(crate) struct Mamba2Scratch<T> {
    ssm: SsmShape,
    z: T,    // (n, inner)
    xbc: T,  // (n, xbc_width)
    dt: T,   // (n, n_heads)
    conv: T, // (n, xbc_width), convolved
    y: T,    // (n, inner)
}

impl<T> Mamba2Scratch<T> {
    pub(super) fn new<B: Backend<Buffer = T>>(shape: &Mamba2Shape, b: &mut B) -> Result<Self, BackendError> {
        let ssm = shape.ssm;
        let (inner, width) = (ssm.inner(), ssm.xbc_width());
        Ok(Mamba2Scratch {
            ssm,
            z: b.buffer(inner)?,
            xbc: b.buffer(width)?,
            dt: b.buffer(ssm.n_heads)?,
            conv: b.buffer(width)?,
            y: b.buffer(inner)?,
        })
    }

    pub(super) fn fits(&self, shape: &Mamba2Shape) -> bool {
        self.ssm == shape.ssm
    }
}

impl<W> Mamba2<W> {
    pub(super) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        shape: Mamba2Shape,
    ) -> Result<Self, LoadError> {
        let attn_norm = part.norm(part.norms.before_mixer)?;
        let Mamba2Shape { ssm, kernel, .. } = shape;
        let (dim, inner, width, n_heads) = (part.dim(), ssm.inner(), ssm.xbc_width(), ssm.n_heads);
        let [ssm_in_z, ssm_in_xbc, ssm_in_dt] = part.cut("ssm_in.weight", [inner, width, n_heads], dim)?;
        let has_norm = part.is_expected("ssm_norm.weight");
        let norm_dims = [inner / ssm.n_groups, ssm.n_groups];
        Ok(Mamba2 {
            shape,
            attn_norm,
            ssm_in_z,
            ssm_in_xbc,
            ssm_in_dt,
            ssm_conv1d: part.taps("ssm_conv1d.weight", kernel, width)?,
            ssm_conv1d_bias: part.optional("ssm_conv1d.bias", width)?,
            ssm_dt_bias: part.vector("ssm_dt.bias", n_heads)?,
            ssm_a: part.column("ssm_a", n_heads)?,
            ssm_d: part.column("ssm_d", n_heads)?,
            ssm_norm: has_norm.then(|| part.flat("ssm_norm.weight", &norm_dims)).transpose()?,
            ssm_out: part.matrix("ssm_out.weight", dim, inner)?,
        })
    }

    /// Every row continues the state that the rows before it leave.
    pub(super) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        sequences: &mut Sequences<'_, B>,
        s: &mut Mamba2Scratch<B::Buffer>,
        layer: usize,
    ) {
        let Pass { b, stream, eps } = &mut *pass;
        b.norm_matmul(NormMatmul {
            outs: &mut [&mut s.z, &mut s.xbc, &mut s.dt],
            weights: &[&self.ssm_in_z, &self.ssm_in_xbc, &self.ssm_in_dt],
            normed: &mut stream.h,
            x: &stream.x,
            norm: self.attn_norm.as_ref(),
            eps: *eps,
        });
        self.mix(pass, sequences, s, layer);
    }

    /// The same for the rows that another mixer of the layer has normed.
    pub(super) fn forward_beside<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        sequences: &mut Sequences<'_, B>,
        s: &mut Mamba2Scratch<B::Buffer>,
        layer: usize,
    ) {
        let outs = &mut [&mut s.z, &mut s.xbc, &mut s.dt];
        pass.b.matmul(outs, &[&self.ssm_in_z, &self.ssm_in_xbc, &self.ssm_in_dt], &pass.stream.h);
        self.mix(pass, sequences, s, layer);
    }

    /// From the projected rows on.
    fn mix<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        Sequences { kv, batch, .. }: &mut Sequences<'_, B>,
        s: &mut Mamba2Scratch<B::Buffer>,
        layer: usize,
    ) {
        let Pass { b, stream, eps } = pass;
        let eps = *eps;
        let Mamba2Shape { ssm, kernel, group } = self.shape;
        let layer = LayerIdx { layer, group };
        b.causal_conv(CausalConv {
            out: &mut s.conv,
            x: &s.xbc,
            weight: &self.ssm_conv1d,
            kernel,
            bias: self.ssm_conv1d_bias.as_ref(),
            activation: Some(Activation::Silu),
            pool: kv,
            layer,
            at: 0,
            batch,
        });
        b.ssm_scan(SsmScan {
            out: &mut s.y,
            xbc: &s.conv,
            dt: &s.dt,
            dt_bias: &self.ssm_dt_bias,
            a: &self.ssm_a,
            d: &self.ssm_d,
            shape: ssm,
            pool: kv,
            layer,
            at: self.shape.tail_len(),
            batch,
        });
        b.glu(&mut s.z, &s.y, Activation::Silu);
        if let Some(norm) = &self.ssm_norm {
            b.group_norm(&mut s.z, norm, ssm.n_groups, eps);
        }
        let branch = stream.branch(&None, &None, eps);
        b.matmul_add(MatmulAdd { input: &s.z, weight: &self.ssm_out, branch });
    }
}
