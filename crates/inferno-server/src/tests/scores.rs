//! Log-probabilities, in OpenAI's two shapes.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

#[track_caller]
fn completion(server: &Server, members: &Value) -> Value {
    let mut body = json!({ "prompt": "Once upon a time", "temperature": 0, "max_tokens": 4 });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    let reply = server.post("/v1/completions", &body);
    assert_eq!(reply.status, 200, "{members}: {}", reply.text());
    reply.json()["choices"][0].clone()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[test]
fn a_chats_scores_have_openais_shape_and_are_probabilities() {
    let server = start(Settings::default());
    let body = json!({
        "messages": [{ "role": "user", "content": "Hi" }], "max_tokens": 6, "logprobs": true, "top_logprobs": 20,
        "temperature": 0,
    });
    let choice = server.post("/v1/chat/completions", &body).json()["choices"][0].clone();
    let scores = choice["logprobs"].as_object().unwrap();
    assert_eq!(scores.keys().collect::<Vec<_>>(), ["content", "refusal"]);
    assert!(scores["refusal"].is_null());
    let tokens = scores["content"].as_array().unwrap();
    let text: String = tokens.iter().map(|t| t["token"].as_str().unwrap()).collect();
    assert_eq!(text, choice["message"]["content"].as_str().unwrap());
    for token in tokens {
        let keys: Vec<&String> = token.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["token", "logprob", "bytes", "top_logprobs"]);
        assert_eq!(token["bytes"], json!(token["token"].as_str().unwrap().as_bytes()));
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 20);
        assert_eq!(top[0].as_object().unwrap().keys().collect::<Vec<_>>(), ["token", "logprob", "bytes"]);
        let logprobs: Vec<f64> = top.iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b), "{logprobs:?}");
        let sum: f64 = logprobs.iter().map(|l| l.exp()).sum();
        assert!((0.3..=1.00001).contains(&sum), "{sum}");
        // Greedy: the best is the one.
        assert_eq!(token["logprob"], top[0]["logprob"]);
    }
    let mut none = body.clone();
    none["top_logprobs"] = json!(null);
    let choice = server.post("/v1/chat/completions", &none).json()["choices"][0].clone();
    assert_eq!(choice["logprobs"]["content"][0]["top_logprobs"], json!([]));
    none["logprobs"] = json!(false);
    assert!(server.post("/v1/chat/completions", &none).json()["choices"][0]["logprobs"].is_null());
}

#[test]
fn an_echoed_prompt_is_scored_as_evaluations_want_it() {
    let server = start(Settings::default());
    let scored = |max_tokens: usize| {
        completion(
            &server,
            &json!({ "echo": true, "logprobs": 1, "max_tokens": max_tokens, "return_token_ids": true }),
        )
    };
    let (zero, one) = (scored(0), scored(1));
    assert_eq!(zero["text"], "Once upon a time");
    assert!(one["text"].as_str().unwrap().starts_with("Once upon a time"));
    assert_eq!((&zero["token_ids"], one["token_ids"].as_array().unwrap().len()), (&json!([]), 1));
    for (choice, n) in [(&zero, 4), (&one, 5)] {
        let scores = &choice["logprobs"];
        for name in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(scores[name].as_array().unwrap().len(), n, "{name}: {scores}");
        }
        assert_eq!(choice["finish_reason"], "length");
        let tokens: Vec<&str> =
            scores["tokens"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        assert_eq!(tokens.concat(), choice["text"].as_str().unwrap());
        assert!(scores["token_logprobs"][0].is_null() && scores["top_logprobs"][0].is_null());
        let logprobs = numbers(&json!(scores["token_logprobs"].as_array().unwrap()[1..]));
        assert!(logprobs.iter().all(|l| *l <= 0.0), "{logprobs:?}");
        let mut offset = 0;
        for (i, token) in tokens.iter().enumerate() {
            assert_eq!(scores["text_offset"][i], offset);
            offset += token.chars().count();
            if i > 0 {
                // The token itself is always among them.
                let top = scores["top_logprobs"][i].as_object().unwrap();
                assert_eq!(top[*token], scores["token_logprobs"][i]);
                assert!((1..=2).contains(&top.len()));
            }
        }
    }
    let all = numbers(&json!(one["logprobs"]["token_logprobs"].as_array().unwrap()[1..4]));
    assert_eq!(all, numbers(&json!(zero["logprobs"]["token_logprobs"].as_array().unwrap()[1..])));
}

#[test]
fn a_score_is_the_same_in_a_prompt_and_in_an_answer_and_as_a_stream() {
    let server = start(Settings::default());
    let made = completion(&server, &json!({ "logprobs": 2 }));
    let text = "Once upon a time".to_owned() + made["text"].as_str().unwrap();
    let members = json!({ "prompt": text, "echo": true, "logprobs": 2, "max_tokens": 0 });
    let read = completion(&server, &members);
    assert_eq!(
        numbers(&made["logprobs"]["token_logprobs"]),
        numbers(&json!(read["logprobs"]["token_logprobs"].as_array().unwrap()[4..]))
    );
    let mut body = members;
    body["stream"] = json!(true);
    body["temperature"] = json!(0);
    body["max_tokens"] = json!(1);
    let events = server.post("/v1/completions", &body).events();
    let mut joined = json!({ "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": [] });
    let choices = events.iter().map(|e| &e["choices"][0]).filter(|c| c["logprobs"].is_object());
    for (name, list) in choices.flat_map(|choice| choice["logprobs"].as_object().unwrap()) {
        joined[name].as_array_mut().unwrap().extend(list.as_array().unwrap().iter().cloned());
    }
    body["stream"] = json!(false);
    let whole = server.post("/v1/completions", &body).json()["choices"][0]["logprobs"].clone();
    assert_eq!(joined, whole);
}

#[test]
fn echo_without_scores_reads_the_prompt_or_goes_on() {
    let server = start(Settings::default());
    let zero = completion(&server, &json!({ "echo": true, "max_tokens": 0 }));
    assert_eq!((&zero["text"], &zero["logprobs"]), (&json!("Once upon a time"), &json!(null)));
    let one = completion(&server, &json!({ "echo": true, "max_tokens": 2, "stop": "Once" }));
    assert!(
        one["text"].as_str().unwrap().len() > "Once upon a time".len(),
        "a stop string in the prompt is none"
    );
    for n in 1..3 {
        let prompts =
            json!({ "prompt": ["a", "b", "c"], "echo": true, "max_tokens": 0, "logprobs": 0, "n": n });
        let mut body = prompts.clone();
        body["temperature"] = json!(0);
        let choices = server.post("/v1/completions", &body).json()["choices"].clone();
        let texts: Vec<&str> =
            choices.as_array().unwrap().iter().map(|c| c["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["a", "b", "c"].into_iter().flat_map(|t| vec![t; n]).collect::<Vec<_>>());
    }
}

#[test]
fn what_an_operator_set_is_shown_as_it_was_set() {
    let server = start(Settings::default());
    let defaults = server.get("/server_info").json()["sampling_defaults"].to_string();
    let expected = r#"{"temperature":0.6,"top_k":40,"top_p":1.0,"min_p":0.05,"repetition_penalty":1.0,"repeat_last_n":-1,"presence_penalty":0.0,"frequency_penalty":0.0}"#;
    assert_eq!(defaults, expected);
}

#[test]
fn offsets_count_characters_of_the_text_also_where_tokens_share_one() {
    let server = start(Settings::default());
    let prompt = "naïve 日本 dog 🎉!";
    let body = json!({ "prompt": prompt, "echo": true, "logprobs": 1, "max_tokens": 3, "temperature": 0, "ignore_eos": true });
    let choice = server.post("/v1/completions", &body).json()["choices"][0].clone();
    let text: Vec<char> = choice["text"].as_str().unwrap().chars().collect();
    let scores = &choice["logprobs"];
    let tokens: Vec<&str> = scores["tokens"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let offsets: Vec<usize> = numbers(&scores["text_offset"]).into_iter().map(|x| x as usize).collect();
    assert!(tokens.iter().any(|t| t.starts_with("bytes:")), "{tokens:?}");
    assert!(offsets.is_sorted() && offsets.len() == tokens.len());
    let mut n_whole = 0;
    for (token, &offset) in tokens.iter().zip(&offsets).filter(|t| !t.0.starts_with("bytes:")) {
        let at: String = text[offset..].iter().take(token.chars().count()).collect();
        assert_eq!(at, **token, "{tokens:?} {offsets:?}");
        n_whole += 1;
    }
    assert!(n_whole > 5 && text[*offsets.last().unwrap()..].len() == tokens.last().unwrap().chars().count());
    // Without the prompt they count from the completion's start.
    let mut body = body;
    body["echo"] = json!(false);
    let alone = server.post("/v1/completions", &body).json()["choices"][0]["logprobs"]["text_offset"].clone();
    let start = prompt.chars().count();
    let expected: Vec<usize> = offsets[offsets.len() - 3..].iter().map(|o| o - start).collect();
    assert_eq!(alone, json!(expected));
}

#[test]
fn the_best_tokens_of_a_completion_come_by_probability() {
    let server = start(Settings::default());
    let members = json!({ "logprobs": 5, "temperature": 2, "seed": 3, "top_k": 0, "min_p": 0, "echo": true });
    let choice = completion(&server, &members);
    let all = choice["logprobs"]["top_logprobs"].as_array().unwrap();
    let mut n_beside = 0;
    for best in all.iter().filter_map(Value::as_object) {
        let logprobs: Vec<f64> = best.values().map(|l| l.as_f64().unwrap()).collect();
        assert!(logprobs.is_sorted_by(|a, b| a >= b), "{best:?}");
        n_beside += usize::from(logprobs.len() == 6);
    }
    assert!(n_beside > 0, "some token is not among the best: {all:?}");
}
