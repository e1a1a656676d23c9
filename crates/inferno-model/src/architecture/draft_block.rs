//! The layer with which a model drafts for itself (multi-token prediction).

use super::{Architecture, CacheKind, LayerShape, MixerShape};

/// A draft layer that files have after the layers of their model (DeepSeek-V3, section 2.2, <https://arxiv.org/abs/2412.19437>).
#[derive(Debug, Clone, PartialEq)]
pub struct DraftBlockShape {
    /// Its number in the file, after those of the model's layers.
    pub layer_idx: usize,
    /// Its halves. The mixer's cache group is 0: the layer has a pool of its own.
    pub layer: LayerShape,
    /// Its cache.
    pub kind: CacheKind,
    /// The cache group of the model by whose pages the layer stores its keys and values.
    pub group: usize,
}

/// Reasons for which a model cannot draft for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoDraftBlock {
    /// The file has no draft layers.
    #[error("the file has no draft layers (`{family}.nextn_predict_layers`): choose a file that has them")]
    Absent {
        /// Of the model.
        family: &'static str,
    },
    /// Draft layers have the shape of a layer that stores keys and values for every position, and no layer does.
    #[error("draft layers of a `{family}` model are not supported: no layer of it attends to all positions")]
    Unlike {
        /// Of the model.
        family: &'static str,
    },
}

impl Architecture {
    /// Has the first draft layer of the file loaded as well. It has the shape of the last layer that attends to all positions.
    ///
    /// # Errors
    /// The file has no draft layers, or the model has no such layer.
    pub fn with_draft_block(mut self) -> Result<Architecture, NoDraftBlock> {
        let family = self.family;
        if self.n_draft_layers == 0 {
            return Err(NoDraftBlock::Absent { family });
        }
        let block = self.layers.iter().rev().find_map(|layer| self.as_draft_block(layer));
        self.draft_block = Some(block.ok_or(NoDraftBlock::Unlike { family })?);
        Ok(self)
    }

    /// A draft layer like `like`, if that attends to all positions by keys and values of its own.
    fn as_draft_block(&self, like: &LayerShape) -> Option<DraftBlockShape> {
        let (mut layer, layer_idx) = (*like, self.layers.len());
        let group = match layer.mixer.as_mut()? {
            MixerShape::Attention(shape) => std::mem::take(&mut shape.group),
            MixerShape::Latent(shape) => std::mem::take(&mut shape.group),
            MixerShape::Shared(_)
            | MixerShape::DeltaNet(_)
            | MixerShape::Kda(_)
            | MixerShape::Mamba2(_)
            | MixerShape::ShortConv(_)
            | MixerShape::Parallel(_) => return None,
        };
        let kind = self.cache_groups[group].kind;
        let suits = kind.window().is_none() && self.per_layer.is_none();
        suits.then_some(DraftBlockShape { layer_idx, layer, kind, group })
    }

    /// Layer `i` of the file, if it is loaded: one of the model, or its draft layer.
    pub fn loaded_layer(&self, i: usize) -> Option<&LayerShape> {
        let draft = self.draft_block.as_ref().filter(|block| block.layer_idx == i);
        self.layers.get(i).or(draft.map(|block| &block.layer))
    }
}
