//! A draft layer for multi-token prediction, behind the layers of a preset.

use inferno_format::{Metadata, Value};

use super::tensors::Tensors;
use super::{Init, Preset, Weight};

impl Preset {
    /// The layer that a draft layer is like: the last one that attends to all positions; `None` if no layer is made up of plain
    /// attention and a feed-forward network.
    pub(in super::super) fn draft_like(&self) -> Option<usize> {
        let is_plain = self.hybrid.is_none() && self.gemma4.is_none() && self.window.is_none();
        let full_every = self.delta_net.map_or(1, |parts| parts.full_every);
        (self.n_layers / full_every * full_every).checked_sub(1).filter(|_| is_plain)
    }

    /// The tensors of a draft layer with the numbers of [`Preset::draft_like`]. It takes the next token's embedding and nothing of the
    /// hidden row, so that it says what the model does to which the other layers add little.
    pub(in super::super) fn draft_layer(&self) -> Vec<Weight> {
        let Some(like) = self.draft_like() else { return Vec::new() };
        let (dim, mut t) = (self.dim, Tensors { all: Vec::new(), prefix: format!("blk.{}.", self.n_layers) });
        self.layer(like, &mut t);
        for weight in &mut t.all {
            weight.like = weight.name.strip_prefix(&t.prefix).map(|name| format!("blk.{like}.{name}"));
        }
        t.put("nextn.eh_proj.weight", &[2 * dim, dim], Init::Left(dim));
        t.put("nextn.hnorm.weight", &[dim], Init::Ones);
        // Normed embeddings are as long as embeddings.
        let (_, scale) = Init::Embedding.moments();
        let name = |name: &str| format!("{}nextn.{name}.weight", t.prefix);
        let enorm = Weight { name: name("enorm"), dims: vec![dim], init: Init::Ones, scale, like: None };
        let like = Some("output_norm.weight".into());
        let name = name("shared_head_norm");
        let norm = Weight { name, dims: vec![dim], init: Init::Norm, scale: 1.0, like };
        t.all.extend([enorm, norm]);
        t.all
    }

    /// Adds a draft layer to the metadata of the preset.
    pub(in super::super) fn add_draft_layer(&self, metadata: &mut Metadata) {
        for (key, n) in [("block_count", self.n_layers + 1), ("nextn_predict_layers", 1)] {
            metadata.set(format!("{}.{key}", self.family), Value::U32(n as u32));
        }
    }
}
