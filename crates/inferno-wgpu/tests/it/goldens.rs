//! Whole models against float64 oracles.

use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::conformance::{GOLDEN_TOLERANCE, Oracle, check_golden, compare_golden};
use inferno_model::error::LoadError;
use xtask::testing::{Golden, is_thorough};

use crate::backend;

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

// Attention with windows and shared keys, states, convolutions, experts and per-layer embeddings.
goldens! {
    gemma4_with_shared_keys_and_per_layer_embeddings_matches_float64: "gemma4-e2b",
    nemotron_h_with_experts_matches_float64: "nemotron-h",
    lfm2_matches_float64: "lfm2",
}

/// Goldens whose layers are made of what those have, or `conformance` checks.
const OTHERS: [&str; 13] = [
    "llama",
    "llama3-scaled",
    "mistral-swa",
    "mistral-window",
    "mixtral",
    "qwen2",
    "qwen3",
    "qwen3-untied",
    "qwen3moe",
    "phi3",
    "gemma2",
    "gemma3",
    "gemma4-moe",
];

#[test]
fn all_other_goldens_match_float64() {
    if !is_thorough() {
        return xtask::testing::skip("thorough", "INFERNO_THOROUGH=1 runs it");
    }
    OTHERS.into_iter().for_each(check);
}

/// Tolerances of goldens that are computed with activations of 8 bits.
const COARSE: &[(&str, f32)] = &[("gpt-oss-mxfp4", 0.2)];

#[test]
fn goldens_of_the_data_match_float64() {
    if !is_thorough() {
        return xtask::testing::skip("thorough", "INFERNO_THOROUGH=1 runs it");
    }
    let mut wrong = Vec::new();
    for (name, path, Golden { prompt, logits, greedy }) in xtask::testing::data_goldens() {
        let file = Gguf::open(&path).unwrap();
        let is_refused = matches!(Architecture::read(&file, None), Err(LoadError::Family { .. }));
        if is_refused {
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
