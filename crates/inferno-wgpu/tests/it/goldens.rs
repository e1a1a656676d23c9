//! Whole models against float64 oracles.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::conformance::{GOLDEN_TOLERANCE, Oracle, check_golden, compare_golden};
use inferno_model::error::LoadError;
use xtask::testing::Golden;

use crate::{backend, is_all};

fn check(name: &str) {
    let Some(backend) = backend() else { return };
    let Golden { prompt, logits, greedy } = xtask::testing::golden(name);
    let file = Gguf::open(&xtask::testing::testdata(&format!("goldens/{name}.gguf"))).unwrap();
    check_golden(&file, backend, &prompt, &logits, &greedy);
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
    mistral_past_its_window_matches_float64: "mistral-window",
    nemotron_h_with_experts_matches_float64: "nemotron-h",
    lfm2_matches_float64: "lfm2",
}

/// Tolerances of goldens that are computed with activations of 8 bits.
const COARSE: &[(&str, f32)] = &[("gpt-oss-mxfp4", 0.2)];

/// Goldens of kinds of mixers and feed-forward networks that no model of `testdata` has. `INFERNO_GOLDENS=all` runs every
/// golden of the data: a minute on llvmpipe.
const OF_EVERY_KIND: &[&str] = &["deepseek3", "gemma4-e2b", "gpt-oss-mxfp4", "qwen35"];

#[test]
fn goldens_of_the_data_match_float64() {
    let Some(gpu) = backend() else { return };
    drop(gpu);
    let mut wrong = Vec::new();
    for (name, path, Golden { prompt, logits, greedy }) in xtask::testing::data_goldens() {
        let file = Gguf::open(&path).unwrap();
        let is_refused = matches!(Architecture::read(&file, None), Err(LoadError::Family { .. }));
        if is_refused || !(is_all() || OF_EVERY_KIND.contains(&name.as_str())) {
            continue;
        }
        let Some(backend) = backend() else { return };
        let tolerance = COARSE.iter().find(|row| row.0 == name).map_or(GOLDEN_TOLERANCE, |row| row.1);
        let oracle = Oracle { prompt: &prompt, logits: &logits, greedy: &greedy };
        match compare_golden(&file, backend, &oracle, tolerance) {
            Ok(off) => println!("{name}: within {off:e}"),
            Err(error) => wrong.push(format!("{name}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
