//! The tensors of a preset.

use super::{DeltaNet, Experts, Init, Latent, Preset, Weight};

/// Tensors by name, collected one by one.
pub(super) struct Tensors {
    pub(super) all: Vec<Weight>,
    /// `blk.N.`, in a layer.
    pub(super) prefix: String,
}

impl Tensors {
    pub(super) fn put(&mut self, name: &str, dims: &[usize], init: Init) {
        let name = format!("{}{name}", self.prefix);
        self.all.push(Weight { name, dims: dims.into(), init, scale: 1.0, like: None });
    }

    /// A matrix from rows of `from` to `to` numbers.
    pub(super) fn project(&mut self, name: &str, from: usize, to: usize) {
        self.put(&format!("{name}.weight"), &[from, to], Init::Projection(from));
    }

    /// One of those for each of `n`.
    fn project_each(&mut self, name: &str, from: usize, to: usize, n: usize) {
        self.put(&format!("{name}.weight"), &[from, to, n], Init::Projection(from));
    }

    fn norm(&mut self, name: &str, width: usize) {
        self.put(&format!("{name}.weight"), &[width], Init::Norm);
    }

    pub(super) fn bias(&mut self, name: &str, dims: &[usize]) {
        self.put(&format!("{name}.bias"), dims, Init::Bias);
    }
}

impl Preset {
    pub(in super::super) fn weights(&self, vocab_size: usize) -> Vec<Weight> {
        let dim = self.dim;
        let mut t = Tensors { all: Vec::new(), prefix: String::new() };
        t.put("token_embd.weight", &[dim, vocab_size], Init::Embedding);
        if let Some(factor) = self.llama3_factor {
            let init = Init::Llama3 { factor, theta: self.theta };
            t.put("rope_freqs.weight", &[self.head_dim / 2], init);
        }
        if let Some(parts) = self.gemma4 {
            // A quarter of the head rotates.
            t.put("rope_freqs.weight", &[parts.full_head_dim / 2], Init::Rotates(parts.full_head_dim / 8));
            if parts.per_layer > 0 {
                let all = parts.per_layer * self.n_layers;
                t.put("per_layer_token_embd.weight", &[all, vocab_size], Init::Embedding);
                t.project("per_layer_model_proj", dim, all);
                t.norm("per_layer_proj_norm", parts.per_layer);
            }
        }
        for i in 0..self.n_layers {
            t.prefix = format!("blk.{i}.");
            self.layer(i, &mut t);
        }
        t.prefix.clear();
        t.norm(if self.family == "lfm2" { "token_embd_norm" } else { "output_norm" }, dim);
        if !self.tied {
            t.project("output", dim, vocab_size);
        }
        t.all
    }

    /// The tensors of layer `i`, which `t` has the prefix of.
    pub(super) fn layer(&self, i: usize, t: &mut Tensors) {
        let dim = self.dim;
        t.norm("attn_norm", dim);
        if let Some(hybrid) = self.hybrid {
            self.hybrid_layer(hybrid, i, t);
            return;
        }
        match (self.latent, self.delta_net) {
            (Some(latent), _) => self.latent_attention(latent, t),
            (None, Some(parts)) if !(i + 1).is_multiple_of(parts.full_every) => {
                self.delta_net(parts, t);
            }
            (None, _) => self.attention(i, t),
        }
        if self.post_norms {
            t.norm("post_attention_norm", dim);
            t.norm("post_ffw_norm", dim);
        }
        t.norm(self.ffn_norm, dim);
        self.ffn(i, t);
        if let Some(parts) = self.gemma4 {
            t.norm("layer_output_scale", 1);
            if parts.per_layer > 0 {
                t.project("inp_gate", dim, parts.per_layer);
                t.project("proj", parts.per_layer, dim);
                t.norm("post_norm", dim);
            }
        }
    }

    /// Names of tensors of a layer that what it adds to the residual stream is proportional to; `None` where it does more than add.
    pub(in super::super) fn outputs(&self) -> Option<&'static [&'static str]> {
        if self.gemma4.is_some() {
            return None;
        }
        Some(match self.post_norms {
            true => &["post_attention_norm.weight", "post_ffw_norm.weight"],
            false => &[
                "attn_output.weight",
                "attn_output.bias",
                "ssm_out.weight",
                "shortconv.out_proj.weight",
                "ffn_down.weight",
                "ffn_down_exps.weight",
                "ffn_down_exps.bias",
                "ffn_down_shexp.weight",
            ],
        })
    }

    /// Whether layer `i` sees everything in a model of two kinds of layers.
    pub(super) fn is_full(&self, i: usize) -> bool {
        self.gemma4.is_none_or(|parts| (i + 1).is_multiple_of(parts.full_every))
    }

    pub(super) fn kv_heads_of(&self, i: usize) -> usize {
        self.gemma4.filter(|_| self.is_full(i)).map_or(self.n_kv_heads, |parts| parts.full_kv_heads)
    }

    pub(super) fn ffn_dim_of(&self, i: usize) -> usize {
        if self.gemma4.is_some_and(|parts| parts.wide) && self.is_shared(i) {
            2 * self.ffn_dim
        } else {
            self.ffn_dim
        }
    }

    /// Whether layer `i` reads the cache of a layer before it.
    fn is_shared(&self, i: usize) -> bool {
        self.gemma4.is_some_and(|parts| i >= self.n_layers - parts.shared_layers)
    }

    pub(super) fn attention(&self, i: usize, t: &mut Tensors) {
        let dim = self.dim;
        let head_dim = self.gemma4.filter(|_| self.is_full(i)).map_or(self.head_dim, |g| g.full_head_dim);
        let (q_dim, kv_dim) = (self.n_heads * head_dim, self.kv_heads_of(i) * head_dim);
        let keys_as_values = self.gemma4.is_some_and(|parts| parts.keys_as_values) && self.is_full(i);
        // A gate beside every query.
        let query_rows = if self.delta_net.is_some() { 2 * q_dim } else { q_dim };
        if self.fused {
            t.project("attn_qkv", dim, q_dim + 2 * kv_dim);
        } else {
            for (name, width) in [("attn_q", query_rows), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                if name != "attn_q" && self.is_shared(i) || name == "attn_v" && keys_as_values {
                    continue;
                }
                t.project(name, dim, width);
                if self.qkv_bias {
                    t.bias(name, &[width]);
                }
            }
        }
        if self.qk_norm {
            t.norm("attn_q_norm", head_dim);
            if !self.is_shared(i) {
                t.norm("attn_k_norm", head_dim);
            }
        }
        if self.sinks {
            t.put("attn_sinks.weight", &[self.n_heads], Init::Bias);
        }
        t.project("attn_output", q_dim, dim);
        if self.output_bias {
            t.bias("attn_output", &[dim]);
        }
    }

    fn delta_net(&self, parts: DeltaNet, t: &mut Tensors) {
        let DeltaNet { key_heads, value_heads, width, kernel, fused, .. } = parts;
        let (dim, value_dim) = (self.dim, value_heads * width);
        let channels = 2 * key_heads * width + value_dim;
        t.project("attn_qkv", dim, channels);
        t.project("attn_gate", dim, value_dim);
        if fused {
            t.project("ssm_ba", dim, 2 * value_heads);
        } else {
            t.project("ssm_beta", dim, value_heads);
            t.project("ssm_alpha", dim, value_heads);
        }
        t.put("ssm_conv1d.weight", &[kernel, channels], Init::Taps(kernel));
        t.put("ssm_a", &[value_heads], Init::Decay);
        t.bias("ssm_dt", &[value_heads]);
        t.norm("ssm_norm", width);
        t.project("ssm_out", value_dim, dim);
    }

    fn latent_attention(&self, latent: Latent, t: &mut Tensors) {
        let Latent { q_rank, kv_rank, nope, rope, value } = latent;
        let (dim, n) = (self.dim, self.n_heads);
        match q_rank {
            Some(rank) => {
                t.project("attn_q_a", dim, rank);
                t.norm("attn_q_a_norm", rank);
                t.project("attn_q_b", rank, n * (nope + rope));
            }
            None => t.project("attn_q", dim, n * (nope + rope)),
        }
        t.project("attn_kv_a_mqa", dim, kv_rank + rope);
        t.norm("attn_kv_a_norm", kv_rank);
        t.project_each("attn_k_b", nope, kv_rank, n);
        t.project_each("attn_v_b", kv_rank, value, n);
        t.project("attn_output", n * value, dim);
    }

    pub(super) fn ffn(&self, i: usize, t: &mut Tensors) {
        let (dim, width) = (self.dim, self.ffn_dim_of(i));
        match self.experts {
            Some(experts) if i >= experts.leading_dense && self.gemma4.is_some() => {
                self.dense(width, t);
                t.norm("post_ffw_norm_1", dim);
                t.norm("post_ffw_norm_2", dim);
                t.norm("pre_ffw_norm_2", dim);
                t.put("ffn_gate_inp.weight", &[dim, experts.count], Init::Router(dim));
                t.put("ffn_gate_inp.scale", &[dim], Init::Norm);
                t.project_each("ffn_gate_up_exps", dim, 2 * experts.width, experts.count);
                t.project_each("ffn_down_exps", experts.width, dim, experts.count);
                t.put("ffn_down_exps.scale", &[experts.count], Init::Norm);
            }
            Some(experts) if i >= experts.leading_dense => self.experts(experts, t),
            _ => self.dense(width, t),
        }
    }

    fn dense(&self, width: usize, t: &mut Tensors) {
        if self.fused {
            t.project("ffn_up", self.dim, 2 * width);
        } else {
            if !self.is_ungated() {
                t.project("ffn_gate", self.dim, width);
            }
            t.project("ffn_up", self.dim, width);
        }
        t.project("ffn_down", width, self.dim);
    }

    fn experts(&self, experts: Experts, t: &mut Tensors) {
        let Experts { count, width, shared, .. } = experts;
        let dim = self.dim;
        t.put("ffn_gate_inp.weight", &[dim, count], Init::Router(dim));
        if experts.choice_bias {
            t.bias("exp_probs_b", &[count]);
        }
        for (name, from, to) in
            [("ffn_gate_exps", dim, width), ("ffn_up_exps", dim, width), ("ffn_down_exps", width, dim)]
        {
            if name == "ffn_gate_exps" && self.is_ungated() {
                continue;
            }
            t.project_each(name, from, to, count);
            if experts.biases {
                t.bias(name, &[to, count]);
            }
        }
        if experts.biases {
            t.bias("ffn_gate_inp", &[count]);
        }
        if experts.shared_gate {
            t.put("ffn_gate_inp_shexp.weight", &[dim, 1], Init::Router(dim));
        }
        if shared > 0 {
            if !self.is_ungated() {
                t.project("ffn_gate_shexp", dim, shared);
            }
            t.project("ffn_up_shexp", dim, shared);
            t.project("ffn_down_shexp", shared, dim);
        }
    }
}
