//! What is not a parameter here: newer than this server, or known to be missing.

use serde_json::json;

use super::{CHAT, TEXT, base, check_refused, check_taken, with};
use crate::Settings;
use crate::tests::harness::start_with;
use crate::tests::start;

#[test]
fn parameters_that_change_no_answer_are_ignored_whatever_they_are() {
    let server = start(Settings::default());
    let names = [
        "prompt_cache_key",
        "prompt_cache_retention",
        "prompt_cache_options",
        "safety_identifier",
        "verbosity",
        "service_tier",
        "store",
        "metadata",
        "moderation",
        "web_search_options",
        "user",
        "prediction",
        "cache_prompt",
        "n_cache_reuse",
        "n_keep",
        "id_slot",
        "request_id",
        "session_id",
        "keep_alive",
        "parse_tool_calls",
        "length_penalty",
        "spaces_between_special_tokens",
        "sse_ping_interval",
        "speculative.n_max",
        "something_of_next_year",
    ];
    for path in [CHAT, TEXT] {
        for value in [json!("x"), json!(true), json!(null), json!({ "a": [1] }), json!([]), json!(-1)] {
            let members: serde_json::Map<_, _> =
                names.iter().map(|name| ((*name).to_owned(), value.clone())).collect();
            check_taken(&server, path, &members.into());
        }
    }
}

#[test]
fn parameters_that_are_missing_here_are_refused_by_name_with_a_way_out() {
    let server = start(Settings::default());
    for (name, value, words) in [
        ("best_of", json!(1_000_000), "use `n`"),
        ("suffix", json!("x"), "format into `prompt`"),
        ("num_predict", json!(4), "`max_tokens`"),
        ("stop_sequences", json!(["x"]), "the name here is `stop`"),
        ("format", json!("json"), "use `response_format`"),
        ("grammar_lazy", json!(true), "use `tools`"),
        ("response_fields", json!(["content"]), "leave it out"),
        ("return_tokens", json!(true), "`return_token_ids`"),
        ("detokenize", json!(false), "`return_token_ids`"),
        ("return_prompt_text", json!(true), "`echo`"),
        ("multimodal_data", json!(["AAAA"]), "text only"),
        ("extra_body", json!({ "top_k": 1 }), "beside the others"),
        ("system", json!("Be brief."), "a message whose `role` is \"system\""),
        ("max_new_tokens", json!(4), "`max_tokens`"),
        ("smoothing_factor", json!(2), "leave it out"),
        ("sampler_order", json!([6, 0]), "`samplers`"),
        ("use_beam_search", json!(true), "use `n`"),
        ("prompt_embeds", json!("AAAA"), "embeddings"),
        ("chat_template", json!("{{ 1 }}"), "the model's own"),
        ("banned_strings", json!(["x"]), "`bad_words`"),
        ("logprob_start_len", json!(0), "`prompt_logprobs`"),
        ("n_discard", json!(-1), "never shifted"),
        ("truncate_input_tokens", json!(-1), "shorten the prompt"),
        ("documents", json!([{ "text": "x" }]), "the messages"),
        ("post_sampling_probs", json!(true), "the model's own"),
        ("modalities", json!(["text", "audio"]), "text only"),
    ] {
        for path in [CHAT, TEXT] {
            check_refused(&server, path, &json!({ name: value }), "unsupported_parameter", name, words);
        }
    }
    let top = json!({ "top_logprobs": 3 });
    check_refused(&server, TEXT, &top, "unsupported_parameter", "top_logprobs", "`logprobs`");
    for (name, value) in [
        ("enable_thinking", json!(false)),
        ("think", json!(true)),
        ("messages", json!([{}])),
        ("tools", json!([{ "type": "function", "function": { "name": "f" } }])),
        ("tool_choice", json!("required")),
        ("reasoning_budget", json!(0)),
        ("reasoning_format", json!("deepseek")),
        ("continue_final_message", json!(true)),
    ] {
        let members = json!({ name: value });
        check_refused(&server, TEXT, &members, "unsupported_parameter", name, "`/v1/chat/completions`");
    }
    check_taken(&server, CHAT, &json!({ "modalities": ["text"], "documents": [] }));
    let tools =
        json!({ "tools": [{ "type": "function", "function": { "name": "f" } }], "tool_choice": "none" });
    check_taken(&server, CHAT, &tools);
    let body = with(CHAT, &tools);
    let plain = server.post("/apply-template", &base(CHAT)).json();
    assert_eq!(server.post("/apply-template", &body).json(), plain, "the model is not told of them");
}

#[test]
fn every_name_of_a_parameter_does_what_it_says() {
    let server = start(Settings::default());
    let ask = |path: &str, members: serde_json::Value| {
        let reply = server.post(path, &with(path, &members));
        assert_eq!(reply.status, 200, "{members}: {}", reply.text());
        reply.json()
    };
    for path in [CHAT, TEXT] {
        let members = |more: serde_json::Value| {
            let mut members = json!({ "max_tokens": null, "ignore_eos": true, "temperature": 0 });
            members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            members
        };
        let n = |more| ask(path, members(more))["usage"]["completion_tokens"].as_u64().unwrap();
        assert_eq!((n(json!({ "n_predict": 3 })), n(json!({ "max_completion_tokens": 4 }))), (3, 4));
        let choices = ask(path, members(json!({ "n_cmpl": 3, "n_predict": 1 })))["choices"].clone();
        assert_eq!(choices.as_array().unwrap().len(), 3);
        let text = |more| ask(path, members(more))["choices"].to_string();
        let greedy = text(json!({ "n_predict": 6 }));
        assert_eq!(text(json!({ "n_predict": 6, "do_sample": false, "temperature": null })), greedy);
    }
    let seeded = |seed: serde_json::Value| {
        let members = json!({ "seed": seed, "temperature": 2, "top_k": 0, "min_p": 0, "max_tokens": 8, "ignore_eos": true });
        ask(TEXT, members)["choices"][0]["text"].clone()
    };
    // Not the same number when it is read as a float.
    assert_eq!(seeded(json!(u64::MAX)), seeded(json!(u64::MAX)));
    assert_ne!(seeded(json!(u64::MAX)), seeded(json!(u64::MAX - 1)));
    assert_eq!(seeded(json!(i64::MIN)), seeded(json!(1u64 << 63)));
    assert_ne!(seeded(json!(-2)), seeded(json!(-3)));
}

#[test]
fn no_limit_of_its_own_is_as_long_as_the_context() {
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![3]);
    for (path, name) in [(TEXT, "max_tokens"), (TEXT, "n_predict"), (CHAT, "max_completion_tokens")] {
        let mut body = with(path, &json!({ "ignore_eos": true, "max_tokens": null }));
        body[name] = json!(-1);
        let reply = server.post(path, &body).json();
        assert_eq!(reply["usage"]["total_tokens"], 96, "{path} {name}: {reply}");
        assert_eq!(reply["choices"][0]["finish_reason"], "length");
    }
}

#[test]
fn a_slash_at_a_paths_end_changes_nothing() {
    let server = start(Settings::default());
    for path in [CHAT, TEXT] {
        let reply = server.post(&format!("{path}/"), &base(path));
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    }
    for path in ["/v1/models/", "/v1/models/ember/", "/health/", "/version//", "/v1/models/?x=1"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!((server.get("/").status, server.get("/nowhere/").status), (200, 404));
}
