//! Requests of editors as they send them: llama.vim of January 2026 and llama.vscode of August 2026.

use serde_json::{Value, json};

use super::super::start;
use super::{error, filling};
use crate::Settings;

/// A chunk of another file, as both send it.
fn chunk(i: usize) -> Value {
    json!({ "text": format!("fn chunk_{i}() {{}}\n"), "time": 1_700_000_000 + i, "filename": format!("{i}.rs") })
}

fn with(body: &Value, members: Value) -> Value {
    let mut body = body.clone();
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[test]
fn llama_vim_warms_up_and_fills_gaps() {
    let server = filling(64, &[]);
    let extra = json!([chunk(0), chunk(1)]);
    // `s:ring_update`: chunks in the background, with nothing to predict.
    let warm_up = json!({
        "id_slot": 0, "input_prefix": "", "input_suffix": "", "input_extra": extra, "prompt": "", "n_predict": 0,
        "temperature": 0.0, "samplers": [], "stream": false, "cache_prompt": true, "t_max_prompt_ms": 1,
        "t_max_predict_ms": 1, "response_fields": [""],
    });
    let reply = server.post("/infill", &warm_up);
    assert_eq!((reply.status, reply.json()), (200, json!({})), "{}", reply.text());
    // `llama#fim`.
    let members = [
        "content",
        "timings/prompt_n",
        "timings/prompt_ms",
        "timings/prompt_per_token_ms",
        "timings/prompt_per_second",
        "timings/predicted_n",
        "timings/predicted_ms",
        "timings/predicted_per_token_ms",
        "timings/predicted_per_second",
        "truncated",
        "tokens_cached",
    ];
    let fill = json!({
        "id_slot": 0, "input_prefix": "fn main() {\n", "input_suffix": "}\n", "input_extra": extra, "prompt": "    let",
        "n_predict": 16, "stop": [], "n_indent": 4, "top_k": 40, "top_p": 0.90,
        "samplers": ["top_k", "top_p", "infill"], "stream": false, "cache_prompt": true, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1000, "response_fields": members,
    });
    let reply = server.post("/infill", &fill);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    assert!(members.iter().all(|name| answer.get(*name).is_some()), "{answer}");
    let n_prompt = answer["timings/prompt_n"].as_u64().unwrap();
    assert!(answer["tokens_cached"].as_u64().unwrap() >= n_prompt, "{answer}");
    // The sampler draws from few tokens, and the tokens are those of the seed.
    let seeded = with(&fill, json!({ "seed": 3 }));
    let texts = [&seeded, &seeded].map(|body| server.post("/infill", body).json()["content"].clone());
    assert_eq!(texts[0], texts[1]);
}

#[test]
fn llama_vscode_warms_up_and_asks_for_several() {
    let server = filling(64, &[]);
    let gap = json!({ "id_slot": 0, "input_prefix": "a\n", "input_suffix": "b\n", "input_extra": [chunk(0)], "prompt": "" });
    // `prepareLlamaForNextCompletion`.
    let warm_up = json!({
        "n_predict": 0, "samplers": [], "cache_prompt": true, "t_max_prompt_ms": 500, "t_max_predict_ms": 1,
    });
    let answer = server.post("/infill", &with(&gap, warm_up)).json();
    assert_eq!((&answer["content"], &answer["tokens_predicted"]), (&json!(""), &json!(0)), "{answer}");
    // `getFIMCompletion`.
    let fill = json!({
        "n_predict": 8, "n_cmpl": 3, "top_k": 40, "top_p": 0.99, "stream": false,
        "samplers": ["top_k", "top_p", "infill"], "cache_prompt": true, "n_indent": 4, "t_max_prompt_ms": 500,
        "t_max_predict_ms": 2500, "model": "ember",
    });
    let answers = server.post("/infill", &with(&gap, fill.clone())).json();
    let answers = answers.as_array().unwrap();
    assert_eq!(answers.len(), 3);
    for answer in answers {
        assert!(answer["content"].is_string() && answer["generation_settings"].is_object(), "{answer}");
        assert_eq!(answer["generation_settings"]["samplers"], fill["samplers"]);
    }
    // An adapter that is set in the editor is not there.
    let adapted = with(&gap, with(&fill, json!({ "lora": [{ "id": 0, "scale": 0.5 }] })));
    assert_eq!(
        error(&server.post("/infill", &adapted)),
        (400, "invalid_request_error".into(), "lora".into())
    );
}

#[test]
fn llama_vim_warms_up_the_prompt_of_an_instruction() {
    let server = start(Settings::default());
    let text = "Rewrite these lines so that they are short. ".repeat(20);
    let chat = json!({ "messages": [{ "role": "user", "content": text }], "temperature": 0 });
    // `llama#inst_send` before the instruction is there.
    let warm_up = with(
        &chat,
        json!({ "id_slot": 0, "samplers": [], "n_predict": 0, "stream": false, "cache_prompt": true }),
    );
    let reply = server.post("/v1/chat/completions", &warm_up);
    assert_eq!(reply.status, 200, "{}", reply.text());
    let answer = reply.json();
    let choice = &answer["choices"][0];
    assert_eq!((&choice["message"]["content"], &choice["finish_reason"]), (&json!(""), &json!("length")));
    assert_eq!(answer["usage"]["completion_tokens"], 0);
    let streamed = server.post("/v1/chat/completions", &with(&warm_up, json!({ "stream": true }))).events();
    let deltas = streamed.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    assert_eq!(deltas.collect::<String>(), "");
    assert!(streamed.iter().any(|event| event["choices"][0]["finish_reason"] == "length"), "{streamed:?}");
    let answer = server.post("/v1/chat/completions", &with(&chat, json!({ "max_tokens": 2 }))).json();
    assert!(answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64() > Some(0), "{answer}");
    let text = json!({ "prompt": "Once upon", "n_predict": 0 });
    let answer = server.post("/v1/completions", &text).json();
    assert_eq!(
        (&answer["choices"][0]["text"], &answer["choices"][0]["finish_reason"]),
        (&json!(""), &json!("length"))
    );
    // OpenAI's own names ask for an answer.
    for name in ["max_tokens", "max_completion_tokens"] {
        let refused = server.post("/v1/chat/completions", &with(&chat, json!({ name: 0 })));
        assert_eq!(refused.status, 400, "{name}");
    }
}
