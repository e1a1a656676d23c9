//! What one decoder looks like, as data: the table of families and the numbers of one file.
//!
//! A family is a row of `FAMILIES`; everything a file can say is read from the file. Nothing outside
//! this module knows a family's name. Sources: the model cards and configurations of the families,
//! and the key names of the GGUF specification.

use inferno_format::{Array, Gguf, Metadata, MetadataError, Value};

use crate::backend::KvType;
use crate::error::LoadError;
use crate::rope::{Pairing, Rope, Scaling};

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
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; `n_heads` is a multiple of it.
    pub n_kv_heads: usize,
    /// Width of one head, of keys and values alike.
    pub head_dim: usize,
    /// Added to the mean square in every norm.
    pub norm_eps: f32,
    /// The gate of the feed-forward network.
    pub activation: Activation,
    /// Embeddings are multiplied by this.
    pub embedding_scale: f32,
    /// Scores are multiplied by this.
    pub attn_scale: f32,
    /// Scores are squashed to `±cap` by `cap * tanh(score / cap)`.
    pub attn_softcap: Option<f32>,
    /// The same for the logits.
    pub final_softcap: Option<f32>,
    /// The feed-forward network of every layer.
    pub ffn: FfnShape,
    /// One entry per layer.
    pub layers: Vec<LayerShape>,
    /// The rotations that layers choose from.
    pub ropes: Vec<Rope>,
    /// Groups of layers that share a cache shape; [`LayerShape::group`] indexes it.
    pub cache_groups: Vec<CacheGroup>,
    /// Per-layer tensors (without `blk.N.`) that this family has beside those that all have.
    pub required: &'static [&'static str],
}

/// What differs from layer to layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerShape {
    /// Keys a row sees, itself included; `None` sees all.
    pub window: Option<usize>,
    /// Index into [`Architecture::ropes`].
    pub rope_idx: usize,
    /// Index into [`Architecture::cache_groups`].
    pub group: usize,
}

/// Layers whose keys and values live in the same page table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheGroup {
    /// The layers, ascending.
    pub layers: Vec<usize>,
    /// Positions further back than this are never read again.
    pub window: Option<usize>,
}

/// The feed-forward network: `down(activation(gate(x)) * up(x))`, once or per chosen expert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum FfnShape {
    /// One network for every row.
    Dense {
        /// Rows of `ffn_gate` and `ffn_up`.
        ffn_dim: usize,
    },
    /// Every row chooses some of many.
    Experts {
        /// Networks to choose from.
        n_experts: usize,
        /// Rows of one expert's `ffn_gate_exps` and `ffn_up_exps`.
        ffn_dim: usize,
        /// How a row chooses.
        routing: Routing,
    },
}

/// How a row chooses and weighs its experts from the router's logits: softmax over all of them, then the best.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Routing {
    /// Experts per row. Ties go to the lowest id.
    pub n_used: usize,
    /// The chosen experts' weights are divided by their sum.
    pub renormalize: bool,
    /// And multiplied by this.
    pub scale: f32,
}

/// The function applied to the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x / (1 + exp(-x))`.
    Silu,
    /// GELU in its tanh form: `x/2 * (1 + tanh(√(2/π) * (x + 0.044715 x³)))`.
    GeluTanh,
}

/// What a file does not say about its family.
struct Family {
    name: &'static str,
    pairing: Pairing,
    activation: Activation,
    /// Embeddings are multiplied by √dim.
    scaled_embedding: bool,
    /// The window when the file is silent.
    window: Option<u32>,
    /// With a window, every n-th layer still sees everything; `None`: all layers are windowed.
    full_every: Option<u32>,
    /// Rotation base of windowed layers, where it is another than that of full ones.
    window_theta: Option<f32>,
    /// Softcaps of scores and logits when the file is silent.
    softcaps: (Option<f32>, Option<f32>),
    /// This many layers mean a score scale of `1/√(dim / n_heads)` instead of `1/√head_dim`.
    wide_scale_at: Option<usize>,
    required: &'static [&'static str],
}

const PLAIN: Family = Family {
    name: "",
    pairing: Pairing::Halves,
    activation: Activation::Silu,
    scaled_embedding: false,
    window: None,
    full_every: None,
    window_theta: None,
    softcaps: (None, None),
    wide_scale_at: None,
    required: &[],
};

const QK_NORM: &[&str] = &["attn_q_norm.weight", "attn_k_norm.weight"];

const FAMILIES: &[Family] = &[
    // Llama 1 to 3, Mistral and Mixtral all call themselves llama.
    Family { name: "llama", pairing: Pairing::Adjacent, ..PLAIN },
    Family { name: "qwen2", required: &["attn_q.bias", "attn_k.bias", "attn_v.bias"], ..PLAIN },
    Family { name: "qwen3", required: QK_NORM, ..PLAIN },
    Family { name: "qwen3moe", required: QK_NORM, ..PLAIN },
    Family { name: "phi3", ..PLAIN },
    Family {
        name: "gemma2",
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        window: Some(4096),
        full_every: Some(2),
        softcaps: (Some(50.0), Some(30.0)),
        wide_scale_at: Some(46),
        required: &["post_attention_norm.weight", "post_ffw_norm.weight"],
        ..PLAIN
    },
    Family {
        name: "gemma3",
        activation: Activation::GeluTanh,
        scaled_embedding: true,
        full_every: Some(6),
        window_theta: Some(10_000.0),
        wide_scale_at: Some(62),
        required: &[
            "attn_q_norm.weight",
            "attn_k_norm.weight",
            "post_attention_norm.weight",
            "post_ffw_norm.weight",
        ],
        ..PLAIN
    },
];

/// Bounds on what a file may claim, far above any published model: a hostile number must not size an allocation.
const MAX_LAYERS: usize = 512;
const MAX_WIDTH: usize = 1 << 20;
const MAX_EXPERTS: usize = 4096;
const MAX_VOCAB: usize = 1 << 24;
const MAX_CONTEXT: usize = 1 << 24;

impl Architecture {
    /// Reads the numbers of `file`. `context_len` lowers the file's own context length (and with it
    /// chooses between long and short RoPE factors).
    pub fn read(file: &Gguf, context_len: Option<usize>) -> Result<Architecture, LoadError> {
        let name = file.metadata().str("general.architecture")?;
        let family = FAMILIES.iter().find(|f| f.name == name).ok_or_else(|| LoadError::Family {
            found: name.escape_debug().take(64).collect(),
            known: FAMILIES.iter().map(|f| f.name).collect::<Vec<_>>().join(", "),
        })?;
        let keys = Keys { metadata: file.metadata(), family: family.name };
        if keys.metadata.opt_bool(&keys.key("attention.causal"))? == Some(false) {
            const EXPECTED: &str = "true: a model whose attention is not causal is an encoder (for embeddings, say) and \
                                    cannot generate text";
            return Err(keys.unfit_text("attention.causal", EXPECTED));
        }

        let n_layers = keys.count("block_count", MAX_LAYERS)?;
        let dim = keys.count("embedding_length", MAX_WIDTH)?;
        let n_heads = keys.count("attention.head_count", MAX_WIDTH)?;
        let n_kv_heads = keys.opt_count("attention.head_count_kv", n_heads)?.unwrap_or(n_heads);
        if !n_heads.is_multiple_of(n_kv_heads) {
            return Err(keys.unfit(
                "attention.head_count_kv",
                n_kv_heads,
                "a divisor of `attention.head_count`",
            ));
        }
        let head_dim = match keys.opt_count("attention.key_length", MAX_WIDTH)? {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(n_heads) => dim / n_heads,
            None => {
                return Err(keys.unfit("attention.head_count", n_heads, "a divisor of `embedding_length`"));
            }
        };
        if let Some(v) = keys.opt_count("attention.value_length", MAX_WIDTH)?.filter(|&v| v != head_dim) {
            return Err(keys.unfit("attention.value_length", v, "the same as the key length"));
        }
        if n_heads * head_dim > MAX_WIDTH {
            return Err(keys.unfit("attention.key_length", head_dim, "at most 2^20 over all heads"));
        }

        let trained_context = keys.count("context_length", MAX_CONTEXT)?;
        if let Some(asked) = context_len.filter(|n| !(1..=trained_context).contains(n)) {
            return Err(LoadError::Context { asked, most: trained_context });
        }
        let context_len = context_len.unwrap_or(trained_context);

        let window = keys.opt_u32("attention.sliding_window")?.or(family.window).filter(|&w| w > 0);
        let window = window.map(|w| w as usize);
        let windowed = windowed(&keys, family, n_layers)?;
        let ropes = ropes(file, &keys, family, RopeShape { head_dim, trained_context, context_len })?;
        let (layers, cache_groups) = layers(n_layers, |i| match window {
            Some(w) if windowed[i] => (Some(w), ropes.len() - 1),
            _ => (None, 0),
        });

        let wide = family.wide_scale_at == Some(n_layers);
        let default_scale = 1.0 / ((if wide { dim / n_heads } else { head_dim }) as f32).sqrt();
        let norm_eps = keys.f32("attention.layer_norm_rms_epsilon", |x| (0.0..1.0).contains(&x))?;

        Ok(Architecture {
            family: family.name,
            dim,
            vocab_size: vocab_size(file, &keys)?,
            context_len,
            n_heads,
            n_kv_heads,
            head_dim,
            norm_eps: norm_eps.ok_or_else(|| keys.missing("attention.layer_norm_rms_epsilon", "a number"))?,
            activation: family.activation,
            embedding_scale: if family.scaled_embedding { (dim as f32).sqrt() } else { 1.0 },
            attn_scale: keys.positive("attention.scale")?.unwrap_or(default_scale),
            attn_softcap: keys.softcap("attn_logit_softcapping", family.softcaps.0)?,
            final_softcap: keys.softcap("final_logit_softcapping", family.softcaps.1)?,
            ffn: ffn_shape(&keys)?,
            layers,
            ropes,
            cache_groups,
            required: family.required,
        })
    }

    /// Bytes of keys and values one position takes over all layers.
    pub fn kv_bytes_per_position(&self, kv_type: KvType) -> usize {
        2 * self.layers.len() * self.n_kv_heads * kv_type.head_bytes(self.head_dim)
    }
}

fn ffn_shape(keys: &Keys) -> Result<FfnShape, LoadError> {
    let n_experts = match keys.opt_u32("expert_count")? {
        None | Some(0) => {
            return Ok(FfnShape::Dense { ffn_dim: keys.count("feed_forward_length", MAX_WIDTH)? });
        }
        Some(_) => keys.count("expert_count", MAX_EXPERTS)?,
    };
    // 1 is softmax; the others (sigmoid and kin) come with the families that use them.
    if let Some(other) = keys.opt_u32("expert_gating_func")?.filter(|&f| f > 1) {
        return Err(keys.unfit("expert_gating_func", other as usize, "1 (softmax)"));
    }
    let ffn_dim = match keys.opt_count("expert_feed_forward_length", MAX_WIDTH)? {
        Some(ffn_dim) => ffn_dim,
        None => keys.count("feed_forward_length", MAX_WIDTH)?,
    };
    let routing = Routing {
        n_used: keys.count("expert_used_count", n_experts)?,
        renormalize: keys.metadata.opt_bool(&keys.key("expert_weights_norm"))?.unwrap_or(true),
        scale: keys.positive("expert_weights_scale")?.unwrap_or(1.0),
    };
    Ok(FfnShape::Experts { n_experts, ffn_dim, routing })
}

/// Which layers see only the window, where there is one.
fn windowed(keys: &Keys, family: &Family, n_layers: usize) -> Result<Vec<bool>, LoadError> {
    const PATTERN: &str = "attention.sliding_window_pattern";
    if let Some(Value::Array(Array::Bool(windowed))) = keys.metadata.get(&keys.key(PATTERN)) {
        return match windowed.len() == n_layers {
            true => Ok(windowed.clone()),
            false => Err(keys.unfit_text(PATTERN, "one bool a layer")),
        };
    }
    let full_every = keys.opt_u32(PATTERN)?.or(family.full_every).filter(|&n| n > 0);
    Ok((1..=n_layers as u32).map(|i| full_every.is_none_or(|n| !i.is_multiple_of(n))).collect())
}

/// Gives each layer its (window, rotation) and groups layers of equal window.
fn layers(n: usize, kind: impl Fn(usize) -> (Option<usize>, usize)) -> (Vec<LayerShape>, Vec<CacheGroup>) {
    let mut groups: Vec<CacheGroup> = Vec::new();
    let layers = (0..n).map(|i| {
        let (window, rope_idx) = kind(i);
        let group = groups.iter().position(|g| g.window == window).unwrap_or_else(|| {
            groups.push(CacheGroup { layers: Vec::new(), window });
            groups.len() - 1
        });
        groups[group].layers.push(i);
        LayerShape { window, rope_idx, group }
    });
    (layers.collect(), groups)
}

fn vocab_size(file: &Gguf, keys: &Keys) -> Result<usize, LoadError> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    match file.metadata().opt_strings(TOKENS)? {
        Some(tokens) if (1..=MAX_VOCAB).contains(&tokens.len()) => Ok(tokens.len()),
        Some(tokens) => Err(LoadError::Metadata(MetadataError::Unfit {
            key: TOKENS.into(),
            expected: "an array of 1 to 2^24 strings",
            found: format!("an array of {} string", tokens.len()),
        })),
        None => keys.count("vocab_size", MAX_VOCAB),
    }
}

struct RopeShape {
    head_dim: usize,
    trained_context: usize,
    context_len: usize,
}

/// The rotation of full layers first, that of windowed layers last (the same one if they do not differ).
fn ropes(file: &Gguf, keys: &Keys, family: &Family, shape: RopeShape) -> Result<Vec<Rope>, LoadError> {
    let dims = keys.opt_count("rope.dimension_count", shape.head_dim)?.unwrap_or(shape.head_dim);
    if !dims.is_multiple_of(2) {
        return Err(keys.unfit("rope.dimension_count", dims, "an even number"));
    }
    let theta = keys.positive("rope.freq_base")?.unwrap_or(10_000.0);
    let factor = match keys.positive("rope.scaling.factor")? {
        Some(factor) => factor,
        None => keys.positive("rope.scale_linear")?.unwrap_or(1.0),
    };
    let original_context = keys.opt_count("rope.scaling.original_context_length", MAX_CONTEXT)?;
    let attn_factor = keys.positive("rope.scaling.attn_factor")?.unwrap_or(1.0);
    let scaling = match keys.opt_str("rope.scaling.type")?.unwrap_or("linear") {
        "none" => Scaling::None,
        "linear" if factor == 1.0 => Scaling::None,
        "linear" => Scaling::Linear { factor },
        "yarn" => Scaling::Yarn {
            factor,
            original_context: original_context.unwrap_or(shape.trained_context),
            magnitude: keys.positive("rope.scaling.yarn_attn_factor")?,
            beta_fast: keys.positive("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
            beta_slow: keys.positive("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
        },
        // Its factors are tensors, read below.
        "longrope" => Scaling::None,
        _ => return Err(keys.unfit_text("rope.scaling.type", "none, linear, yarn or longrope")),
    };
    let long = original_context.is_some_and(|original| shape.context_len > original);
    let factors_name = match (file.tensor("rope_factors_long.weight"), long) {
        (Some(_), true) => "rope_factors_long.weight",
        (Some(_), false) => "rope_factors_short.weight",
        (None, _) => "rope_freqs.weight",
    };
    let factors = crate::weights::rope_factors(file, factors_name, dims / 2)?;
    let mut ropes = vec![Rope::new(family.pairing, dims, theta, &scaling, factors.as_deref(), attn_factor)];
    let window_theta = keys.positive("rope.freq_base_swa")?.or(family.window_theta);
    if let Some(theta) = window_theta {
        ropes.push(Rope::new(family.pairing, dims, theta, &Scaling::None, None, 1.0));
    }
    Ok(ropes)
}

/// The metadata keys that start with the family's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    family: &'static str,
}

impl Keys<'_> {
    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    /// An integer; a per-layer array serves too if all its elements are equal.
    fn opt_u32(&self, key: &str) -> Result<Option<u32>, LoadError> {
        let full = self.key(key);
        if let Some(Value::Array(array)) = self.metadata.get(&full) {
            return match uniform(array) {
                Some(n) => Ok(Some(n)),
                None => Err(self.unfit_text(key, "one integer for all layers")),
            };
        }
        Ok(self.metadata.opt_u32(&full)?)
    }

    /// An integer from 1 to `most`.
    fn opt_count(&self, key: &str, most: usize) -> Result<Option<usize>, LoadError> {
        match self.opt_u32(key)?.map(|n| n as usize) {
            Some(n) if n == 0 || n > most => {
                Err(LoadError::Range { key: self.key(key), found: n, least: 1, most })
            }
            n => Ok(n),
        }
    }

    fn count(&self, key: &str, most: usize) -> Result<usize, LoadError> {
        self.opt_count(key, most)?.ok_or_else(|| self.missing(key, "a positive integer"))
    }

    fn f32(&self, key: &str, fits: impl Fn(f32) -> bool) -> Result<Option<f32>, LoadError> {
        match self.metadata.opt_f32(&self.key(key))? {
            Some(x) if !fits(x) => Err(self.unfit_text(key, "a finite number in range")),
            x => Ok(x),
        }
    }

    /// A number above zero; zero in the file means that it is not set.
    fn positive(&self, key: &str) -> Result<Option<f32>, LoadError> {
        Ok(self.f32(key, |x| x.is_finite() && x >= 0.0)?.filter(|&x| x > 0.0))
    }

    /// The file's softcap if it speaks of one (zero: none), else the family's.
    fn softcap(&self, key: &str, default: Option<f32>) -> Result<Option<f32>, LoadError> {
        match self.f32(key, |x| x.is_finite() && x >= 0.0)? {
            Some(cap) => Ok((cap > 0.0).then_some(cap)),
            None => Ok(default),
        }
    }

    fn opt_str(&self, key: &str) -> Result<Option<&str>, LoadError> {
        Ok(self.metadata.opt_str(&self.key(key))?)
    }

    fn missing(&self, key: &str, expected: &'static str) -> LoadError {
        LoadError::Metadata(MetadataError::Missing { key: self.key(key), expected })
    }

    fn unfit(&self, key: &str, found: usize, expected: &'static str) -> LoadError {
        LoadError::Metadata(MetadataError::Unfit { key: self.key(key), expected, found: found.to_string() })
    }

    fn unfit_text(&self, key: &str, expected: &'static str) -> LoadError {
        let found = self.metadata.get(&self.key(key)).map_or("absent".into(), Value::to_string);
        LoadError::Metadata(MetadataError::Unfit { key: self.key(key), expected, found })
    }
}

fn uniform(array: &Array) -> Option<u32> {
    let first = array.integer(0)?;
    (0..array.len()).all(|i| array.integer(i) == Some(first)).then_some(first)?.try_into().ok()
}
