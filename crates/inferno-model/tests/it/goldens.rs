//! Logits and greedy tokens against float64 oracles.

use inferno_model::sample::{argmax, top_k};
use serde_json::Value;

use crate::run;

/// What every logit may differ from float64.
const TOLERANCE: f32 = 2e-4;
/// A greedy step whose two best logits are closer than this may go either way.
const NEAR_TIE: f32 = 1e-3;

fn check(name: &str) {
    let golden: Value = serde_json::from_slice(
        &std::fs::read(xtask::testing::testdata(&format!("goldens/{name}.json"))).unwrap(),
    )
    .unwrap();
    let ids =
        |v: &Value| v.as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect::<Vec<_>>();
    let prompt = ids(&golden["prompt"]);
    let mut model = run::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf")), 128);
    let logits = model.append(&prompt);

    let mut worst = 0.0f32;
    for (position, expected) in golden["logits"].as_object().unwrap() {
        let found = &logits[position.parse::<usize>().unwrap()];
        let expected = expected.as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            worst = worst.max((found - expected.as_f64().unwrap() as f32).abs());
        }
    }
    assert!(worst <= TOLERANCE, "{name}: a logit is off by {worst}");

    let mut last = logits.last().unwrap().clone();
    let mut best = Vec::new();
    for (step, token) in ids(&golden["greedy"]).into_iter().enumerate() {
        top_k(&last, 2, &mut best);
        assert!(
            argmax(&last) == token || best[0].1 - best[1].1 < NEAR_TIE,
            "{name}: greedy step {step} gives {} instead of {token}",
            best[0].0
        );
        last = model.append(&[token]).remove(0);
    }
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
    llama_with_yarn_matches_float64: "llama-yarn",
    llama_with_interpolated_positions_matches_float64: "llama-linear",
    mistral_past_its_window_matches_float64: "mistral-window",
    phi3_past_its_original_context_matches_float64: "phi3-longrope",
    gemma3_with_interpolated_full_layers_matches_float64: "gemma3-linear",
    qwen3_with_its_own_yarn_magnitude_matches_float64: "qwen3-yarn-factor",
    qwen3moe_with_plain_expert_shares_matches_float64: "qwen3moe-plain-shares",
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
            assert!((found - expected.as_f64().unwrap() as f32).abs() <= TOLERANCE);
        }
    }
}
