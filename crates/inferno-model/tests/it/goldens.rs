//! Logits and greedy tokens against float64 oracles.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::conformance::{GOLDEN_TOLERANCE, Oracle, compare_golden};
use inferno_model::error::LoadError;
use inferno_model::reference::Reference;
use inferno_model::sample::argmax;
use serde_json::Value;
use xtask::testing::Golden;

use crate::run;

fn check(name: &str) {
    let Golden { prompt, logits, greedy } = xtask::testing::golden(name);
    let file = Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
    let oracle = Oracle { prompt: &prompt, logits: &logits, greedy: &greedy };
    compare_golden(&file, Reference::default(), &oracle, tolerance(name)).unwrap();
}

macro_rules! goldens {
    ($($test:ident: $name:literal,)*) => { $(
        #[test]
        fn $test() {
            check($name);
        }
    )* };
}

goldens! {
    llama_matches_float64: "llama",
    llama_with_scaled_rope_matches_float64: "llama3-scaled",
    mistral_matches_float64: "mistral-swa",
    mixtral_matches_float64: "mixtral",
    qwen2_matches_float64: "qwen2",
    qwen3_matches_float64: "qwen3",
    qwen3_with_its_own_output_matches_float64: "qwen3-untied",
    qwen3moe_matches_float64: "qwen3moe",
    phi3_matches_float64: "phi3",
    gemma2_matches_float64: "gemma2",
    gemma3_matches_float64: "gemma3",
    gemma4_with_experts_beside_dense_networks_matches_float64: "gemma4-moe",
    gemma4_with_shared_keys_and_per_layer_embeddings_matches_float64: "gemma4-e2b",
    deepseek3_matches_float64: "deepseek3",
    glm4moe_matches_float64: "glm4moe",
    gpt_oss_with_activations_of_8_bits_matches_float64: "gpt-oss-mxfp4",
    mistral3_matches_float64: "mistral3",
    llama_with_yarn_matches_float64: "llama-yarn",
    llama_with_interpolated_positions_matches_float64: "llama-linear",
    mistral_past_its_window_matches_float64: "mistral-window",
    phi3_past_its_original_context_matches_float64: "phi3-longrope",
    gemma3_with_interpolated_full_layers_matches_float64: "gemma3-linear",
    qwen3_with_its_own_yarn_magnitude_matches_float64: "qwen3-yarn-factor",
    qwen3moe_with_plain_expert_shares_matches_float64: "qwen3moe-plain-shares",
    olmoe_matches_float64: "olmoe",
    granitemoe_with_a_shared_expert_matches_float64: "granitemoe",
    dots1_matches_float64: "dots1",
    hunyuan_moe_matches_float64: "hunyuan-moe",
    qwen3vlmoe_matches_float64: "qwen3vlmoe",
    qwen2vl_matches_float64: "qwen2vl",
    arcee_with_yarn_matches_float64: "arcee",
    apertus_with_stretched_rotations_matches_float64: "apertus",
    ernie4_5_matches_float64: "ernie4_5",
    gemma_matches_float64: "gemma",
    exaone_with_stretched_rotations_matches_float64: "exaone",
    exaone_moe_with_groups_of_experts_matches_float64: "exaone-moe",
    hy_v3_matches_float64: "hy_v3",
    kimi_linear_with_experts_matches_float64: "kimi-linear",
    mellum_with_yarn_on_full_layers_matches_float64: "mellum",
    nemotron_h_with_experts_matches_float64: "nemotron-h",
    lfm2_matches_float64: "lfm2",
}

/// Tolerances of goldens that are computed with activations of 8 bits.
const COARSE: &[(&str, f32)] = &[("gpt-oss-mxfp4", 0.2)];

fn tolerance(name: &str) -> f32 {
    COARSE.iter().find(|row| row.0 == name).map_or(GOLDEN_TOLERANCE, |row| row.1)
}

/// Families that this version refuses. No other family of a golden may be missing.
const REFUSED: &[&str] =
    &["cohere2", "cohere2moe", "command-r", "gemma3n", "llama4", "qwen4exp", "stablelm", "starcoder2"];

/// Each runs as soon as its family has a row.
#[test]
fn every_golden_of_the_data_matches_float64_or_is_refused_by_name() {
    let mut wrong = Vec::new();
    for (name, path, Golden { prompt, logits, greedy }) in xtask::testing::data_goldens() {
        let file = Gguf::open(&path).unwrap();
        if let Err(LoadError::Family { found, .. }) = Architecture::read(&file, None) {
            assert!(REFUSED.contains(&found.as_str()), "{name}: `{found}` is refused");
            continue;
        }
        let oracle = Oracle { prompt: &prompt, logits: &logits, greedy: &greedy };
        match compare_golden(&file, Reference::default(), &oracle, tolerance(&name)) {
            Ok(off) => println!("{name}: within {off:e}"),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn stories260k_tells_the_golden_story() {
    let Some(golden) = xtask::testing::data("weights/golden_greedy.json") else { return };
    let Some(path) = xtask::testing::data("weights/stories260K-f32.gguf") else { return };
    let golden: Value = serde_json::from_slice(&std::fs::read(golden).unwrap()).unwrap();
    let tokens: Vec<u32> =
        golden["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
    let mut model = run::open(&path, tokens.len());
    let mut found = vec![tokens[0]];
    let mut logits = Vec::new();
    for _ in 1..tokens.len() {
        logits.push(model.append(&found[found.len() - 1..]).remove(0));
        found.push(argmax(logits.last().unwrap()));
    }
    assert_eq!(found, tokens);
    for entry in golden["logits"].as_array().unwrap() {
        let Some(found) = logits.get(entry["pos"].as_u64().unwrap() as usize) else { continue };
        for (found, expected) in found.iter().zip(entry["logits"].as_array().unwrap()) {
            assert!((found - expected.as_f64().unwrap() as f32).abs() <= GOLDEN_TOLERANCE);
        }
    }
}
