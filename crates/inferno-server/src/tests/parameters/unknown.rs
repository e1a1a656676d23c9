//! What is not a parameter here: newer than this server, or known to be missing.

use serde_json::json;

use super::{CHAT, TEXT, check_refused, check_taken};
use crate::Settings;
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
        "parallel_tool_calls",
        "prediction",
        "cache_prompt",
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
        ("tools", json!([{ "type": "function" }]), "tool calls are not there yet"),
        ("tool_choice", json!("required"), "tool calls are not there yet"),
        ("functions", json!([{}]), "tool calls are not there yet"),
        ("response_format", json!({ "type": "json_object" }), "describe the form in the prompt"),
        ("response_format", json!({ "type": "json_schema" }), "describe the form in the prompt"),
        ("grammar", json!("root ::= \"a\""), "describe the form in the prompt"),
        ("guided_json", json!({ "a": 1 }), "describe the form in the prompt"),
        ("structured_outputs", json!({ "regex": "a" }), "describe the form in the prompt"),
        ("best_of", json!(1_000_000), "use `n`"),
        ("suffix", json!("x"), "format into `prompt`"),
        ("n_predict", json!(4), "`max_tokens`"),
        ("max_new_tokens", json!(4), "`max_tokens`"),
        ("mirostat", json!(2), "leave it out"),
        ("use_beam_search", json!(true), "use `n`"),
        ("prompt_embeds", json!("AAAA"), "embeddings"),
        ("chat_template", json!("{{ 1 }}"), "the model's own"),
        ("bad_words", json!(["x"]), "`logit_bias`"),
        ("prompt_logprobs", json!(1), "`echo`"),
        ("n_discard", json!(-1), "never shifted"),
        ("truncate_prompt_tokens", json!(-1), "shorten the prompt"),
        ("documents", json!([{ "text": "x" }]), "the messages"),
        ("post_sampling_probs", json!(true), "the model's own"),
        ("modalities", json!(["text", "audio"]), "text only"),
    ] {
        for path in [CHAT, TEXT] {
            check_refused(&server, path, &json!({ name: value }), "unsupported_parameter", name, words);
        }
    }
    check_refused(&server, CHAT, &json!({ "echo": true }), "unsupported_parameter", "echo", "completions");
    let top = json!({ "top_logprobs": 3 });
    check_refused(&server, TEXT, &top, "unsupported_parameter", "top_logprobs", "`logprobs`");
    check_taken(&server, CHAT, &json!({ "echo": false, "modalities": ["text"], "documents": [] }));
}
