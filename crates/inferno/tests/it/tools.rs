//! `inspect`, `tokenize`, `detokenize` and `logits`.

use crate::{golden, inferno, pipe};

#[test]
fn text_becomes_ids_and_ids_become_the_text() {
    let text = "  Once upon a time,\n\tthere was a naïve 🐉.\n\n";
    let ids = pipe(text, &["tokenize"]).ok();
    assert!(ids.ends_with('\n') && ids.trim().split(' ').all(|id| id.parse::<u32>().is_ok()), "{ids}");
    assert_eq!(pipe(&ids, &["detokenize"]).ok(), text);
    assert_eq!(pipe(format!("[{}]", ids.trim().replace(' ', ", ")), &["detokenize"]).ok(), text);
}

#[test]
fn text_and_ids_are_taken_as_arguments_too() {
    let ids = inferno(&["tokenize", "Once upon", "a time"]).ok();
    assert_eq!(ids, pipe("Once upon a time", &["tokenize"]).ok());
    let ids: Vec<&str> = ids.split_whitespace().collect();
    assert_eq!(inferno(&[&["detokenize"], &ids[..]].concat()).ok(), "Once upon a time");
    assert_eq!(inferno(&["detokenize", &ids.join(",")]).ok(), "Once upon a time");
    assert_eq!(pipe("Hi", &["tokenize", "-"]).ok(), pipe("Hi", &["tokenize"]).ok());
}

#[test]
fn no_text_is_no_ids() {
    assert_eq!(inferno(&["tokenize"]).ok(), "\n");
    assert_eq!(inferno(&["tokenize", "--json"]).ok(), "[]\n");
    assert_eq!(inferno(&["detokenize"]).ok(), "");
}

#[test]
fn pieces_come_as_json() {
    let json = pipe("Hi é", &["tokenize", "--json", "-m", &golden("qwen3")]).ok();
    let pieces: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert_eq!(pieces.len(), 5, "{json}");
    assert_eq!(pieces[0]["piece"], "H");
    assert_eq!(pieces[3]["bytes"], serde_json::json!([0xc3]));
}

#[test]
fn control_tokens_are_recognised_on_request_only() {
    assert_eq!(pipe("<|im_end|>", &["tokenize", "--special"]).ok(), "5113\n");
    assert!(pipe("<|im_end|>", &["tokenize"]).ok().split(' ').count() > 2);
}

#[test]
fn what_is_not_text_or_not_an_id_is_refused() {
    assert_eq!(pipe([0x61, 0xff], &["tokenize"]).error(), "stdin is not UTF-8 at byte 1");
    let long = pipe("1".repeat(5000), &["detokenize"]).error();
    assert!(long.len() < 100 && long.contains("is not a token id"), "{long}");
    for unfit in ["[[1]]", "[1", "1]"] {
        assert!(pipe(unfit, &["detokenize"]).error().contains("is not a token id"), "{unfit}");
    }
    assert!(pipe("12 x", &["detokenize"]).error().starts_with("`x` is not a token id"));
    let error = pipe("5120", &["detokenize"]).error();
    assert!(error.contains("5120"), "{error}");
}

#[test]
fn logits_come_as_one_json_object_in_position_order() {
    let model = golden("qwen3");
    let all = inferno(&["logits", "-m", &model, "--tokens", "195,84,241", "--at", "2,0"]).ok();
    let all: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&all).unwrap();
    assert_eq!(all.keys().collect::<Vec<_>>(), ["0", "2"]);
    assert_eq!(all["2"].as_array().unwrap().len(), 320);
    let last = inferno(&["logits", "-m", &model, "--tokens", "195,84,241"]).ok();
    let last: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&last).unwrap();
    assert_eq!(last["2"], all["2"]);
}

#[test]
fn logits_of_what_is_not_there_are_refused() {
    let logits = |args: &[&str]| inferno(&[&["logits"], args].concat());
    assert_eq!(logits(&["--tokens", "1,5120"]).error(), "token 5120 is not in the vocabulary of 5120 tokens");
    assert_eq!(logits(&["--tokens", "1", "--at", "1"]).error(), "--at 1 is past the last position, 0");
    let many = vec!["1"; 2049].join(",");
    assert_eq!(logits(&["--tokens", &many]).error(), "2049 tokens are more than the model's context of 2048");
    assert_eq!(logits(&[]).code, Some(2));
}

#[test]
fn a_file_is_shown_to_people_and_to_programs() {
    let text = inferno(&["inspect"]).ok();
    assert!(text.lines().nth(2) == Some("SUMMARY") && text.find("MEMORY") < text.find("METADATA"), "{text}");
    for part in [
        "chat template        yes",
        "context              2048 positions",
        "sampling defaults    temperature 0.5",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("blk.0.attn_q.weight"), "{text}");
    assert!(inferno(&["inspect", "--tensors"]).ok().contains("  blk.0.attn_q.weight"));
    for part in
        ["general.name", "Ember", "HYPERPARAMETERS", "n_layers           9", "TENSORS (101)", "MEMORY"]
    {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    let model = golden("llama");
    assert_eq!(inferno(&["inspect", &model]).ok(), inferno(&["inspect", "-m", &model]).ok());
    let json: serde_json::Value = serde_json::from_str(&inferno(&["inspect", "--json"]).ok()).unwrap();
    assert_eq!(json["hyperparameters"]["dim"], 256);
    assert_eq!(json["metadata"]["tokenizer.ggml.tokens"].as_array().unwrap().len(), 5120);
    assert_eq!(json["tensors"][0]["type"], "Q8_0");
    // In half precision.
    assert_eq!(json["memory"]["kv_bytes_per_position"], 2 * 9 * 2 * 64 * 2);
}

#[test]
fn inspect_shows_what_layers_with_a_window_keep() {
    let model = golden("gemma3");
    let text = inferno(&["inspect", &model]).ok();
    let line = "    of which           3.1 kB in 6 layers with a window of 8: at most 96 positions";
    assert!(text.lines().any(|l| l == line), "{text}");
    let json: serde_json::Value =
        serde_json::from_str(&inferno(&["inspect", "--json", &model]).ok()).unwrap();
    let memory = &json["memory"];
    let group = |n_layers: usize, window: Option<usize>, most: usize| {
        serde_json::json!({
            "n_layers": n_layers,
            "window": window,
            "kv_bytes_per_position": n_layers * 512,
            "most_positions": most,
        })
    };
    assert_eq!(memory["kv_groups"], serde_json::json!([group(6, Some(8), 96), group(1, None, 512)]));
    assert_eq!(memory["kv_bytes_per_position"], 7 * 512);
    assert_eq!(memory["kv_bytes_at_full_context"], 6 * 512 * 96 + 512 * 512);
}

#[test]
fn a_file_that_cannot_run_is_shown_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vocabulary.gguf");
    let bytes = [b"GGUF".as_slice(), &3u32.to_le_bytes(), &[0; 16]].concat();
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    assert!(
        inferno(&["inspect", path])
            .ok()
            .contains("CANNOT RUN: metadata key `general.architecture` is missing")
    );
    let json: serde_json::Value = serde_json::from_str(&inferno(&["inspect", "--json", path]).ok()).unwrap();
    assert!(json["cannot_run"].is_string());
    let error = inferno(&["run", "-m", path, "Hello"]).error();
    assert!(error.contains("general.architecture"), "{error}");
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    for command in [&["inspect"][..], &["tokenize", "-m"], &["run", "Hello", "-m"]] {
        let error =
            inferno(&[command, &[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]].concat()).error();
        assert!(error.contains("a text file, not a GGUF model"), "{error}");
    }
}

#[test]
fn every_shell_gets_a_script_that_knows_the_flags() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = inferno(&["completions", shell]).ok();
        assert!(script.contains("--no-model-defaults") || script.contains("no-model-defaults"), "{shell}");
    }
    assert_eq!(inferno(&["completions", "csh"]).code, Some(2));
}
