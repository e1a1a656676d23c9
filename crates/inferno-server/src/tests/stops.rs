//! Stop strings: found wherever they are cut, and never shown, not in text, not in tokens.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

const TEXT: &str = "/v1/completions";

/// An answer, whole and as a stream, which say the same.
struct Answer {
    text: String,
    /// What the tokens that were shown say.
    tokens: String,
    ids: Vec<u64>,
    reason: String,
    n_completion: u64,
}

#[track_caller]
fn ask(server: &Server, members: &Value) -> Answer {
    let mut body = json!({
        "prompt": "Once upon a time there was a", "temperature": 0, "max_tokens": 24, "logprobs": 0,
        "return_token_ids": true,
    });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post(TEXT, &body);
    assert_eq!(reply.status, 200, "{members}: {}", reply.text());
    let whole = reply.json();
    let whole = answer(std::slice::from_ref(&whole["choices"][0]), &whole["usage"]);
    body["stream"] = json!(true);
    body["stream_options"] = json!({ "include_usage": true });
    let events = server.post(TEXT, &body).events();
    let choices: Vec<Value> =
        events.iter().filter(|e| e["choices"][0].is_object()).map(|e| e["choices"][0].clone()).collect();
    let streamed = answer(&choices, &events[events.len() - 2]["usage"]);
    assert_eq!(streamed.text, whole.text, "{members}");
    assert_eq!((&streamed.tokens, &streamed.ids), (&whole.tokens, &whole.ids), "{members}");
    assert_eq!((&streamed.reason, streamed.n_completion), (&whole.reason, whole.n_completion), "{members}");
    whole
}

fn answer(choices: &[Value], usage: &Value) -> Answer {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    Answer {
        text: choices.iter().filter_map(|c| c["text"].as_str()).collect(),
        tokens: choices
            .iter()
            .flat_map(|c| list(&c["logprobs"]["tokens"]))
            .map(|t| t.as_str().unwrap().to_owned())
            .collect(),
        ids: choices.iter().flat_map(|c| list(&c["token_ids"])).map(|id| id.as_u64().unwrap()).collect(),
        reason: choices.iter().filter_map(|c| c["finish_reason"].as_str()).collect(),
        n_completion: usage["completion_tokens"].as_u64().unwrap(),
    }
}

#[test]
fn a_stop_string_is_found_at_every_place_and_length_and_ends_the_text_before_it() {
    let server = start(Settings::default());
    let full = ask(&server, &json!({}));
    assert_eq!((full.n_completion, full.reason.as_str(), full.ids.len()), (24, "length", 24));
    assert_eq!(full.tokens, full.text);
    let decode = |n: usize| {
        let tokens = json!({ "tokens": full.ids[..n] });
        server.post("/detokenize", &tokens).json()["content"].as_str().unwrap().to_owned()
    };
    let prefixes: Vec<String> = (0..=full.ids.len()).map(decode).collect();
    let text = &full.text;
    let mut n_within_tokens = 0;
    for (from, len) in (0..text.len()).step_by(9).zip([1, 7, 2, 12, 3, 5].into_iter().cycle()) {
        let Some(stop) = text.get(from..(from + len).min(text.len())) else { continue };
        let at = text.find(stop).unwrap();
        let end = at + stop.len();
        // The first tokens that hold all of it.
        let n = prefixes.iter().position(|prefix| prefix.len() >= end).unwrap();
        n_within_tokens += usize::from(prefixes[n].len() > end);
        for (keeps, end) in [(false, at), (true, end)] {
            let found =
                ask(&server, &json!({ "stop": [stop, "never there"], "include_stop_str_in_output": keeps }));
            assert_eq!(found.text, text[..end], "{stop:?}");
            assert_eq!((found.reason.as_str(), found.n_completion), ("stop", n as u64), "{stop:?}");
            // All tokens whose text is shown, and no other.
            let shown = prefixes.iter().rposition(|prefix| prefix.len() <= end).unwrap().min(n);
            assert_eq!(found.ids, full.ids[..shown], "{stop:?}");
            assert_eq!(found.tokens, prefixes[shown], "{stop:?}");
        }
    }
    assert!(n_within_tokens > 0, "some stop strings end within a token");
    server.wait_until(Server::is_idle);
}

#[test]
fn the_stop_string_that_ends_first_counts_and_the_longest_of_those() {
    let server = start(Settings::default());
    let text = ask(&server, &json!({})).text;
    let (short, long, later) = (&text[12..15], &text[9..15], &text[13..20]);
    assert_eq!(text.find(short), Some(12), "{text}");
    for stop in [json!([short, long, later]), json!([later, long, short])] {
        assert_eq!(ask(&server, &json!({ "stop": stop })).text, text[..9]);
    }
    // A start of one that does not go on is shown.
    let almost = json!({ "stop": text[5..15].to_owned() + "#" });
    assert_eq!(ask(&server, &almost).text, text);
    let past_the_end = json!({ "stop": text[text.len() - 3..].to_owned() + "#" });
    let held = ask(&server, &past_the_end);
    assert_eq!((&held.text, held.reason.as_str(), held.ids.len()), (&text, "length", 24));
}

#[test]
fn before_the_least_number_of_tokens_no_stop_counts() {
    let server = start(Settings::default());
    let full = ask(&server, &json!({}));
    let first = full.text.trim_start().split(' ').next().unwrap();
    let early = ask(&server, &json!({ "stop": first }));
    assert!(early.n_completion < 8, "{first:?} ends it at {}", early.n_completion);
    let late = ask(&server, &json!({ "stop": first, "min_tokens": 8 }));
    assert!(late.n_completion > 8 && late.text.starts_with(&full.text[..early.text.len() + 1]));
    // A stop token ends it too. It counts, but is no text.
    let token = full.ids[3];
    let at = full.ids.iter().position(|id| *id == token).unwrap();
    let stopped = ask(&server, &json!({ "stop_token_ids": [token] }));
    assert_eq!((stopped.reason.as_str(), stopped.n_completion), ("stop", at as u64 + 1));
    assert_eq!(stopped.ids, full.ids[..=at]);
    assert!(stopped.tokens.starts_with(&stopped.text) && stopped.tokens.len() > stopped.text.len());
    let kept = ask(&server, &json!({ "stop_token_ids": [token], "include_stop_str_in_output": true }));
    assert_eq!(kept.ids, full.ids[..=at]);
    assert_eq!(kept.tokens, kept.text);
    let late = ask(&server, &json!({ "stop_token_ids": [token], "min_tokens": 12 }));
    assert!(late.n_completion >= 12 && !late.ids[..12].contains(&token));
}

#[test]
fn a_character_of_several_tokens_is_no_hole_in_a_stop_string() {
    let server = start(Settings::default());
    let tokens = server.post("/tokenize", &json!({ "content": "é", "with_pieces": true })).json();
    let halves: Vec<u64> =
        tokens["tokens"].as_array().unwrap().iter().map(|t| t["id"].as_u64().unwrap()).collect();
    assert_eq!(halves.len(), 2, "{tokens}");
    // Nothing but halves, of which the presence penalty asks for the other one.
    let bias = json!({ halves[0].to_string(): 20 });
    let members = |stop: Value| json!({ "allowed_token_ids": halves, "logit_bias": bias, "frequency_penalty": 2, "max_tokens": 40, "stop": stop });
    let full = ask(&server, &members(json!(null)));
    assert_eq!(full.ids.len(), 40);
    let at = full.text.find('é').unwrap_or_else(|| panic!("no é in {}", full.text));
    let n = full.ids.windows(2).position(|pair| pair == halves).unwrap();
    for stop in ["é", "éx"] {
        let found = ask(&server, &members(json!(stop)));
        if stop == "é" {
            assert_eq!((found.text.as_str(), found.n_completion), (&full.text[..at], n as u64 + 2));
            // Not even the half of it.
            assert_eq!(found.ids, full.ids[..n]);
        } else {
            assert_eq!((&found.text, &found.ids), (&full.text, &full.ids));
        }
    }
    let replacement = ask(&server, &members(json!("\u{fffd}")));
    assert!(!replacement.text.contains('\u{fffd}'));
}

#[test]
fn a_chat_streams_no_part_of_a_stop_string() {
    let server = start(Settings::default());
    let body = json!({
        "messages": [{ "role": "user", "content": "Tell me a story." }], "temperature": 0, "max_tokens": 20,
        "logprobs": true, "top_logprobs": 2,
    });
    let text = server.post("/v1/chat/completions", &body).json()["choices"][0]["message"]["content"].clone();
    let text = text.as_str().unwrap();
    for (from, to) in [(10, 13), (12, 30), (20, 21)] {
        let mut body = body.clone();
        body["stop"] = json!(text[from..to]);
        body["stream"] = json!(true);
        let events = server.post("/v1/chat/completions", &body).events();
        let choices: Vec<&Value> =
            events.iter().map(|e| &e["choices"][0]).filter(|c| c.is_object()).collect();
        let shown: String = choices.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        let tokens: String = choices
            .iter()
            .flat_map(|c| c["logprobs"]["content"].as_array().cloned().unwrap_or_default())
            .map(|t| t["token"].as_str().unwrap().to_owned())
            .collect();
        let end = text.find(&text[from..to]).unwrap();
        assert_eq!(shown, text[..end]);
        assert!(shown.starts_with(&tokens), "{shown:?} {tokens:?}");
    }
}
