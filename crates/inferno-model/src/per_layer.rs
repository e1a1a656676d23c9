//! Per-layer embeddings: beside the residual stream, every layer is given a few numbers of its own for each token.
//!
//! They come from a table that may be half of the file. Its rows are looked up on the host, whatever computes the layers, and
//! never is it decoded as a whole.
//!
//! Source: `project_per_layer_inputs` of Gemma 4 in Hugging Face transformers (`modeling_gemma4.py`).

use std::f32::consts::FRAC_1_SQRT_2;
use std::ops::Range;
use std::sync::Arc;

use crate::architecture::Activation;
use crate::backend::{Activations, Backend, GluMatmul};
use crate::error::{BackendError, LoadError};
use crate::layer::Pass;
use crate::weights::{HostTable, Part};

/// The embeddings that layers have of their own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PerLayerShape {
    /// Numbers of a token's embedding in one layer.
    pub width: usize,
    /// Applied to the gate.
    pub activation: Activation,
}

/// The tensors that give the layers of a stage their embeddings of every token. `width` is that of one layer, `n_layers` the
/// number of layers in the stage.
#[derive(Debug)]
pub struct PerLayerEmbeddings<W> {
    /// Width of the residual stream.
    pub(crate) dim: usize,
    /// Numbers of one layer's embedding.
    pub(crate) width: usize,
    /// `per_layer_token_embd`: (vocab_size, layers of the model × width).
    pub(crate) table: Arc<HostTable>,
    /// Columns of the table that belong to the stage.
    pub(crate) columns: Range<usize>,
    /// `token_embd`, in a stage that does not embed tokens, and what embeddings are multiplied by.
    pub(crate) token_embd: Option<(Arc<HostTable>, f32)>,
    /// (n_layers × width, dim)
    pub per_layer_model_proj: W,
    /// (width,)
    pub per_layer_proj_norm: W,
}

/// The tensors with which one layer adds its embedding of the tokens to the residual stream.
#[derive(Debug)]
pub struct PerLayerInput<W> {
    /// (width, dim)
    pub inp_gate: W,
    /// (dim, width)
    pub proj: W,
    /// (dim,)
    pub post_norm: Option<W>,
    /// Applied to the gate.
    pub activation: Activation,
}

/// Activations of per-layer embeddings. `n` is the number of rows.
pub(crate) struct PerLayerScratch<T> {
    all: T,  // (n, n_layers × width)
    own: T,  // (n, n_layers × width), what the table has
    one: T,  // (n, width), one layer's
    gate: T, // (n, width)
    /// Rows of tables on their way to the device, and one of them whole.
    rows: Vec<f32>,
    row: Vec<f32>,
}

impl<W> PerLayerEmbeddings<W> {
    pub(crate) fn scratch<B: Backend<Weight = W>>(
        &self,
        b: &mut B,
    ) -> Result<PerLayerScratch<B::Buffer>, BackendError> {
        let [all, own] = [b.buffer(self.columns.len())?, b.buffer(self.columns.len())?];
        let [one, gate] = [b.buffer(self.width)?, b.buffer(self.width)?];
        Ok(PerLayerScratch { all, own, one, gate, rows: Vec::new(), row: Vec::new() })
    }

    /// Computes the embeddings of all layers, `(table · √width + rms_norm(proj · x / √dim)) / √2`, where x is the scaled
    /// embedding of each token: the residual stream, in a stage that embeds tokens.
    pub(crate) fn embed<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut PerLayerScratch<B::Buffer>,
        tokens: &[u32],
    ) {
        let Pass { b, stream, eps } = pass;
        let PerLayerScratch { all, own, rows, row, .. } = s;
        self.table.look_up(tokens, self.columns.clone(), (self.width as f32).sqrt(), (rows, row));
        b.write(own, rows);
        let x = match &self.token_embd {
            None => &stream.x,
            Some((table, scale)) => {
                table.look_up(tokens, 0..self.dim, *scale, (rows, row));
                b.write(&mut stream.h, rows);
                &stream.h
            }
        };
        b.matmul(&mut [&mut *all], &[&self.per_layer_model_proj], x);
        b.scale(all, 1.0 / (self.dim as f32).sqrt());
        b.head_norm(all, &self.per_layer_proj_norm, *eps);
        b.add(all, own);
        b.scale(all, FRAC_1_SQRT_2);
    }
}

impl<W> PerLayerInput<W> {
    pub(crate) fn load<B: Backend<Weight = W>>(
        part: &mut Part<'_, '_, '_, B>,
        PerLayerShape { width, activation }: PerLayerShape,
    ) -> Result<Self, LoadError> {
        let dim = part.dim();
        Ok(PerLayerInput {
            inp_gate: part.matrix("inp_gate.weight", width, dim)?,
            proj: part.matrix("proj.weight", dim, width)?,
            post_norm: Some(part.vector("post_norm.weight", dim)?),
            activation,
        })
    }

    /// Adds the embedding of layer `layer` of the stage: x += norm(proj · (activation(gate · x) * embedding)).
    pub(crate) fn forward<B: Backend<Weight = W>>(
        &self,
        pass: &mut Pass<'_, B>,
        s: &mut PerLayerScratch<B::Buffer>,
        layer: usize,
    ) {
        let Pass { b, stream, eps } = pass;
        let PerLayerScratch { all, one, gate, .. } = s;
        b.take_columns(one, all, layer * one.width());
        b.matmul(&mut [&mut *gate], &[&self.inp_gate], &stream.x);
        b.glu_matmul(GluMatmul {
            gate,
            up: Some(one),
            activation: self.activation,
            down: &self.proj,
            branch: stream.branch(&None, &self.post_norm, *eps),
        });
    }
}
