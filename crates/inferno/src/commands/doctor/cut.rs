//! A cut of a model: layers, experts and vocabulary in the proportions of the whole, as many as a measurement needs, with
//! random weights. Its steps do the work of the whole model's, only less of it.

use std::io::Write;

use anyhow::{Context, Result};
use inferno_format::{Array, Gguf, GgufWriter, Metadata, NewTensor, TensorEntry, Value};
use inferno_model::architecture::Architecture;

use crate::commands::synth::filler;

/// The name of a tensor's layer in GGUF: `blk.N.`.
const LAYER: &str = "blk.";
/// The key of a family's list of recurrent layers.
const RECURRENT: &str = "attention.recurrent_layers";
/// Experts of a layer from which a cut takes fewer: below that, the routes of a batch are no longer those of the whole.
const FEWEST_EXPERTS: usize = 8;
/// Rows of the smallest vocabulary.
const FEWEST_TOKENS: usize = 512;

/// The parts of a model that a cut has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::commands) struct Cut {
    /// The layers, ascending, counted over the whole model.
    layers: Vec<usize>,
    /// Experts of each mixture: of how many, and how many are left.
    experts: Option<(usize, usize)>,
    /// Tokens of the vocabulary.
    n_tokens: usize,
}

impl Cut {
    /// The cut of a model whose weights have about `budget` bytes. `whole` needs no weights.
    pub(in crate::commands) fn of(whole: &Gguf, arch: &Architecture, budget: u64) -> Cut {
        let all = arch.layers.len();
        // Layers that read the cache of another layer need that layer: they are left out.
        let shared = number(whole.metadata(), arch, "attention.shared_kv_layers").unwrap_or(0);
        let eligible = all.saturating_sub(shared).max(1);
        let total: u64 = whole.tensors().iter().filter(|t| !is_embedding(t, whole)).map(|t| t.n_bytes).sum();
        if total <= budget {
            return Cut { layers: (0..eligible).collect(), experts: None, n_tokens: arch.vocab_size };
        }
        let wanted = all as f64 * budget as f64 / total as f64;
        let n = (wanted.ceil() as usize).clamp(1, eligible);
        // In the middle of equal parts: quantizations and kinds of layers that alternate are met in proportion.
        let mut layers: Vec<usize> = (0..n).map(|i| (2 * i + 1) * eligible / (2 * n)).collect();
        // Where layers are one half, some layer must have a mixer.
        let mixes = |layer: usize| arch.layers[layer].mixer.is_some();
        if !layers.iter().any(|&layer| mixes(layer))
            && let Some(layer) = (0..eligible).rev().find(|&layer| layer <= layers[0] && mixes(layer))
        {
            layers[0] = layer;
        }
        let n_tokens = (arch.vocab_size * n / all).max(FEWEST_TOKENS).min(arch.vocab_size);
        Cut { layers, experts: fewer_experts(arch, wanted), n_tokens }
    }

    /// Number of layers.
    #[cfg(test)]
    fn n_layers(&self) -> usize {
        self.layers.len()
    }

    /// The share of each mixture's experts that is left.
    pub(super) fn share_of_experts(&self) -> f64 {
        self.experts.map_or(1.0, |(all, left)| left as f64 / all as f64)
    }

    /// All of the first `n` layers.
    #[cfg(test)]
    pub(super) fn first_layers(n: usize, arch: &Architecture) -> Cut {
        Cut { layers: (0..n).collect(), experts: None, n_tokens: arch.vocab_size }
    }

    /// The cut as a model with random weights, in memory.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(in crate::commands) fn model(&self, whole: &Gguf, arch: &Architecture) -> Result<Gguf> {
        let mut bytes = Vec::new();
        self.write(whole, arch, &mut bytes)?;
        Ok(Gguf::from_bytes(bytes)?)
    }

    /// Writes the cut as a file with random weights.
    ///
    /// # Errors
    /// `out` refuses bytes, or the cut is no valid file.
    pub(super) fn write(&self, whole: &Gguf, arch: &Architecture, out: impl Write) -> Result<()> {
        let mut metadata = self.metadata(whole.metadata(), arch);
        if let Some(layers) = self.recurrent_layers(whole) {
            metadata.set(format!("{}.{RECURRENT}", arch.family), Value::Array(Array::Bool(layers)));
        }
        let tensors: Vec<NewTensor> = whole.tensors().iter().filter_map(|t| self.tensor(t, arch)).collect();
        let mut writer = GgufWriter::new(out, &metadata, &tensors)?;
        for tensor in &tensors {
            let n_rows: usize = tensor.dims.iter().skip(1).product();
            let row_bytes = tensor.dtype.row_bytes(tensor.dims[0]).context("rows are whole blocks")?;
            let mut left = n_rows * row_bytes;
            let pattern = filler(tensor)?;
            while left > 0 {
                let n = left.min(pattern.len());
                writer.append(&tensor.name, &pattern[..n])?;
                left -= n;
            }
        }
        writer.finish()?;
        Ok(())
    }

    fn metadata(&self, whole: &Metadata, arch: &Architecture) -> Metadata {
        let family = format!("{}.", arch.family);
        let n_blocks = arch.layers.len() + arch.n_draft_layers;
        let mut metadata = Metadata::default();
        for (key, value) in whole.iter() {
            // Texts are not needed, and nothing of the file's division is true of the cut.
            let is_left_out =
                ["tokenizer.", "split.", "general.alignment"].iter().any(|p| key.starts_with(p));
            match value {
                _ if is_left_out => {}
                Value::Array(array) if key.starts_with(&family) && array.len() == n_blocks => {
                    metadata.set(key, Value::Array(entries(array, &self.layers)));
                }
                value => metadata.set(key, value.clone()),
            }
        }
        let mut set = |key: &str, n: usize| {
            metadata.set(format!("{family}{key}"), Value::U32(u32::try_from(n).unwrap_or(u32::MAX)));
        };
        set("block_count", self.layers.len());
        set("vocab_size", self.n_tokens);
        for key in ["nextn_predict_layers", "attention.shared_kv_layers"] {
            if number(whole, arch, key).is_some() {
                set(key, 0);
            }
        }
        if let Some(dense) = number(whole, arch, "leading_dense_block_count") {
            set("leading_dense_block_count", self.layers.iter().filter(|&&layer| layer < dense).count());
        }
        if let Some((_, left)) = self.experts {
            set("expert_count", left);
        }
        metadata
    }

    /// For each layer of the cut: is it recurrent? `None` if no layer of the model is. Files may have an interval instead, which
    /// does not fit the layers of a cut.
    fn recurrent_layers(&self, whole: &Gguf) -> Option<Vec<bool>> {
        let mut is_recurrent = vec![false; self.layers.len()];
        for (layer, rest) in
            whole.tensors().iter().filter_map(|t| t.name.strip_prefix(LAYER)?.split_once('.'))
        {
            if rest.starts_with("ssm_conv1d")
                && let Some(at) = self.layers.iter().position(|l| layer.parse() == Ok(*l))
            {
                is_recurrent[at] = true;
            }
        }
        let is_hybrid = whole.tensors().iter().any(|t| t.name.contains(".ssm_conv1d"));
        is_hybrid.then_some(is_recurrent)
    }

    /// A tensor's part of the cut; `None` if it has none.
    fn tensor(&self, t: &TensorEntry, arch: &Architecture) -> Option<NewTensor> {
        let mut dims = t.dims.clone();
        let name = match t.name.strip_prefix(LAYER).and_then(|rest| rest.split_once('.')) {
            Some((layer, rest)) => {
                let layer: usize = layer.parse().ok()?;
                let layer = self.layers.iter().position(|&l| l == layer)?;
                if let Some((all, left)) = self.experts {
                    let last = dims.last_mut()?;
                    let is_per_expert =
                        ["exps", "ffn_gate_inp.", "exp_probs"].iter().any(|part| rest.contains(part));
                    if is_per_expert && *last == all {
                        *last = left;
                    }
                }
                format!("{LAYER}{layer}.{rest}")
            }
            None => {
                let per_layer = |n: usize| n / arch.layers.len() * self.layers.len();
                match (t.name.as_str(), &mut dims[..]) {
                    ("token_embd.weight" | "output.weight", [_, n]) | ("output.bias", [n]) => {
                        *n = self.n_tokens
                    }
                    ("per_layer_token_embd.weight", [width, n]) => {
                        (*width, *n) = (per_layer(*width), self.n_tokens);
                    }
                    ("per_layer_model_proj.weight", [_, n]) => *n = per_layer(*n),
                    _ => {}
                }
                t.name.clone()
            }
        };
        Some(NewTensor { name, dtype: t.dtype, dims })
    }
}

/// Experts for a cut of less than a layer: (all, left).
fn fewer_experts(arch: &Architecture, wanted_layers: f64) -> Option<(usize, usize)> {
    let experts = arch.layers.iter().find_map(|layer| layer.ffn.as_ref()?.experts())?;
    let all = experts.n_experts;
    let groups = experts.routing.groups.map_or(1, |groups| groups.n);
    let least = FEWEST_EXPERTS.max(2 * experts.routing.n_used).next_multiple_of(groups);
    let left = ((all as f64 * wanted_layers) as usize / groups * groups).max(least);
    (left < all).then_some((all, left))
}

/// Whether a tensor is read by rows, and so weighs nothing in a step.
fn is_embedding(t: &TensorEntry, whole: &Gguf) -> bool {
    match t.name.as_str() {
        "token_embd.weight" => whole.tensor("output.weight").is_some(),
        "per_layer_token_embd.weight" => true,
        _ => false,
    }
}

fn number(metadata: &Metadata, arch: &Architecture, key: &str) -> Option<usize> {
    let n = metadata.opt_u32(&format!("{}.{key}", arch.family)).ok().flatten()?;
    usize::try_from(n).ok()
}

/// The entries of `layers`.
fn entries(array: &Array, layers: &[usize]) -> Array {
    fn of<T: Clone>(all: &[T], layers: &[usize]) -> Vec<T> {
        layers.iter().filter_map(|&i| all.get(i).cloned()).collect()
    }
    match array {
        Array::U32(all) => Array::U32(of(all, layers)),
        Array::I32(all) => Array::I32(of(all, layers)),
        Array::F32(all) => Array::F32(of(all, layers)),
        Array::Bool(all) => Array::Bool(of(all, layers)),
        Array::U64(all) => Array::U64(of(all, layers)),
        Array::I64(all) => Array::I64(of(all, layers)),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests;
