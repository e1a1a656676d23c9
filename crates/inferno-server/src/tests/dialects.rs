//! Tool calls and reasoning in answers, in all dialects of OpenAI's.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

mod hostile;
mod responses;

/// An answer of all kinds of parts.
pub(super) const ANSWER: &str = "<think>\nIt may rain.\n</think>\n\nLet me see.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": \
                      {\"city\": \"Oslo\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"get_time\", \"arguments\": {}}\n</tool_call>";

fn tools() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": schema } });
    json!([tool("get_weather"), tool("get_time")])
}

fn question(members: &Value) -> Value {
    let mut body =
        json!({ "messages": [{ "role": "user", "content": "Rain?" }], "tools": tools(), "temperature": 0 });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// The choice that a client assembles from a stream, by the rules that OpenAI's clients follow.
#[track_caller]
fn assembled(events: &[Value], index: u64) -> Value {
    let (mut content, mut reasoning, mut other) = (String::new(), String::new(), String::new());
    let mut calls: Vec<Value> = Vec::new();
    let (mut n_roles, mut reason) = (0, Value::Null);
    let choices = events.iter().flat_map(|event| event["choices"].as_array().into_iter().flatten());
    for choice in choices.filter(|choice| choice["index"] == index) {
        assert!(reason.is_null(), "nothing follows the end: {choice}");
        let delta = &choice["delta"];
        n_roles += usize::from(delta["role"].is_string());
        content += delta["content"].as_str().unwrap_or_default();
        reasoning += delta["reasoning_content"].as_str().unwrap_or_default();
        other += delta["reasoning"].as_str().unwrap_or_default();
        for call in delta["tool_calls"].as_array().into_iter().flatten() {
            let at = call["index"].as_u64().unwrap() as usize;
            if at == calls.len() {
                assert!(call["id"].is_string() && call["function"]["name"].is_string(), "{call}");
                assert_eq!(call["type"], "function");
                calls.push(call.clone());
                calls[at].as_object_mut().unwrap().remove("index");
            } else {
                assert_eq!(at + 1, calls.len(), "{call}");
                let keys: Vec<&String> = call.as_object().unwrap().keys().collect();
                assert_eq!(keys, ["index", "function"]);
                assert!(call["function"].get("name").is_none());
                let arguments = &mut calls[at]["function"]["arguments"];
                let more = call["function"]["arguments"].as_str().unwrap();
                *arguments = (arguments.as_str().unwrap().to_owned() + more).into();
            }
        }
        reason = choice["finish_reason"].clone();
    }
    assert_eq!((n_roles, &reasoning), (1, &other));
    json!({ "content": content, "reasoning": reasoning, "calls": calls, "finish_reason": reason })
}

/// The same of an answer in one piece.
fn whole(choice: &Value) -> Value {
    let message = &choice["message"];
    assert_eq!(message["reasoning"], message["reasoning_content"]);
    json!({
        "content": message["content"].as_str().unwrap_or_default(),
        "reasoning": message["reasoning"].as_str().unwrap_or_default(),
        "calls": message["tool_calls"].as_array().cloned().unwrap_or_default(),
        "finish_reason": choice["finish_reason"],
    })
}

/// Without ids of calls, which every answer has of its own.
fn without_ids(mut choice: Value) -> Value {
    for call in choice["calls"].as_array_mut().unwrap() {
        call.as_object_mut().unwrap().remove("id");
    }
    choice
}

#[track_caller]
fn chat(server: &Server, members: &Value) -> (Value, Vec<Value>) {
    let reply = server.post("/v1/chat/completions", &question(members));
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut streamed = question(members);
    streamed["stream"] = true.into();
    streamed["stream_options"] = json!({ "include_usage": true });
    (reply.json(), server.post("/v1/chat/completions", &streamed).events())
}

#[test]
fn a_chat_tells_reasoning_text_and_calls_apart() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let (answer, events) = chat(&server, &json!({}));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["content"], "Let me see.");
    assert_eq!(choice["message"]["reasoning_content"], "It may rain.");
    assert_eq!(choice["finish_reason"], "tool_calls");
    let calls = choice["message"]["tool_calls"].as_array().unwrap();
    let said: Vec<(&str, Value)> = calls
        .iter()
        .map(|call| {
            let arguments = call["function"]["arguments"].as_str().unwrap();
            (call["function"]["name"].as_str().unwrap(), serde_json::from_str(arguments).unwrap())
        })
        .collect();
    assert_eq!(said, [("get_weather", json!({ "city": "Oslo" })), ("get_time", json!({}))]);
    assert!(calls[0]["id"] != calls[1]["id"]);
    assert_eq!(without_ids(assembled(&events, 0)), without_ids(whole(choice)));
    let n = answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap();
    assert!(n > 3 && n < answer["usage"]["completion_tokens"].as_u64().unwrap() / 2, "{n}");
    assert_eq!(events[events.len() - 2]["usage"]["completion_tokens_details"]["reasoning_tokens"], n);
}

#[test]
fn a_choice_of_calls_alone_has_no_content_and_every_choice_its_own_ids() {
    let server = start(Settings::default());
    server.say(&ANSWER[ANSWER.find("<tool_call>").unwrap()..]);
    let (answer, events) = chat(&server, &json!({ "n": 2 }));
    let ids: Vec<&Value> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|choice| {
            assert!(choice["message"]["content"].is_null());
            assert!(choice["message"].get("reasoning").is_none());
            choice["message"]["tool_calls"].as_array().unwrap().iter().map(|call| &call["id"])
        })
        .collect();
    assert!(ids.len() == 4 && ids.iter().all(|id| ids.iter().filter(|other| *other == id).count() == 1));
    for index in 0..2 {
        let whole = whole(&answer["choices"][index as usize]);
        assert_eq!(without_ids(assembled(&events, index)), without_ids(whole));
    }
}

#[test]
fn tokens_of_all_parts_are_told_in_order() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let members = json!({ "logprobs": true, "return_token_ids": true });
    let (answer, events) = chat(&server, &members);
    let choice = &answer["choices"][0];
    let said: String = choice["logprobs"]["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|token| token["token"].as_str().unwrap())
        .collect();
    assert!(said.starts_with(ANSWER), "{said}");
    let n = answer["usage"]["completion_tokens"].as_u64().unwrap() as usize;
    assert_eq!(choice["token_ids"].as_array().unwrap().len(), n);
    let all = |name: &str, pointer: &str| {
        let of = |event: &Value| event["choices"][0].pointer(pointer).and_then(Value::as_array).cloned();
        let streamed: Vec<Value> = events.iter().filter_map(of).flatten().collect();
        assert_eq!(&streamed, choice.pointer(pointer).unwrap().as_array().unwrap(), "{name}");
    };
    all("log-probabilities", "/logprobs/content");
    all("ids", "/token_ids");
}

#[test]
fn an_answer_that_is_cut_keeps_what_it_said() {
    let server = start(Settings::default());
    server.say(ANSWER);
    for most in (1..100).step_by(7) {
        let (answer, events) = chat(&server, &json!({ "max_tokens": most }));
        let choice = whole(&answer["choices"][0]);
        assert_eq!(without_ids(assembled(&events, 0)), without_ids(choice.clone()), "{most}");
        let n = answer["usage"]["completion_tokens"].as_u64().unwrap();
        if choice["finish_reason"] != "length" {
            assert!(n <= most);
            return;
        }
        assert_eq!(n, most);
    }
    panic!("it never ended");
}

#[test]
fn a_stop_string_is_found_in_arguments_too() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let (answer, events) = chat(&server, &json!({ "stop": "Oslo" }));
    let choice = &answer["choices"][0];
    assert_eq!(choice["stop_reason"], "Oslo");
    let text = choice.to_string();
    assert!(!text.replace("\"stop_reason\":\"Oslo\"", "").contains("Oslo"), "{text}");
    assert_eq!(without_ids(assembled(&events, 0)), without_ids(whole(choice)));
}

#[test]
fn reasoning_that_is_not_wanted_is_left_out_and_counted() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let (answer, events) = chat(&server, &json!({ "include_reasoning": false }));
    assert!(answer["choices"][0]["message"].get("reasoning").is_none());
    assert_eq!(answer["choices"][0]["message"]["content"], "Let me see.");
    assert_eq!(assembled(&events, 0)["reasoning"], "");
    assert!(answer["usage"]["completion_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 3);
}

/// Names and values of events.
pub(super) fn events(text: &str) -> Vec<(String, Value)> {
    let event = |event: &str| {
        let (name, data) = event.split_once('\n')?;
        let data = serde_json::from_str(data.strip_prefix("data: ")?).unwrap();
        Some((name.strip_prefix("event: ")?.to_owned(), data))
    };
    text.split("\n\n").filter_map(event).collect()
}

/// Names of events, repeated ones once.
pub(super) fn names(events: &[(String, Value)]) -> Vec<&str> {
    let mut names: Vec<&str> = events.iter().map(|(name, _)| name.as_str()).collect();
    names.dedup();
    names
}

#[test]
fn errors_before_a_handler_have_the_shape_of_their_dialect() {
    use super::harness::{Reply, post};
    let key = crate::keys::tests::named("sk-a", "a", crate::Role::User);
    let server = start(Settings { keys: vec![key], body_bytes: 4096, ..Settings::default() });
    let send = |path: &str, headers: &str, body: &str| -> Reply {
        let authorized = format!("Authorization: Bearer sk-a\r\n{headers}");
        let head = post(path, &authorized, &json!({})).split("\r\n\r\n").next().unwrap().to_owned();
        let head = head.replace("Content-Length: 2", &format!("Content-Length: {}", body.len()));
        server.raw(format!("{head}\r\n\r\n{body}"))
    };
    let get = |path: &str, headers: &str| -> Reply {
        server.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
    };
    let bearer = "Authorization: Bearer sk-a\r\n";
    let large = format!("{{\"a\": \"{}\"}}", "x".repeat(5000));
    let replies = |path: &str| {
        [
            (401, "authentication_error", get(path, "")),
            (404, "not_found_error", get(&format!("{path}/batches"), bearer)),
            (405, "invalid_request_error", get(path, bearer)),
            (403, "permission_error", get(path, &format!("{bearer}Origin: http://evil.example\r\n"))),
            (
                421,
                "invalid_request_error",
                server.raw(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")),
            ),
            (413, "request_too_large", send(path, "", &large)),
            (415, "invalid_request_error", send(path, "Content-Encoding: gzip\r\n", "{}")),
            (400, "invalid_request_error", send(path, "", "{\"a\"")),
            (400, "invalid_request_error", send(path, "", "{}")),
        ]
    };
    for (status, kind, reply) in replies("/v1/messages") {
        assert_eq!(reply.status, status, "{}", reply.text());
        let body = reply.json();
        assert_eq!(
            (&body["type"], &body["error"]["type"]),
            (&json!("error"), &json!(kind)),
            "{status}: {body}"
        );
        assert!(body["error"]["message"].is_string() && body["error"].get("code").is_none(), "{body}");
    }
    for path in ["/v1/chat/completions", "/v1/responses", "/v1/completions"] {
        for (status, _, reply) in replies(path) {
            assert_eq!(reply.error().0, status, "{path}: {}", reply.text());
        }
    }
    assert_eq!(get("/v1/messagesx", bearer).error().0, 404);
}

#[test]
fn a_chat_echoes_the_text_that_its_answer_goes_on_from() {
    let server = start(Settings::default());
    let says = " and rain.<tool_call>\n{\"name\": \"get_time\", \"arguments\": {}}\n</tool_call>";
    let user = json!({ "role": "user", "content": "Rain?" });
    let said = json!({ "role": "assistant", "content": [{ "type": "text", "text": "Wind" }] });
    let asked = |messages: Value, members: Value| {
        let mut members = members;
        members["messages"] = messages;
        server.say(says);
        members
    };
    let both = json!([user, said]);
    for members in [
        json!({ "echo": true, "continue_final_message": true, "add_generation_prompt": false }),
        json!({ "echo": true, "add_generation_prompt": false, "n": 2 }),
        json!({ "echo": true }),
    ] {
        let (answer, events) = chat(&server, &asked(both.clone(), members));
        for (index, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
            assert_eq!(choice["message"]["content"], "Wind and rain.");
            assert_eq!(without_ids(assembled(&events, index as u64)), without_ids(whole(choice)));
        }
    }
    // Nothing of the assistant's is there to be told again.
    let (answer, events) = chat(&server, &asked(json!([user]), json!({ "echo": true })));
    assert_eq!(answer["choices"][0]["message"]["content"], " and rain.");
    assert_eq!(without_ids(assembled(&events, 0)), without_ids(whole(&answer["choices"][0])));
    let body = question(&asked(json!([user]), json!({ "echo": true, "add_generation_prompt": false })));
    assert_eq!(
        server.post("/v1/chat/completions", &body).error(),
        (400, "invalid_value".into(), "echo".into())
    );
    let body = question(&asked(both.clone(), json!({ "echo": "yes" })));
    assert_eq!(
        server.post("/v1/chat/completions", &body).error(),
        (400, "invalid_value".into(), "echo".into())
    );
    let (answer, _) = chat(&server, &asked(both, json!({ "echo": false })));
    assert_eq!(answer["choices"][0]["message"]["content"], " and rain.");
}
