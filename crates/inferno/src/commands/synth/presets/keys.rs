//! The metadata of a preset.

use inferno_format::{Array, Metadata, Value};

use super::{DeltaNet, Gemma4, Key, Latent, Preset};

impl Preset {
    pub(in super::super) fn metadata(&self, vocab_size: usize) -> Metadata {
        let mut m = Metadata::default();
        m.set("general.architecture", Value::String(self.family.into()));
        m.set("general.type", Value::String("model".into()));
        m.set("general.quantization_version", Value::U32(2));
        let mut set = |key: &str, value: Value| m.set(format!("{}.{key}", self.family), value);
        let [key_width, value_width, rotated] = self.widths();
        for (key, n) in [
            ("block_count", self.n_layers),
            ("context_length", self.context_len),
            ("embedding_length", self.dim),
            ("feed_forward_length", self.ffn_dim),
            ("attention.head_count", self.n_heads),
            ("attention.head_count_kv", if self.latent.is_some() { 1 } else { self.n_kv_heads }),
            ("attention.key_length", key_width),
            ("attention.value_length", value_width),
            ("rope.dimension_count", rotated),
            ("vocab_size", vocab_size),
        ] {
            set(key, Value::U32(n as u32));
        }
        set("attention.layer_norm_rms_epsilon", Value::F32(self.eps));
        set("rope.freq_base", Value::F32(self.theta));
        if let Some(window) = self.window {
            set("attention.sliding_window", Value::U32(window));
        }
        if let Some((scores, logits)) = self.softcaps {
            set("attn_logit_softcapping", Value::F32(scores));
            set("final_logit_softcapping", Value::F32(logits));
        }
        if let Some(experts) = self.experts {
            for (key, n) in [
                ("expert_count", experts.count),
                ("expert_used_count", experts.used),
                ("expert_feed_forward_length", experts.width),
                ("leading_dense_block_count", experts.leading_dense),
                ("expert_shared_count", experts.shared / experts.width),
            ] {
                if n > 0 {
                    set(key, Value::U32(n as u32));
                }
            }
        }
        if let Some(Latent { q_rank, kv_rank, nope, rope, value }) = self.latent {
            let ranks = [("attention.q_lora_rank", q_rank), ("attention.kv_lora_rank", Some(kv_rank))];
            let widths = [("attention.key_length_mla", nope + rope), ("attention.value_length_mla", value)];
            for (key, n) in ranks.into_iter().chain(widths.map(|(key, n)| (key, Some(n)))) {
                if let Some(n) = n {
                    set(key, Value::U32(n as u32));
                }
            }
        }
        if let Some(parts) = self.gemma4 {
            self.set_gemma4(parts, &mut set);
        }
        if let Some(DeltaNet { full_every, key_heads, value_heads, width, kernel, .. }) = self.delta_net {
            for (key, n) in [
                ("full_attention_interval", full_every),
                ("ssm.conv_kernel", kernel),
                ("ssm.state_size", width),
                ("ssm.group_count", key_heads),
                ("ssm.time_step_rank", value_heads),
                ("ssm.inner_size", value_heads * width),
            ] {
                set(key, Value::U32(n as u32));
            }
            if self.family != "qwen3next" {
                // Pairs that rotate by time, height, width and nothing: of text all by time.
                let pairs = (rotated / 2) as i32;
                let third = (pairs + 2) / 3;
                let sections = vec![third, third, pairs - 2 * third, 0];
                set("rope.dimension_sections", Value::Array(Array::I32(sections)));
            }
        }
        if let Some(hybrid) = self.hybrid {
            self.set_hybrid(hybrid, &mut set);
        }
        for (key, value) in self.keys {
            set(
                key,
                match *value {
                    Key::U32(n) => Value::U32(n),
                    Key::F32(x) => Value::F32(x),
                    Key::Bool(is) => Value::Bool(is),
                    Key::Text(text) => Value::String(text.into()),
                },
            );
        }
        m
    }

    /// Widths of keys, of values, and of the part of keys that rotates, in layers that see everything.
    fn widths(&self) -> [usize; 3] {
        match (self.latent, self.gemma4) {
            (Some(latent), _) => [latent.kv_rank + latent.rope, latent.kv_rank, latent.rope],
            (None, Some(parts)) => [parts.full_head_dim; 3],
            (None, None) if self.delta_net.is_some() => [self.head_dim, self.head_dim, self.head_dim / 4],
            (None, None) => [self.head_dim; 3],
        }
    }

    fn set_gemma4(&self, parts: Gemma4, set: &mut impl FnMut(&str, Value)) {
        let layers = 0..self.n_layers;
        let numbers =
            |each: &dyn Fn(usize) -> usize| layers.clone().map(|i| each(i) as i32).collect::<Vec<_>>();
        let pattern = layers.clone().map(|i| !self.is_full(i)).collect();
        set("attention.sliding_window_pattern", Value::Array(Array::Bool(pattern)));
        set("attention.head_count_kv", Value::Array(Array::I32(numbers(&|i| self.kv_heads_of(i)))));
        set("feed_forward_length", Value::Array(Array::I32(numbers(&|i| self.ffn_dim_of(i)))));
        for key in ["attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa"] {
            set(key, Value::U32(self.head_dim as u32));
        }
        set("rope.freq_base_swa", Value::F32(10_000.0));
        set("attention.shared_kv_layers", Value::U32(parts.shared_layers as u32));
        set("embedding_length_per_layer_input", Value::U32(parts.per_layer as u32));
        set("final_logit_softcapping", Value::F32(30.0));
    }
}
