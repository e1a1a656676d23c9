//! Files that are well-formed GGUF but not a right model: each is a typed error that names the thing, what was
//! expected and what was found. Every case starts from a golden model and changes one thing.

mod attention;
mod hybrids;
mod mixtures;
mod recurrent;

use inferno_format::{Array, DType, Gguf, GgufWriter, Metadata, NewTensor, Strings, Value};
use inferno_model::architecture::Architecture;
use inferno_model::sample::{SampleSpec, Sampler};

use crate::run;

/// A golden model taken apart.
pub(crate) struct Parts {
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<(NewTensor, Vec<u8>)>,
}

impl Parts {
    pub(crate) fn of(name: &str) -> Parts {
        Parts::of_file(&Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap())
    }

    pub(crate) fn of_file(file: &Gguf) -> Parts {
        let tensors = file.tensors().iter().map(|t| {
            let tensor = NewTensor { name: t.name.clone(), dtype: t.dtype, dims: t.dims.clone() };
            (tensor, file.read(t).unwrap())
        });
        Parts { metadata: file.metadata().clone(), tensors: tensors.collect() }
    }

    pub(crate) fn file(&self) -> Gguf {
        let tensors: Vec<NewTensor> = self.tensors.iter().map(|(t, _)| t.clone()).collect();
        let mut writer = GgufWriter::new(Vec::new(), &self.metadata, &tensors).unwrap();
        for (tensor, bytes) in &self.tensors {
            writer.append(&tensor.name, bytes).unwrap();
        }
        Gguf::from_bytes(writer.finish().unwrap()).unwrap()
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut (NewTensor, Vec<u8>) {
        self.tensors.iter_mut().find(|(t, _)| t.name == name).unwrap()
    }

    pub(crate) fn without_key(&mut self, key: &str) {
        let mut metadata = Metadata::default();
        self.metadata.iter().filter(|(k, _)| *k != key).for_each(|(k, v)| metadata.set(k, v.clone()));
        self.metadata = metadata;
    }

    pub(crate) fn error(&self) -> String {
        match run::load(&self.file(), 64) {
            Ok(_) => panic!("it loads"),
            Err(e) => e.to_string(),
        }
    }
}

#[track_caller]
fn refused(model: &str, change: impl FnOnce(&mut Parts), message: &str) {
    let mut parts = Parts::of(model);
    change(&mut parts);
    assert_eq!(parts.error(), message);
}

#[track_caller]
fn key_refused(key: &str, value: Value, message: &str) {
    refused("llama", |p| p.metadata.set(key, value), message);
}

#[test]
fn counts_out_of_range_are_refused() {
    for n in [0, 513, u32::MAX] {
        let message = format!("metadata key `llama.block_count` is {n}, expected 1 to 512");
        key_refused("llama.block_count", Value::U32(n), &message);
    }
    for n in [0, u32::MAX] {
        let message = format!("metadata key `llama.context_length` is {n}, expected 1 to 16777216");
        key_refused("llama.context_length", Value::U32(n), &message);
    }
    for (key, most) in [
        ("embedding_length", 1 << 20),
        ("attention.head_count", 1 << 20),
        ("attention.head_count_kv", 4),
        ("attention.key_length", 1 << 20),
        ("feed_forward_length", 1 << 20),
        ("rope.dimension_count", 16),
    ] {
        for n in [0, u32::MAX] {
            let message = format!("metadata key `llama.{key}` is {n}, expected 1 to {most}");
            key_refused(&format!("llama.{key}"), Value::U32(n), &message);
        }
    }
    refused(
        "mixtral",
        |p| p.metadata.set("llama.expert_used_count", Value::U32(5)),
        "metadata key `llama.expert_used_count` is 5, expected 1 to 4",
    );
    refused(
        "mixtral",
        |p| p.metadata.set("llama.expert_count", Value::U32(4097)),
        "metadata key `llama.expert_count` is 4097, expected 1 to 4096",
    );
}

#[test]
fn numbers_that_do_not_fit_together_are_refused() {
    key_refused(
        "llama.attention.head_count_kv",
        Value::U32(3),
        "metadata key `llama.attention.head_count_kv` is 3, expected a divisor of `attention.head_count`",
    );
    key_refused(
        "llama.rope.dimension_count",
        Value::U32(15),
        "metadata key `llama.rope.dimension_count` is 15, expected an even number",
    );
    key_refused(
        "llama.attention.value_length",
        Value::U32(8),
        "tensor `blk.0.attn_v.weight` has shape [64, 32], expected [64, 16]",
    );
    let three_heads = |p: &mut Parts| {
        p.without_key("llama.attention.key_length");
        p.metadata.set("llama.attention.head_count", Value::U32(3));
        p.metadata.set("llama.attention.head_count_kv", Value::U32(3));
    };
    refused(
        "llama",
        three_heads,
        "metadata key `llama.attention.head_count` is 3, expected a divisor of `embedding_length`",
    );
    key_refused(
        "llama.attention.head_count_kv",
        Value::Array(Array::I32(vec![2, 2])),
        "metadata key `llama.attention.head_count_kv` is an array of 2 i32, expected one value, or an array with one per layer (`block_count`)",
    );
    key_refused(
        "llama.attention.head_count",
        Value::Array(Array::I32(vec![0, 0, 0])),
        "metadata key `llama.attention.head_count` is an array of 3 i32, expected more than zero in some layer",
    );
    key_refused(
        "llama.feed_forward_length",
        Value::Array(Array::I32(vec![128, -1, 128])),
        "metadata key `llama.feed_forward_length` is an array of 3 i32, expected integers from zero on",
    );
}

#[test]
fn a_per_layer_array_of_equal_numbers_is_one_number() {
    let mut parts = Parts::of("llama");
    parts.metadata.set("llama.attention.head_count_kv", Value::Array(Array::I32(vec![2, 2, 2])));
    assert!(run::load(&parts.file(), 64).is_ok());
}

fn windows(arch: &Architecture) -> Vec<Option<usize>> {
    arch.layers.iter().map(|l| l.attention().unwrap().window).collect()
}

#[test]
fn a_family_fills_in_what_its_files_may_leave_out() {
    let mut parts = Parts::of("gemma2");
    for key in ["attention.sliding_window", "attn_logit_softcapping", "final_logit_softcapping"] {
        parts.without_key(&format!("gemma2.{key}"));
    }
    let arch = Architecture::read(&parts.file(), None).unwrap();
    assert!(arch.layers.iter().all(|l| l.attention().unwrap().softcap == Some(50.0)));
    assert_eq!(arch.final_softcap, Some(30.0));
    assert_eq!(windows(&arch), [Some(4096), None, Some(4096)]);
    // Zero says that there is none.
    parts.metadata.set("gemma2.attention.sliding_window", Value::U32(0));
    let arch = Architecture::read(&parts.file(), None).unwrap();
    assert_eq!(windows(&arch), [None; 3]);
}

#[test]
fn gemma_is_gemma2_without_softcaps_windows_and_norms_after_branches() {
    let mut gemma2 = Parts::of("gemma2");
    gemma2.metadata.set("gemma2.attention.sliding_window", Value::U32(0));
    for key in ["attn_logit_softcapping", "final_logit_softcapping"] {
        gemma2.metadata.set(format!("gemma2.{key}"), Value::F32(0.0));
    }
    let mut gemma = Parts { metadata: Metadata::default(), tensors: gemma2.tensors.clone() };
    for (key, value) in gemma2.metadata.iter() {
        gemma.metadata.set(key.replace("gemma2.", "gemma."), value.clone());
    }
    gemma.metadata.set("general.architecture", Value::String("gemma".into()));
    gemma.tensors.retain(|(t, _)| !t.name.contains("post_"));
    assert!(run::load(&gemma.file(), 64).is_ok());
    let [expected, found] = [gemma2, gemma].map(|parts| Architecture::read(&parts.file(), None).unwrap());
    assert_eq!(Architecture { family: expected.family, required: expected.required, ..found }, expected);
}

#[test]
fn draft_layers_at_the_end_are_skipped() {
    let mut parts = Parts::of("llama");
    let expected = run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]);
    let last: Vec<_> = parts.tensors.iter().filter(|(t, _)| t.name.starts_with("blk.2.")).cloned().collect();
    for (t, bytes) in last {
        let name = t.name.replace("blk.2.", "blk.3.");
        parts.tensors.push((NewTensor { name, ..t }, bytes));
    }
    let (t, bytes) = parts.tensor("output_norm.weight").clone();
    parts.tensors.push((NewTensor { name: "blk.3.nextn.hnorm.weight".into(), ..t }, bytes));
    parts.metadata.set("llama.block_count", Value::U32(4));
    // Arrays have an entry for a draft layer, too.
    parts.metadata.set("llama.attention.head_count_kv", Value::Array(Array::I32(vec![2, 2, 2, 1])));
    parts.metadata.set("llama.nextn_predict_layers", Value::U32(1));
    assert_eq!(run::load(&parts.file(), 64).unwrap().append(&[5, 6, 7]), expected);
    let (t, _) = parts.tensors.last_mut().unwrap();
    t.name = "blk.4.nextn.hnorm.weight".into();
    let error = parts.error();
    assert!(error.starts_with("tensor `blk.4.nextn.hnorm.weight`"), "{error}");
}

#[test]
fn parameters_of_xielu_are_checked() {
    let mut parts = Parts::of("qwen3");
    let mut metadata = Metadata::default();
    for (key, value) in parts.metadata.iter() {
        let key = key.replace("qwen3.", "apertus.");
        let value =
            if key == "general.architecture" { Value::String("apertus".into()) } else { value.clone() };
        metadata.set(key, value);
    }
    parts.metadata = metadata;
    parts.tensors.retain(|(t, _)| !t.name.contains("ffn_gate"));
    let expected = "a finite number, or an array with one per layer (`block_count`)";
    assert_eq!(parts.error(), format!("metadata key `xielu.alpha_p` is missing, expected {expected}"));
    for key in ["alpha_p", "alpha_n", "beta", "eps"] {
        parts.metadata.set(format!("xielu.{key}"), Value::F32(-0.5));
    }
    run::load(&parts.file(), 64).unwrap();
    for bad in [Value::F32(f32::NAN), Value::U32(1), Value::Array(Array::F32(vec![0.5]))] {
        parts.metadata.set("xielu.beta", bad.clone());
        let message = format!("metadata key `xielu.beta` is {bad}, expected {expected}");
        assert_eq!(parts.error(), message);
    }
}

#[test]
fn required_keys_must_be_there_and_of_their_type() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let mut parts = Parts::of("llama");
        parts.without_key(key);
        let error = parts.error();
        assert!(error.starts_with(&format!("metadata key `{key}` is missing, expected a")), "{error}");

        for wrong in [Value::Bool(true), Value::Array(Array::F32(vec![1.0]))] {
            let mut parts = Parts::of("llama");
            parts.metadata.set(key, wrong.clone());
            let error = parts.error();
            assert!(error.starts_with(&format!("metadata key `{key}` is {wrong}, expected ")), "{error}");
        }
    }
    let epsilon = "llama.attention.layer_norm_rms_epsilon";
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        let message = format!("metadata key `{epsilon}` is f32 {bad}, expected a finite number in range");
        key_refused(epsilon, Value::F32(bad), &message);
    }
    for bad in [f32::NAN, -1.0] {
        let message =
            format!("metadata key `llama.rope.freq_base` is f32 {bad}, expected a finite number in range");
        key_refused("llama.rope.freq_base", Value::F32(bad), &message);
    }
}

#[test]
fn an_unknown_family_is_refused_with_the_known_ones() {
    for (name, message) in [
        ("lama", "architecture `lama` is not supported, expected one of: llama, qwen2, "),
        (
            "rwkv7",
            "architecture `rwkv7` is not supported: recurrent layers (delta-net, Mamba, RWKV or short convolutions) are \
             not implemented, expected one of: llama, qwen2, ",
        ),
        (
            "bert",
            "architecture `bert` is not supported: an encoder computes embeddings and cannot generate text, expected one \
             of: llama, ",
        ),
        (
            "command-r",
            "architecture `command-r` is not supported: LayerNorm is not implemented, only RMS norm, expected one of: ",
        ),
        (
            "clip",
            "architecture `clip` is not supported: a projector of images or sound (mmproj) is the companion ",
        ),
    ] {
        let mut parts = Parts::of("llama");
        parts.metadata.set("general.architecture", Value::String(name.into()));
        let error = parts.error();
        assert!(error.starts_with(message), "{error}");
    }
}

#[test]
fn unknown_scaling_and_routing_are_refused() {
    key_refused(
        "llama.rope.scaling.type",
        Value::String("spiral".into()),
        "metadata key `llama.rope.scaling.type` is a string of 6 bytes, expected none, linear, yarn or longrope",
    );
    refused(
        "mixtral",
        |p| p.metadata.set("llama.expert_gating_func", Value::U32(5)),
        "metadata key `llama.expert_gating_func` is 5, expected 1 (softmax), 2 (sigmoid), 3 (softmax of the selected) or 4 (square root of softplus)",
    );
    let experts = |p: &mut Parts| {
        p.metadata.set("qwen2.expert_count", Value::U32(4));
        p.metadata.set("qwen2.expert_used_count", Value::U32(2));
    };
    refused(
        "qwen2",
        experts,
        "metadata key `qwen2.expert_weights_norm` is missing, expected a bool, as this family has no experts in other files",
    );
}

#[test]
fn the_vocabulary_must_match_the_embedding() {
    let tokens = |n: usize| Value::Array(Array::String((0..n).map(|i| i.to_string()).collect::<Strings>()));
    key_refused(
        "tokenizer.ggml.tokens",
        tokens(300),
        "tensor `token_embd.weight` has shape [64, 320], expected [64, 300]",
    );
    key_refused(
        "tokenizer.ggml.tokens",
        tokens(0),
        "metadata key `tokenizer.ggml.tokens` is an array of 0 string, expected an array of 1 to 2^24 strings",
    );
    let no_tokens = |p: &mut Parts| {
        p.without_key("tokenizer.ggml.tokens");
        p.metadata.set("llama.vocab_size", Value::U32(1 << 31));
    };
    refused("llama", no_tokens, "metadata key `llama.vocab_size` is 2147483648, expected 1 to 16777216");
}

#[test]
fn every_tensor_is_required_by_name() {
    for model in ["llama", "qwen2", "qwen3", "mixtral", "phi3", "gemma2", "gemma3", "gemma4-e2b"] {
        let names: Vec<String> = Parts::of(model).tensors.iter().map(|(t, _)| t.name.clone()).collect();
        // An untied output is optional: without it the embedding serves. So are values of layers without windows in a family
        // whose keys serve.
        let is_optional =
            |name: &str| name == "output.weight" || (model, name) == ("gemma4-e2b", "blk.2.attn_v.weight");
        for name in names.iter().filter(|n| !is_optional(n) && !n.starts_with("blk.0.")) {
            let mut parts = Parts::of(model);
            parts.tensors.retain(|(t, _)| t.name != *name);
            // A fused tensor is asked for by the names of its parts.
            let asked = name
                .replace("attn_qkv", "attn_q")
                .replace("ffn_up", if model == "phi3" { "ffn_gate" } else { "ffn_up" });
            let error = parts.error();
            assert!(error.starts_with(&format!("tensor `{asked}` is missing, expected shape [")), "{error}");
        }
    }
}

#[test]
fn per_layer_embeddings_have_one_width() {
    const WIDTH: &str = "gemma4.embedding_length_per_layer_input";
    let width = |n| move |p: &mut Parts| p.metadata.set(WIDTH, Value::U32(n));
    refused(
        "gemma4-e2b",
        width(17),
        "tensor `per_layer_model_proj.weight` has shape [48, 96], expected [48, 102]",
    );
    refused(
        "gemma4-e2b",
        width(0),
        "tensor `per_layer_token_embd.weight` has no place in a `gemma4` model, the file may be of a newer kind",
    );
    let n = u32::MAX;
    let message = format!("metadata key `{WIDTH}` is {n}, expected at most 2^20 over all layers");
    refused("gemma4-e2b", width(n), &message);
    refused(
        "gemma4-e2b",
        |p| p.tensor("blk.3.layer_output_scale.weight").1 = f32::NAN.to_le_bytes().to_vec(),
        "tensor `blk.3.layer_output_scale.weight` holds unfit numbers, expected finite numbers",
    );
}

#[test]
fn parts_of_newer_families_must_be_there_and_fit() {
    let without =
        |name: &'static str| move |p: &mut Parts| p.tensors.retain(|(t, _)| !t.name.ends_with(name));
    let set = |key: &'static str, value: Value| move |p: &mut Parts| p.metadata.set(key, value);
    refused(
        "gpt-oss-mxfp4",
        without("attn_sinks.weight"),
        "tensor `blk.0.attn_sinks.weight` is missing, expected shape [3]",
    );
    refused(
        "gpt-oss-mxfp4",
        without("blk.1.attn_sinks.weight"),
        "tensor `blk.1.attn_sinks.weight` is missing, expected shape [3]",
    );
    refused(
        "gpt-oss-mxfp4",
        without("ffn_up_exps.bias"),
        "tensor `blk.0.ffn_up_exps.bias` is missing, expected shape [32, 5]",
    );
    refused(
        "gpt-oss-mxfp4",
        set("gpt-oss.expert_count", Value::U32(6)),
        "tensor `blk.0.ffn_gate_inp.weight` has shape [96, 5], expected [96, 6]",
    );
    refused(
        "gpt-oss-mxfp4",
        set("gpt-oss.expert_used_count", Value::U32(6)),
        "metadata key `gpt-oss.expert_used_count` is 6, expected 1 to 5",
    );
    refused(
        "glm4moe",
        without("blk.1.exp_probs_b.bias"),
        "tensor `blk.1.exp_probs_b.bias` is missing, expected shape [6]",
    );
    refused(
        "glm4moe",
        set("glm4moe.leading_dense_block_count", Value::U32(9)),
        "metadata key `glm4moe.leading_dense_block_count` is 9, expected at most the number of layers",
    );
    refused(
        "deepseek3",
        set("deepseek2.expert_group_count", Value::U32(0)),
        "metadata key `deepseek2.expert_group_count` is 0, expected 1 to 256",
    );
    refused(
        "deepseek3",
        set("deepseek2.expert_group_used_count", Value::U32(0)),
        "metadata key `deepseek2.expert_group_used_count` is 0, expected 1 to 4",
    );
    refused(
        "deepseek3",
        set("deepseek2.attention.kv_lora_rank", Value::U32(0)),
        "metadata key `deepseek2.attention.kv_lora_rank` is 0, expected 1 to 1048576",
    );
    refused(
        "deepseek3",
        set("deepseek2.attention.key_length_mla", Value::U32(7)),
        "metadata key `deepseek2.rope.dimension_count` is 8, expected less than the width of a query head",
    );
    refused(
        "deepseek3",
        without("blk.1.attn_k_b.weight"),
        "tensor `blk.1.attn_k_b.weight` is missing, expected shape [16, 32, 3]",
    );
    refused(
        "mistral3",
        set("mistral3.rope.scaling.original_context_length", Value::U32(0)),
        "metadata key `mistral3.rope.scaling.original_context_length` is 0, expected 1 to 16777216",
    );
    let heads = Value::Array(Array::I32(vec![1, 1, 1]));
    refused(
        "gemma4-e2b",
        set("gemma4.attention.head_count_kv", heads),
        "metadata key `gemma4.attention.head_count_kv` is an array of 3 i32, expected one \
         value, or an array with one per layer (`block_count`)",
    );
    let pattern = Value::Array(Array::Bool(vec![true; 7]));
    refused(
        "gemma4-e2b",
        set("gemma4.attention.sliding_window_pattern", pattern),
        "metadata key `gemma4.attention.sliding_window_pattern` is an array of 7 bool, \
         expected one value, or an array with one per layer (`block_count`)",
    );
    let widths = Value::Array(Array::I32(vec![96; 5]));
    refused(
        "gemma4-e2b",
        set("gemma4.feed_forward_length", widths),
        "metadata key `gemma4.feed_forward_length` is an array of 5 i32, expected one value, \
         or an array with one per layer (`block_count`)",
    );
}

#[test]
fn what_a_family_has_in_every_layer_cannot_be_missing_in_all() {
    let no_norms = |p: &mut Parts| p.tensors.retain(|(t, _)| !t.name.contains("attn_q_norm"));
    refused("qwen3", no_norms, "tensor `blk.0.attn_q_norm.weight` is missing, expected shape [32]");
}

#[test]
fn wrong_shapes_and_types_are_refused() {
    let swapped = |p: &mut Parts| p.tensor("blk.1.attn_k.weight").0.dims.reverse();
    refused("llama", swapped, "tensor `blk.1.attn_k.weight` has shape [32, 64], expected [64, 32]");
    let longer = |p: &mut Parts| {
        let (tensor, bytes) = p.tensor("blk.0.attn_norm.weight");
        tensor.dims[0] += 1;
        bytes.extend([0; 4]);
    };
    refused("llama", longer, "tensor `blk.0.attn_norm.weight` has shape [65], expected [64]");
    let integers = |p: &mut Parts| p.tensor("blk.0.ffn_up.weight").0.dtype = DType::I32;
    refused(
        "llama",
        integers,
        "tensor `blk.0.ffn_up.weight` has type I32, which this build cannot compute with, expected one of: \
         F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S \
         IQ4_XS IQ1_M BF16 TQ1_0 TQ2_0 MXFP4 NVFP4 Q1_0 Q2_0",
    );
    let quantized_norm = |p: &mut Parts| {
        let (tensor, bytes) = p.tensor("output_norm.weight");
        tensor.dtype = DType::Q8_0;
        bytes.truncate(68);
    };
    refused(
        "llama",
        quantized_norm,
        "tensor `output_norm.weight` has type Q8_0, which this build cannot compute with, expected one of: F32 F16 BF16",
    );
}

#[test]
fn a_tensor_without_a_place_is_refused() {
    let extra = |p: &mut Parts| {
        let tensor = NewTensor { name: "blk.0.attn_rel_b.weight".into(), dtype: DType::F32, dims: vec![4] };
        p.tensors.push((tensor, vec![0; 16]));
    };
    refused(
        "llama",
        extra,
        "tensor `blk.0.attn_rel_b.weight` has no place in a `llama` model, the file may be of a newer kind",
    );
}

#[test]
fn rope_factors_must_be_positive() {
    let zero = |p: &mut Parts| p.tensor("rope_freqs.weight").1[..4].fill(0);
    refused(
        "llama3-scaled",
        zero,
        "tensor `rope_freqs.weight` holds unfit numbers, expected finite numbers above zero",
    );
}

#[test]
fn weights_that_are_not_finite_load_and_still_give_valid_tokens() {
    for bad in [f32::NAN, f32::INFINITY, f32::MAX] {
        for name in
            ["token_embd.weight", "blk.1.attn_norm.weight", "blk.0.ffn_down.weight", "output_norm.weight"]
        {
            let mut parts = Parts::of("qwen3");
            parts
                .tensor(name)
                .1
                .chunks_exact_mut(4)
                .step_by(3)
                .for_each(|b| b.copy_from_slice(&bad.to_le_bytes()));
            let mut sequence = run::load(&parts.file(), 64).unwrap();
            let logits = sequence.append(&[1, 2, 3]);
            let spec = SampleSpec { temperature: 0.7, top_p: 0.9, min_p: 0.05, ..SampleSpec::GREEDY };
            for logits in &logits {
                assert!((Sampler::default().sample(logits, &spec, 0) as usize) < logits.len());
            }
        }
    }
}
