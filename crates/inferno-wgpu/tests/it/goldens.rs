//! Whole models against float64 oracles.

use inferno_format::Gguf;
use inferno_model::conformance::check_golden;
use xtask::testing::Golden;

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
    gemma4_with_shared_keys_and_per_layer_embeddings_matches_float64: "gemma4-e2b",
    mistral_past_its_window_matches_float64: "mistral-window",
}
