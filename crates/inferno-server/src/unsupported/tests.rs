use serde_json::json;

use super::*;

#[track_caller]
fn refused(body: Value) -> Option<Box<str>> {
    let body = body.as_object().unwrap();
    let found = [check_chat(body), check_completion(body)].map(|checked| checked.err().and_then(|e| e.param));
    assert_eq!(found[0], found[1], "{body:?}");
    found.into_iter().next().flatten()
}

#[test]
fn defaults_of_those_who_know_a_parameter_are_taken() {
    let nothing = json!({
        "tools": [], "tool_choice": "none", "best_of": 1, "suffix": null, "top_a": 0, "penalty_alpha": 0.0,
        "tfs": 1, "grammar": "", "use_beam_search": false, "prompt_cache_key": "x", "verbosity": "low",
        "detokenize": true, "include_reasoning": true, "reasoning_budget": -1, "t_max_predict_ms": -1,
        "modalities": ["text"], "documents": [], "kv_transfer_params": {}, "guidance_scale": 1.0, "id_slot": 0,
    });
    assert_eq!(refused(nothing), None);
}

#[test]
fn a_value_that_is_empty_and_no_default_asks_for_something() {
    for (name, value) in [
        ("detokenize", json!(false)),
        ("tfs", json!(0)),
        ("tfs", json!(false)),
        ("sampler_order", json!([])),
        ("grammar_lazy", json!(true)),
        ("best_of", json!(0)),
        ("truncate_prompt_tokens", json!(0)),
        ("num_predict", json!(0)),
        ("modalities", json!(["text", "audio"])),
        ("suffix", json!(false)),
    ] {
        assert_eq!(refused(json!({ name: value })).as_deref(), Some(name), "{value}");
    }
}

#[test]
fn null_asks_for_nothing_and_anything_else_of_another_type_does() {
    for table in [PROMPT, GENERATION] {
        for name in table.iter().flat_map(|row| row.0) {
            assert_eq!(refused(json!({ *name: null })), None);
            let value = json!({ "a": [1] });
            assert_eq!(refused(json!({ *name: value })).as_deref(), Some(*name));
        }
    }
}

#[test]
fn no_parameter_is_listed_twice() {
    let names: Vec<&str> =
        [CHATS, COMPLETIONS, PROMPT, GENERATION].concat().iter().flat_map(|row| row.0).copied().collect();
    for (i, name) in names.iter().enumerate() {
        assert!(!names[..i].contains(name), "{name}");
    }
}
