//! Prompts that a request wants cut, and paths with a prefix.

use serde_json::{Value, json};

use super::start;
use crate::Settings;

const TEXT: &str = "Once upon a time there was a little girl who lived in a house by the sea";

#[test]
fn a_prompt_is_cut_as_it_is_asked_for_and_the_answer_says_so() {
    let server = start(Settings::default());
    let tokens =
        server.post("/tokenize", &json!({ "content": TEXT })).json()["tokens"].as_array().unwrap().clone();
    let ask = |members: Value| {
        let mut body = json!({ "prompt": TEXT, "max_tokens": 1, "temperature": 0, "return_token_ids": true });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        server.post("/v1/completions", &body)
    };
    let plain = ask(json!({ "truncate_prompt_tokens": 100 })).json();
    assert_eq!(plain["choices"][0]["prompt_token_ids"], json!(tokens));
    assert!(plain.get("warnings").is_none());
    let n = tokens.len();
    for (members, left, place) in [
        (json!({ "truncate_prompt_tokens": 4 }), &tokens[n - 4..], "start"),
        (
            json!({ "truncate_prompt_tokens": 4, "truncation_side": "left", "prompt": tokens }),
            &tokens[n - 4..],
            "start",
        ),
        (json!({ "truncate_prompt_tokens": 4, "truncation_side": "right" }), &tokens[..4], "end"),
        (json!({ "truncate_prompt_tokens": 4, "echo": true, "logprobs": 1 }), &tokens[n - 4..], "start"),
    ] {
        let answer = ask(members.clone()).json();
        assert_eq!(answer["choices"][0]["prompt_token_ids"], json!(left), "{members}");
        assert_eq!(answer["usage"]["prompt_tokens"], 4);
        let warning = answer["warnings"][0].as_str().unwrap();
        assert!(warning.contains(place) && warning.contains(&(n - 4).to_string()), "{warning}");
        if members.get("echo").is_some() {
            let text = answer["choices"][0]["text"].as_str().unwrap();
            assert!(TEXT.ends_with(&text[..4]) || text.contains("sea"), "{text}");
            assert_eq!(answer["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), 5);
        }
    }
    // As much as the context has room for, of a text that is twice as long.
    let streamed = ask(json!({ "prompt": TEXT, "truncate_prompt_tokens": 3, "stream": true })).events();
    assert!(
        streamed.iter().any(|event| event["warnings"][0].as_str().is_some_and(|text| text.contains("start")))
    );
    for (members, param) in [
        (json!({ "truncate_prompt_tokens": 0 }), "truncate_prompt_tokens"),
        (json!({ "truncate_prompt_tokens": -2 }), "truncate_prompt_tokens"),
        (json!({ "truncate_prompt_tokens": 2048 }), "truncate_prompt_tokens"),
        (json!({ "truncate_prompt_tokens": "4" }), "truncate_prompt_tokens"),
        (json!({ "truncate_prompt_tokens": 4, "truncation_side": "middle" }), "truncation_side"),
    ] {
        let reply = ask(members.clone());
        assert_eq!(reply.error(), (400, "invalid_value".into(), param.into()), "{members}");
    }
}

#[test]
fn a_chat_that_is_too_long_is_cut_to_the_context_if_that_is_asked_for() {
    let server = super::harness::start_with(Settings::default(), |config| config.limits.n_pages = vec![2]);
    let messages = json!([{ "role": "user", "content": TEXT.repeat(20) }]);
    let mut body = json!({ "messages": messages, "max_tokens": 2, "temperature": 0 });
    assert_eq!(server.post("/v1/chat/completions", &body).error().1, "context_length_exceeded");
    body["truncate_prompt_tokens"] = (-1).into();
    let answer = server.post("/v1/chat/completions", &body).json();
    assert_eq!(answer["usage"]["prompt_tokens"], 62);
    assert!(answer["warnings"][0].as_str().unwrap().contains("off the start"), "{answer}");
    // A response names its tokens otherwise, and is cut the same way.
    let response = json!({ "input": TEXT.repeat(20), "max_output_tokens": 2, "temperature": 0 });
    assert_eq!(server.post("/v1/responses", &response).error().1, "context_length_exceeded");
    for (members, n, place) in [
        (json!({ "truncate_prompt_tokens": -1 }), 62, "off the start"),
        (json!({ "truncate_prompt_tokens": 20, "truncation_side": "right" }), 20, "off the end"),
        (json!({ "truncate_prompt_tokens": 30, "truncation": "auto" }), 30, "off the start"),
    ] {
        let mut body = response.clone();
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        let answer = server.post("/v1/responses", &body).json();
        assert_eq!(
            (&answer["usage"]["input_tokens"], &answer["status"]),
            (&json!(n), &json!("incomplete")),
            "{answer}"
        );
        assert!(answer["warnings"][0].as_str().unwrap().contains(place), "{answer}");
        body["stream"] = true.into();
        let streamed = server.post("/v1/responses", &body).text();
        let (_, last) = super::dialects::events(&streamed).pop().unwrap();
        assert_eq!(last["response"]["warnings"], answer["warnings"]);
    }
    for path in ["/v1/messages", "/api/chat"] {
        assert_eq!(server.post(path, &body).status, 400, "no place to say so: {path}");
    }
}

#[test]
fn paths_may_have_the_prefix_of_a_proxy() {
    let server = start(Settings { root_path: "/llm".into(), ..Settings::default() });
    for path in ["/v1/models", "/llm/v1/models", "/llm/v1/models/", "/llm", "/llm/", "/health", "/llm/health"]
    {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    for path in ["/llmx/v1/models", "/v1/llm/models", "/llm/llm/v1/models", "/llm/v1/nothing"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
    // The guards see the path without it.
    let key = crate::keys::tests::named("sk-a", "a", crate::Role::User);
    let server = start(Settings { root_path: "/llm".into(), keys: vec![key], ..Settings::default() });
    assert_eq!((server.get("/llm/v1/models").status, server.get("/llm/health").status), (401, 200));
    let bearer = "GET /llm/admin/requests HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-a\r\nConnection: close\r\n\r\n";
    assert_eq!(server.raw(bearer).status, 403);
}
