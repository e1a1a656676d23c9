//! What one decoder looks like, as data: the table of families and the numbers of one file.
//!
//! A family is a row of `FAMILIES` (`families.rs`); everything a file can say is read from the file (`read.rs`). Nothing
//! outside this module knows a family's name. Sources: the model cards and configurations of the families, and the key names
//! of the GGUF specification.

mod activations;
mod delta_net;
mod draft_block;
mod families;
mod ffns;
mod heads;
mod keys;
mod latent;
mod mixers;
mod read;
mod recurrent;
mod rotations;
mod unserved;
mod windows;

use crate::backend::{AttentionRule, KvType};
use crate::batch::{PAGE_LEN, PageId};
pub use crate::ffn::{Activation, BothShape, DenseShape, ExpertsShape, FfnShape, Xielu};
pub use crate::mixer::{
    AttentionShape, DeltaNetShape, KdaShape, LatentShape, Mamba2Shape, MixerShape, ParallelShape,
    SharedShape, ShortConvShape,
};
pub use crate::per_layer::PerLayerShape;
use crate::rope::Rope;
pub use crate::routing::{Gating, Groups, Routing};
pub use draft_block::{DraftBlockShape, NoDraftBlock};
pub(crate) use families::{DELTA_NETS, FUSED_DELTA_NETS, KDA, LATENT, PLAINEST};

/// Most cache groups of one model.
pub const MAX_CACHE_GROUPS: usize = 8;

/// One decoder: every number the forward pass needs, and no weight.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// `general.architecture`, for people to read.
    pub family: &'static str,
    /// Width of the residual stream.
    pub dim: usize,
    /// Tokens in the vocabulary, and rows of `token_embd`.
    pub vocab_size: usize,
    /// Most positions a sequence may have.
    pub context_len: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// The norms around the halves of layers.
    pub norms: NormNames,
    /// The tensor that norms the output of the last layer.
    pub output_norm: &'static str,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Factor of the output of each half of a layer, before it is added; `None`: it is added as it is.
    pub residual_scale: Option<f32>,
    /// Logits are multiplied by this, before they are squashed; `None`: they stay as they are.
    pub logit_scale: Option<f32>,
    /// The embeddings of tokens that each layer has of its own; `None`: layers have the residual stream alone.
    pub per_layer: Option<PerLayerShape>,
    /// Logits are squashed to `±cap` by `cap * tanh(logit / cap)`.
    pub final_softcap: Option<f32>,
    /// One entry per layer.
    pub layers: Vec<LayerShape>,
    /// The rotations that layers choose from.
    pub ropes: Vec<Rope>,
    /// Groups of layers that share a cache shape; [`AttentionShape::group`] indexes it.
    pub cache_groups: Vec<CacheGroup>,
    /// Draft layers for multi-token prediction that the file has after `layers`: their tensors are not loaded, except for those of
    /// `draft_block`.
    pub n_draft_layers: usize,
    /// The first of the draft layers, where the model drafts with it: see [`Architecture::with_draft_block`].
    pub draft_block: Option<DraftBlockShape>,
    /// Per-layer tensors (without `blk.N.`) that this family has beside those that all have.
    pub required: &'static [&'static str],
}

/// The tensors (without `blk.N.`) that norm what goes into the halves of a layer, and what comes out of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NormNames {
    /// `None`: the mixer reads the residual stream as it is.
    pub before_mixer: Option<&'static str>,
    /// Applied to the output of the mixer, in files that have it.
    pub after_mixer: Option<&'static str>,
    /// `None`: the feed-forward network reads the residual stream as it is.
    pub before_ffn: Option<&'static str>,
    /// Applied to the output of the feed-forward network, in files that have it.
    pub after_ffn: Option<&'static str>,
}

impl NormNames {
    /// The names in most families.
    pub const USUAL: NormNames = NormNames {
        before_mixer: Some("attn_norm.weight"),
        after_mixer: Some("post_attention_norm.weight"),
        before_ffn: Some("ffn_norm.weight"),
        after_ffn: Some("post_ffw_norm.weight"),
    };
}

/// One layer: a mixer, then a feed-forward network. Either may be absent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LayerShape {
    /// Mixes the rows of a sequence with each other.
    pub mixer: Option<MixerShape>,
    /// Works on every row on its own.
    pub ffn: Option<FfnShape>,
}

impl LayerShape {
    /// The layer's attention, if its mixer is one or has one, over keys and values of its own or of another layer.
    pub fn attention(&self) -> Option<&AttentionShape> {
        self.mixer.as_ref().and_then(MixerShape::attention)
    }

    /// The layer before this one whose keys and values it reads; `None` if it stores its own or has none.
    pub fn source(&self) -> Option<usize> {
        match &self.mixer {
            Some(MixerShape::Shared(shape)) => Some(shape.source),
            Some(
                MixerShape::Attention(_)
                | MixerShape::Latent(_)
                | MixerShape::DeltaNet(_)
                | MixerShape::Kda(_)
                | MixerShape::Mamba2(_)
                | MixerShape::ShortConv(_)
                | MixerShape::Parallel(_),
            )
            | None => None,
        }
    }
}

/// Layers with caches of one shape, whose pages are held by the same page table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheGroup {
    /// The layers, ascending.
    pub layers: Vec<usize>,
    /// The cache of one layer.
    pub kind: CacheKind,
}

/// The kind of cache that a layer keeps of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheKind {
    /// Keys and values of every position, in pages.
    Pages {
        /// Key heads of a position; as many value heads.
        n_kv_heads: usize,
        /// Numbers in one key head.
        key_width: usize,
        /// Numbers in one value head.
        value_width: usize,
        /// Positions that a row reads, its own included: older ones are never read again. `None` reads all.
        window: Option<usize>,
    },
    /// Latent rows of every position, in pages: a row is the value, and with the rotated numbers behind it the key, of all
    /// query heads (multi-head latent attention). Nothing is stored twice.
    Latent {
        /// Numbers of the value, with which the key begins.
        rank: usize,
        /// Numbers of the key beside those of the value.
        rope_width: usize,
    },
    /// The state of a recurrent layer, which is as large after a million positions as after one: in every page the state after
    /// the last position that was computed in it.
    State {
        /// F32 numbers of one state.
        width: usize,
    },
}

impl CacheKind {
    /// KV heads, width of a key and width of a value that a layer stores for each position. A latent cache stores one vector:
    /// its value, of `rank` numbers, is a part of its key, so that only the `rope_width` others count as the key's. A state has
    /// no heads.
    pub fn heads(self) -> [usize; 3] {
        match self {
            CacheKind::Pages { n_kv_heads, key_width, value_width, .. } => {
                [n_kv_heads, key_width, value_width]
            }
            CacheKind::Latent { rank, rope_width } => [1, rope_width, rank],
            CacheKind::State { .. } => [0; 3],
        }
    }

    /// F32 numbers of the state that a page holds, beside keys and values.
    pub fn state_width(self) -> usize {
        match self {
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => 0,
            CacheKind::State { width } => width,
        }
    }

    /// Positions that a row reads, its own included: older ones are never read again. `None` reads all. Of a state that is the
    /// position before its own, whose state it continues.
    pub fn window(self) -> Option<usize> {
        match self {
            CacheKind::Pages { window, .. } => window,
            CacheKind::Latent { .. } => None,
            CacheKind::State { .. } => Some(2),
        }
    }

    /// Rule of attention to a cache of this kind on a device that attends to keys and values in heads by `rule`: latent rows are
    /// attended to in F32.
    pub fn rule(self, rule: AttentionRule) -> AttentionRule {
        match self {
            CacheKind::Pages { .. } => rule,
            CacheKind::Latent { .. } | CacheKind::State { .. } => AttentionRule::Floats,
        }
    }
}

impl CacheGroup {
    /// Layers that store latent rows of a value of `rank` numbers and `rope_width` more of the key.
    pub fn latent(layers: Vec<usize>, rank: usize, rope_width: usize) -> CacheGroup {
        CacheGroup { layers, kind: CacheKind::Latent { rank, rope_width } }
    }

    /// Layers that store keys and values of these (KV heads, key width, value width) in pages.
    pub fn pages(layers: Vec<usize>, heads: [usize; 3], window: Option<usize>) -> CacheGroup {
        let [n_kv_heads, key_width, value_width] = heads;
        CacheGroup { layers, kind: CacheKind::Pages { n_kv_heads, key_width, value_width, window } }
    }

    /// Recurrent layers with states of `width` numbers.
    pub fn states(layers: Vec<usize>, width: usize) -> CacheGroup {
        CacheGroup { layers, kind: CacheKind::State { width } }
    }

    /// Positions that a row reads, its own included; `None`: all.
    pub fn window(&self) -> Option<usize> {
        self.kind.window()
    }

    /// Bytes of a page over the layers of this group.
    pub fn page_bytes(&self, kv_type: KvType) -> usize {
        let state_bytes = self.layers.len() * size_of::<f32>() * self.kind.state_width();
        self.bytes_per_position(kv_type) * PAGE_LEN + state_bytes
    }

    /// Pages for a sequence of `n_positions` positions of which everything is kept: one for each 32, or one state.
    pub fn pages_for(&self, n_positions: usize) -> usize {
        match self.kind {
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => n_positions.div_ceil(PAGE_LEN),
            CacheKind::State { .. } => 1,
        }
    }

    /// The page table of such a sequence, the `i`th of several of that length, which has the pages from
    /// `i * pages_for(n_positions)` on; a state is updated in place, so its page has every number.
    pub fn table_for(&self, i: usize, n_positions: usize) -> Vec<PageId> {
        let first = (i * self.pages_for(n_positions)) as u32;
        let number = |number: u32| match self.kind {
            CacheKind::Pages { .. } | CacheKind::Latent { .. } => PageId(first + number),
            CacheKind::State { .. } => PageId(first),
        };
        (0..n_positions.div_ceil(PAGE_LEN) as u32).map(number).collect()
    }

    /// Bytes of keys and values one position takes over the layers of this group: none where pages hold states.
    pub fn bytes_per_position(&self, kv_type: KvType) -> usize {
        let [n_kv_heads, key_width, value_width] = self.kind.heads();
        self.layers.len() * n_kv_heads * (kv_type.head_bytes(key_width) + kv_type.head_bytes(value_width))
    }
}

impl Architecture {
    /// Whether a stage may begin at layer `at`: no layer from there on reads keys and values that a layer before it stores.
    pub fn can_cut(&self, at: usize) -> bool {
        self.layers[at..].iter().filter_map(LayerShape::source).all(|source| source >= at)
    }

    /// Bytes of keys and values one position takes over all layers.
    pub fn kv_bytes_per_position(&self, kv_type: KvType) -> usize {
        self.cache_groups.iter().map(|group| group.bytes_per_position(kv_type)).sum()
    }
}
