//! The end of an answer: its last token, the reason given for it, token ids, usage and times.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

const TEXT: &str = "/v1/completions";
const CHAT: &str = "/v1/chat/completions";
/// Ember's end of a turn.
const END: u32 = 5113;

fn with(mut body: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn completion(members: &Value) -> Value {
    with(json!({ "prompt": "Once upon a time", "temperature": 0, "max_tokens": 6 }), members)
}

fn chat(members: &Value) -> Value {
    with(
        json!({ "messages": [{ "role": "user", "content": "Hi" }], "temperature": 0, "max_tokens": 6 }),
        members,
    )
}

#[track_caller]
fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let reply = server.post(path, body);
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()
}

/// The events of the same request as a stream, without `[DONE]`.
#[track_caller]
fn stream(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let mut events = server.post(path, &with(body.clone(), &json!({ "stream": true }))).events();
    assert_eq!(events.pop(), Some(json!("[DONE]")));
    events
}

fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

#[test]
fn the_token_that_ends_an_answer_is_told_wherever_it_counts() {
    let server = start(Settings::default());
    let ends = json!({ "logit_bias": { END.to_string(): 100 } });
    let first =
        ask(&server, TEXT, &completion(&json!({ "return_token_ids": true })))["choices"][0]["token_ids"][0]
            .clone();
    let stops = json!({ "stop_token_ids": [first] });
    for (members, id) in [(ends, json!(END)), (stops, first)] {
        let wanted = json!({ "logprobs": 1, "echo": true, "return_token_ids": true });
        let body = with(completion(&members), &wanted);
        let whole = ask(&server, TEXT, &body);
        let choice = &whole["choices"][0];
        assert_eq!(
            (&whole["usage"]["completion_tokens"], &choice["text"]),
            (&json!(1), &json!("Once upon a time"))
        );
        assert_eq!((&choice["token_ids"], &choice["finish_reason"]), (&json!([id]), &json!("stop")));
        let scores = &choice["logprobs"];
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(scores[name].as_array().unwrap().len(), 5, "{name}: {scores}");
        }
        assert_eq!(scores["text_offset"][4], 16, "behind all text");
        let name = scores["tokens"][4].as_str().unwrap();
        assert_eq!(scores["top_logprobs"][4][name], scores["token_logprobs"][4]);

        let events = stream(&server, TEXT, &body);
        let choices: Vec<&Value> = events.iter().map(|e| &e["choices"][0]).collect();
        let text: String = choices.iter().map(|c| c["text"].as_str().unwrap()).collect();
        assert_eq!(text, "Once upon a time");
        let ids: Vec<Value> = choices.iter().flat_map(|c| list(&c["token_ids"])).collect();
        assert_eq!(json!(ids), json!([id]));
        for (name, expected) in scores.as_object().unwrap() {
            let found: Vec<Value> = choices.iter().flat_map(|c| list(&c["logprobs"][name])).collect();
            assert_eq!(&json!(found), expected, "{name}");
        }

        let wanted =
            json!({ "logprobs": true, "top_logprobs": 1, "return_token_ids": true, "stop_token_ids": [] });
        let body = with(chat(&members), &wanted);
        if id != END {
            continue;
        }
        let whole = ask(&server, CHAT, &body);
        let choice = &whole["choices"][0];
        assert_eq!((&choice["message"]["content"], &choice["token_ids"]), (&json!(""), &json!([END])));
        assert_eq!(choice["logprobs"]["content"][0]["token"], "<|im_end|>");
        assert_eq!(choice["logprobs"]["content"].as_array().unwrap().len(), 1);
        let events = stream(&server, CHAT, &body);
        let choices: Vec<&Value> = events.iter().map(|e| &e["choices"][0]).collect();
        let ids: Vec<Value> = choices.iter().flat_map(|c| list(&c["token_ids"])).collect();
        let scores: Vec<Value> = choices.iter().flat_map(|c| list(&c["logprobs"]["content"])).collect();
        assert_eq!((json!(ids), json!(scores)), (json!([END]), choice["logprobs"]["content"].clone()));
    }
}

/// lm-eval's sum: the log-probabilities of an echoed text without its context and without the one generated token.
#[test]
fn an_evaluations_sum_is_the_models_also_where_the_answer_ends() {
    let server = start(Settings::default());
    for (context, text, is_end) in [("Hello", "Hello there.", true), ("Hello", "Hello there", false)] {
        let n = ask(&server, "/tokenize", &json!({ "prompt": context }))["count"].as_u64().unwrap() as usize;
        let scored = |max_tokens: u32, bias: Value| {
            let members = json!({ "prompt": text, "max_tokens": max_tokens, "logprobs": 1, "echo": true, "logit_bias": bias });
            let body = ask(&server, TEXT, &completion(&members));
            let all = body["choices"][0]["logprobs"]["token_logprobs"].as_array().unwrap().clone();
            all.iter().map(|l| l.as_f64().unwrap_or(0.0)).collect::<Vec<f64>>()
        };
        let bias = if is_end { json!({ END.to_string(): 100 }) } else { json!({}) };
        let (made, read) = (scored(1, bias), scored(0, json!({})));
        assert_eq!(made.len(), read.len() + 1);
        assert_eq!(made[n..made.len() - 1], read[n..]);
    }
}

#[test]
fn the_end_is_no_event_of_its_own_to_those_who_want_text() {
    let server = start(Settings::default());
    let ends = json!({ "logit_bias": { END.to_string(): 100 } });
    for (path, body, n) in [(TEXT, completion(&ends), 1), (CHAT, chat(&ends), 2)] {
        let events = stream(&server, path, &body);
        assert_eq!(events.len(), n, "{events:?}");
        assert_eq!(events[n - 1]["choices"][0]["finish_reason"], "stop");
    }
}

#[test]
fn a_reason_to_stop_is_told_in_vllms_words() {
    let server = start(Settings::default());
    let full = ask(&server, TEXT, &completion(&json!({ "return_token_ids": true })))["choices"][0].clone();
    let (text, ids) = (full["text"].as_str().unwrap(), &full["token_ids"]);
    assert_eq!((&full["finish_reason"], full.get("stop_reason")), (&json!("length"), Some(&json!(null))));
    for (members, reason, stop) in [
        (json!({ "stop": ["never there", &text[5..9]] }), "stop", json!(text[5..9])),
        (json!({ "stop_token_ids": [ids[2]] }), "stop", ids[2].clone()),
        (json!({ "logit_bias": { END.to_string(): 100 } }), "stop", json!(null)),
        // The model's own end is no wish of the client's.
        (json!({ "logit_bias": { END.to_string(): 100 }, "stop_token_ids": [END] }), "stop", json!(null)),
        (json!({}), "length", json!(null)),
    ] {
        let body = completion(&members);
        let whole = ask(&server, TEXT, &body)["choices"][0].clone();
        assert_eq!((&whole["finish_reason"], &whole["stop_reason"]), (&json!(reason), &stop), "{members}");
        let events = stream(&server, TEXT, &body);
        let (last, others) = events.split_last().unwrap();
        assert_eq!(last["choices"][0]["stop_reason"], stop);
        assert!(others.iter().all(|e| e["choices"][0].get("stop_reason").is_none()));
        if members.get("stop_token_ids").is_none() && members.get("stop").is_none() {
            let choice = ask(&server, CHAT, &chat(&members))["choices"][0].clone();
            assert_eq!((&choice["finish_reason"], &choice["stop_reason"]), (&json!(reason), &stop));
            let last = stream(&server, CHAT, &chat(&members)).pop().unwrap();
            assert_eq!(
                (&last["choices"][0]["finish_reason"], &last["choices"][0]["stop_reason"]),
                (&json!(reason), &stop)
            );
        }
    }
}

#[test]
fn token_ids_come_with_those_of_the_prompt_in_vllms_places() {
    let server = start(Settings::default());
    let prompt = ask(&server, "/tokenize", &json!({ "content": "Once upon a time" }))["tokens"].clone();
    let wanted = json!({ "return_token_ids": true, "n": 2 });
    let whole = ask(&server, TEXT, &completion(&wanted));
    for choice in list(&whole["choices"]) {
        assert_eq!(choice["prompt_token_ids"], prompt);
    }
    let events = stream(&server, TEXT, &completion(&json!({ "return_token_ids": true })));
    assert_eq!(events[0]["choices"][0]["prompt_token_ids"], prompt);
    for event in &events {
        assert!(event["choices"][0]["token_ids"].is_array(), "{event}");
    }
    assert!(events[1..].iter().all(|e| e["choices"][0].get("prompt_token_ids").is_none()));

    let tokens =
        ask(&server, "/tokenize", &json!({ "messages": chat(&json!({}))["messages"] }))["tokens"].clone();
    assert_eq!(ask(&server, CHAT, &chat(&wanted))["prompt_token_ids"], tokens);
    let events = stream(&server, CHAT, &chat(&wanted));
    assert_eq!(events[0]["prompt_token_ids"], tokens);
    assert!(events[1..].iter().all(|e| e.get("prompt_token_ids").is_none()));
    let plain = ask(&server, CHAT, &chat(&json!({})));
    // As vLLM has it, null in whole answers, and not there in events.
    assert_eq!(
        (plain.get("prompt_token_ids"), plain["choices"][0].get("token_ids")),
        (Some(&json!(null)), Some(&json!(null)))
    );
    let plain = ask(&server, TEXT, &completion(&json!({})))["choices"][0].clone();
    assert_eq!(
        (plain.get("prompt_token_ids"), plain.get("token_ids")),
        (Some(&json!(null)), Some(&json!(null)))
    );
    let events = stream(&server, TEXT, &completion(&json!({})));
    assert!(events.iter().all(|e| e["choices"][0].get("token_ids").is_none()));
}

#[test]
fn tokens_are_called_by_their_ids_if_that_is_asked_for() {
    let server = start(Settings::default());
    let wanted = json!({ "return_tokens_as_token_ids": true, "return_token_ids": true, "logprobs": 2 });
    let choice = ask(&server, TEXT, &completion(&wanted))["choices"][0].clone();
    let names: Vec<Value> =
        list(&choice["token_ids"]).iter().map(|id| json!(format!("token_id:{id}"))).collect();
    assert_eq!(choice["logprobs"]["tokens"], json!(names));
    let best = choice["logprobs"]["top_logprobs"][0].as_object().unwrap();
    assert_eq!(best.keys().next().unwrap(), names[0].as_str().unwrap());
    assert!(best.keys().all(|name| name.starts_with("token_id:")));
    let wanted = json!({ "return_tokens_as_token_ids": true, "return_token_ids": true, "logprobs": true, "top_logprobs": 1 });
    let choice = ask(&server, CHAT, &chat(&wanted))["choices"][0].clone();
    let token = &choice["logprobs"]["content"][0];
    assert_eq!(token["token"], format!("token_id:{}", choice["token_ids"][0]));
    assert_eq!(token["top_logprobs"][0]["token"], token["token"]);
}

#[test]
fn usage_comes_with_every_event_if_that_is_asked_for() {
    let server = start(Settings::default());
    for (path, body) in
        [(TEXT, completion(&json!({}))), (CHAT, chat(&json!({}))), (TEXT, completion(&json!({ "n": 2 })))]
    {
        let options = |options: Value| with(body.clone(), &json!({ "stream_options": options }));
        let events =
            stream(&server, path, &options(json!({ "include_usage": true, "continuous_usage_stats": true })));
        let counts: Vec<u64> =
            events.iter().map(|e| e["usage"]["completion_tokens"].as_u64().unwrap()).collect();
        assert!(counts.is_sorted(), "{counts:?}");
        let n = counts.len();
        assert_eq!((counts[n - 1], counts[n - 2]), (6 * body["n"].as_u64().unwrap_or(1), counts[n - 1]));
        for event in &events {
            let usage = &event["usage"];
            let sum = usage["prompt_tokens"].as_u64().unwrap() + usage["completion_tokens"].as_u64().unwrap();
            assert_eq!(usage["total_tokens"], sum);
        }
        // As vLLM has it: nothing without `include_usage`.
        let events = stream(&server, path, &options(json!({ "continuous_usage_stats": true })));
        assert!(events.iter().all(|e| e.get("usage").is_none()));
    }
}

#[test]
fn times_are_in_the_last_event_beside_usage_and_in_all_if_that_is_asked_for() {
    let server = start(Settings::default());
    for (path, body) in [(TEXT, completion(&json!({}))), (CHAT, chat(&json!({})))] {
        for usage in [true, false] {
            let body = with(body.clone(), &json!({ "stream_options": { "include_usage": usage } }));
            let events = stream(&server, path, &body);
            let (last, others) = events.split_last().unwrap();
            assert_eq!(last.get("usage").is_some(), usage);
            assert!(last["timings"].is_object() && last["prefix_cache"].is_object(), "{last}");
            assert!(others.iter().all(|e| e.get("timings").is_none()));
        }
        let timed = stream(&server, path, &with(body.clone(), &json!({ "timings_per_token": true })));
        // Not the event that tells the role.
        let n = usize::from(path == CHAT);
        assert!(timed[..n].iter().all(|e| e.get("timings").is_none()), "{timed:?}");
        assert!(timed[n..].iter().all(|e| e["timings"]["predicted_n"].is_number()), "{timed:?}");
        let timings = ask(&server, path, &body)["timings"].clone();
        let number = |name: &str| timings[name].as_f64().unwrap();
        assert!(
            (number("prompt_per_token_ms") * number("prompt_n") - number("prompt_ms")).abs() < 1e-6,
            "{timings}"
        );
        let rate = 5e3 / number("predicted_ms");
        assert!((number("predicted_per_second") - rate).abs() < 1e-6, "{timings}");
        assert!((number("predicted_per_token_ms") * 5.0 - number("predicted_ms")).abs() < 1e-6, "{timings}");
    }
}
