//! `inferno synth`: every preset and type makes a model that runs.

use std::path::Path;

use crate::inferno;

pub(crate) const SMALL: [&str; 19] = [
    "tiny-llama",
    "tiny-mistral",
    "tiny-mixtral",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-qwen3moe",
    "tiny-phi3",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-gpt-oss",
    "tiny-gemma4",
    "tiny-deepseek2",
    "tiny-qwen35",
    "tiny-qwen3next",
    "tiny-mamba2",
    "tiny-granite4",
    "tiny-nemotron3",
    "tiny-falcon-h1",
    "tiny-lfm2",
];

pub(crate) fn synth(folder: &Path, preset: &str, dtype: &str, more: &[&str]) -> String {
    let path = folder.join(format!("{preset}-{dtype}.gguf")).to_str().unwrap().to_owned();
    inferno(&[&["synth", preset, &path, "--dtype", dtype], more].concat()).ok();
    path
}

fn logits(path: &str) -> Vec<f32> {
    let json = inferno(&["logits", "-m", path, "--tokens", "5,6,7"]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    json["2"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

#[test]
fn every_small_preset_runs() {
    let folder = tempfile::tempdir().unwrap();
    for preset in SMALL {
        let path = synth(folder.path(), preset, "q8_0", &[]);
        let text = inferno(&["run", "-m", &path, "-n", "3", "--seed", "1", "Hello"]);
        assert_eq!(text.code, Some(0), "{preset}: {}", text.stderr);
    }
}

#[test]
fn types_differ_by_rounding_only() {
    let folder = tempfile::tempdir().unwrap();
    let exact = logits(&synth(folder.path(), "tiny-qwen3", "f32", &[]));
    let norm = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    // About twice what this seed gives; a wrong encoding gives 1 and more.
    for (dtype, most) in [
        ("f16", 0.0015),
        ("bf16", 0.012),
        ("q8_0", 0.05),
        ("q6_k", 0.12),
        ("q4_k", 0.4),
        ("q4_0", 0.5),
        ("q4_k_m", 0.35),
    ] {
        let found = logits(&synth(folder.path(), "tiny-qwen3", dtype, &[]));
        let difference: Vec<f32> = found.iter().zip(&exact).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(&exact);
        assert!(error > 0.0 && error < most, "{dtype}: {error}");
    }
}

#[test]
fn the_mixture_has_more_bits_for_the_output_and_in_half_of_the_layers() {
    let folder = tempfile::tempdir().unwrap();
    let types = |preset: &str| {
        let path = synth(folder.path(), preset, "q4_k_m", &[]);
        let json: serde_json::Value =
            serde_json::from_str(&inferno(&["inspect", "--json", &path]).ok()).unwrap();
        assert_eq!(json["metadata"]["general.file_type"], 15);
        let tensors = json["tensors"].as_array().unwrap().iter();
        let with_more =
            tensors.filter(|t| t["type"] == "Q6_K").map(|t| t["name"].as_str().unwrap().to_owned());
        with_more.collect::<Vec<_>>().join(" ").replace(".weight", "")
    };
    // Three layers: the last is in the last eighth, and the third of three.
    assert_eq!(types("tiny-llama"), "blk.2.attn_v blk.2.ffn_down output");
    assert_eq!(types("tiny-qwen3"), "token_embd blk.2.attn_v blk.2.ffn_down");
    assert_eq!(types("tiny-mixtral"), "blk.2.attn_v blk.2.ffn_down_exps output");
}

#[test]
fn a_seed_makes_the_same_file_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let read = |more: &[&str]| std::fs::read(synth(folder.path(), "tiny-llama", "q4_0", more)).unwrap();
    let first = read(&["--seed", "4"]);
    assert!(first == read(&["--seed", "4", "--force"]));
    assert!(first != read(&["--seed", "5", "--force"]));
}

#[test]
fn nothing_is_overwritten_or_left_half_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.gguf");
    std::fs::write(&path, "precious").unwrap();
    let name = path.to_str().unwrap();
    let error = inferno(&["synth", "tiny-llama", name]).error();
    assert!(error.ends_with("exists, `--force` replaces it"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");

    let nowhere = folder.path().join("no/such/folder.gguf");
    assert!(
        inferno(&["synth", "tiny-llama", nowhere.to_str().unwrap()]).error().starts_with("cannot write ")
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.gguf");
    std::os::unix::fs::symlink("nowhere", &link).unwrap();
    for name in [link.to_str().unwrap(), "/dev/null"] {
        let error = inferno(&["synth", "tiny-llama", name, "--force"]).error();
        assert!(error.ends_with("exists and is not a regular file"), "{error}");
    }
    assert!(link.is_symlink());
}

#[test]
fn unknown_presets_and_types_are_refused_with_the_known_ones() {
    let error = inferno(&["synth", "huge", "out.gguf"]).error();
    assert!(
        error.starts_with("there is no preset `huge`, the presets are qwen3-0.6b, qwen3-1.7b, "),
        "{error}"
    );
    let error = inferno(&["synth", "tiny-llama", "out.gguf", "--dtype", "q2_k"]).error();
    assert_eq!(error, "cannot write Q2_K, the types are F32 F16 BF16 Q8_0 Q4_0 Q4_K Q6_K Q4_K_M");
    assert_eq!(inferno(&["synth", "tiny-llama", "out.gguf", "--dtype", "q99"]).code, Some(2));
}

#[test]
fn the_vocabulary_of_a_file_sets_the_size() {
    let folder = tempfile::tempdir().unwrap();
    let path = synth(folder.path(), "tiny-qwen2", "f16", &["--vocab-from", &crate::golden("qwen2")]);
    let json: serde_json::Value = serde_json::from_str(&inferno(&["inspect", "--json", &path]).ok()).unwrap();
    assert_eq!(json["hyperparameters"]["vocab_size"], 320);
}

#[test]
fn a_cut_has_the_first_layers_and_random_blocks_have_the_deviation_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = synth(folder.path(), "tiny-gpt-oss", "q8_0", &["--layers", "2"]);
    let json: serde_json::Value = serde_json::from_str(&inferno(&["inspect", "--json", &path]).ok()).unwrap();
    assert_eq!(json["metadata"]["gpt-oss.block_count"], 2);
    let of = |name: &str| {
        let tensors = json["tensors"].as_array().unwrap();
        tensors.iter().find(|t| t["name"] == name).map(|t| t["type"].as_str().unwrap().to_owned())
    };
    assert_eq!(of("blk.1.ffn_down_exps.weight").as_deref(), Some("MXFP4"));
    assert_eq!(of("blk.1.attn_q.weight").as_deref(), Some("Q8_0"));
    assert_eq!(of("blk.2.attn_q.weight"), None);
    let error = inferno(&["synth", "qwen3-8b", "out.gguf", "--layers", "37"]).error();
    assert_eq!(error, "`qwen3-8b` has 36 layers, `--layers` takes 1 to 36");
}
