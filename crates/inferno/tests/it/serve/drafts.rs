//! `--draft`: a model with a draft model beside it.

use serde_json::{Value, json};

use super::serve;
use crate::inferno;
use crate::synth::synth;

/// A model of three layers, and its first layer, which drafts for it.
fn pair(folder: &std::path::Path) -> [String; 2] {
    let path = |name: &str| {
        let inside = folder.join(name);
        std::fs::create_dir(&inside).unwrap();
        inside
    };
    let model = ["--draft-layers", "1", "--draft-difference", "0.02"];
    [
        synth(&path("model"), "tiny-qwen3", "f32", &model),
        synth(&path("draft"), "tiny-qwen3", "f32", &["--layers", "1"]),
    ]
}

#[test]
fn answers_are_the_same_with_a_draft_model_and_metrics_and_timings_tell_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let [model, draft] = pair(folder.path());
    let answer = |served: &super::Served, temperature: f64| {
        let body = json!({
            "prompt": "Once upon a time there was", "max_tokens": 150, "temperature": temperature, "seed": 3, "ignore_eos": true,
            "return_token_ids": true,
        });
        let (body, host) = (body.to_string(), "Host: localhost\r\nConnection: close");
        let length = body.len();
        let head = format!("POST /v1/completions HTTP/1.1\r\n{host}\r\nContent-Length: {length}\r\n\r\n");
        let (status, answer) = served.ask(&(head + &body));
        assert_eq!(status, 200, "{answer}");
        serde_json::from_str::<Value>(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    };
    let alone = serve(&["-m", &model]);
    let with = serve(&["-m", &model, "--draft", &draft, "--draft-tokens", "4"]);
    for temperature in [0.0, 0.8] {
        let (expected, found) = (answer(&alone, temperature), answer(&with, temperature));
        assert_eq!(found["choices"], expected["choices"]);
        let timings = &found["timings"];
        assert!(timings["draft_n_accepted"].as_u64() > Some(0), "{timings}");
        assert!(timings["draft_saved_ms"].is_f64(), "{timings}");
    }
    let (_, page) = with.get("/metrics");
    let value = |name: &str| -> f64 {
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {page}")).parse().unwrap()
    };
    assert!(value("inferno_draft_model_accepted_tokens_total") > 0.0);
    assert!(value("inferno_draft_model_seconds_total") > 0.0);
    assert_eq!(value("inferno_draft_model_failures_total"), 0.0);
}

/// The draft layer has no row for the first token, which counts the less the more tokens there are.
const PROMPT: &str = "Once upon a time there was a small town by the sea, and in it lived an old man who had two sons and a dog. Every \
                      day the sons went out to the sea, and the dog waited for them at the gate of the town.";

#[test]
fn a_file_with_a_draft_layer_drafts_for_itself() {
    let folder = tempfile::tempdir().unwrap();
    for preset in ["tiny-qwen35", "tiny-deepseek2"] {
        let model = synth(folder.path(), preset, "q8_0", &["--mtp", "--draft-difference", "0.02"]);
        let run = |more: &[&str]| {
            let args =
                ["run", "-m", &model, "--json", "--min-tokens", "60", "-n", "60", "--temperature", "0"];
            serde_json::from_str::<Value>(&inferno(&[&args[..], more, &[PROMPT]].concat()).ok()).unwrap()
        };
        let (expected, found) = (run(&[]), run(&["--draft", "mtp", "--draft-tokens", "3"]));
        assert_eq!(found["text"], expected["text"], "{preset}");
        let (drafted, accepted) = (&found["timings"]["draft_n"], &found["timings"]["draft_n_accepted"]);
        let share = accepted.as_f64().unwrap() / drafted.as_f64().unwrap();
        assert!(share > 0.4, "{accepted} of {drafted} drafts of {preset} were right");
    }
}

#[test]
fn what_cannot_draft_for_a_model_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let [model, _] = pair(folder.path());
    let error = |draft: &str| inferno(&["run", "-m", &model, "--draft", draft, "Hi"]).error();
    assert!(error("mtp").contains("no draft layers"), "{}", error("mtp"));
    let kimi = crate::golden("kimi-linear");
    assert!(error(&kimi).contains("recurrent layers"), "{}", error(&kimi));
    let qwen = crate::golden("qwen3");
    assert!(error(&qwen).contains("vocabulary"), "{}", error(&qwen));
}
