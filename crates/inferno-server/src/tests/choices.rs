//! What choices are made of: seeds, numbers of them, lengths, and what may be chosen.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

const TEXT: &str = "/v1/completions";

fn body(members: &Value) -> Value {
    let mut body = json!({ "prompt": "Once upon a time", "max_tokens": 8, "return_token_ids": true });
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

#[track_caller]
fn ask(server: &Server, members: &Value) -> Value {
    let reply = server.post(TEXT, &body(members));
    assert_eq!(reply.status, 200, "{members}: {}", reply.text());
    reply.json()
}

fn texts(answer: &Value) -> Vec<String> {
    let choices = answer["choices"].as_array().unwrap();
    for (i, choice) in choices.iter().enumerate() {
        assert_eq!(choice["index"], i);
    }
    choices.iter().map(|c| c["text"].as_str().unwrap().to_owned()).collect()
}

fn ids(answer: &Value) -> Vec<u64> {
    let ids = answer["choices"][0]["token_ids"].as_array().unwrap();
    ids.iter().map(|id| id.as_u64().unwrap()).collect()
}

#[test]
fn a_seed_repeats_an_answer_and_no_seed_does_not() {
    let server = start(Settings::default());
    let seeded = |seed: Value| {
        texts(&ask(&server, &json!({ "seed": seed, "temperature": 2, "top_k": 0, "min_p": 0 })))
    };
    assert_eq!(seeded(json!(7)), seeded(json!(7.0)));
    assert_ne!(seeded(json!(7)), seeded(json!(8)));
    assert_ne!(seeded(json!(-1)), seeded(json!(-1)));
    assert_ne!(seeded(json!(null)), seeded(json!(null)));
    let greedy = |seed: u32| texts(&ask(&server, &json!({ "seed": seed, "temperature": 0 })));
    assert_eq!(greedy(1), greedy(2));
    assert_eq!(greedy(1), texts(&ask(&server, &json!({ "seed": 1, "temperature": 1, "top_k": 1 }))));
}

#[test]
fn usage_counts_what_every_prompt_has_from_the_cache() {
    let server = start(Settings::default());
    let prompts = ["dragon", "robot"].map(|who| format!("Once upon a time there was a {who}. ").repeat(5));
    let n_cached = |prompt: Value| {
        let usage = ask(&server, &json!({ "prompt": prompt }))["usage"].clone();
        usage["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
    };
    let n_each = prompts.each_ref().map(|prompt| {
        n_cached(json!(prompt));
        n_cached(json!(prompt))
    });
    assert!(n_each.iter().all(|n| *n >= 32), "{n_each:?}");
    assert_eq!(n_cached(json!(prompts)), n_each.iter().sum::<u64>());
}

#[test]
fn choices_differ_if_they_are_drawn_and_count_in_order_for_several_prompts() {
    let server = start(Settings::default());
    let drawn = texts(&ask(&server, &json!({ "n": 4, "seed": 1, "temperature": 2, "top_k": 0 })));
    assert!((1..4).all(|i| !drawn[..i].contains(&drawn[i])), "{drawn:?}");
    let best = texts(&ask(&server, &json!({ "n": 3, "temperature": 0 })));
    assert_eq!((&best[0], &best[0]), (&best[1], &best[2]));
    // The first choice is the one that is alone.
    assert_eq!(drawn[0], texts(&ask(&server, &json!({ "seed": 1, "temperature": 2, "top_k": 0 })))[0]);

    let prompts = ["Once", "The dog", "A"];
    let members = json!({ "prompt": prompts, "n": 2, "seed": 5, "echo": true });
    let whole = ask(&server, &members);
    let together = texts(&whole);
    assert_eq!(together.len(), 6);
    for (i, text) in together.iter().enumerate() {
        assert!(text.starts_with(prompts[i / 2]), "{i}: {text}");
    }
    for (i, prompt) in prompts.iter().enumerate() {
        let alone = texts(&ask(&server, &json!({ "prompt": prompt, "n": 2, "seed": 5, "echo": true })));
        assert_eq!(alone, together[2 * i..2 * i + 2]);
    }
    assert_eq!(whole["usage"]["completion_tokens"], 48);
    let mut streamed = body(&members);
    streamed["stream"] = json!(true);
    let events = server.post(TEXT, &streamed).events();
    let mut collected = vec![String::new(); 6];
    for choice in events.iter().map(|e| &e["choices"][0]).filter(|c| c.is_object()) {
        collected[choice["index"].as_u64().unwrap() as usize] += choice["text"].as_str().unwrap();
    }
    assert_eq!(collected, together);
}

#[test]
fn tokens_as_a_prompt_are_the_text_they_stand_for() {
    let server = start(Settings::default());
    let tokens = server.post("/tokenize", &json!({ "content": "Once upon a time" })).json()["tokens"].clone();
    let expected = texts(&ask(&server, &json!({ "temperature": 0, "echo": true })));
    for prompt in [tokens.clone(), json!([tokens]), json!(["Once upon a time"])] {
        let members = json!({ "prompt": prompt, "temperature": 0, "echo": true });
        assert_eq!(texts(&ask(&server, &members)), expected, "{prompt}");
    }
    let mixed = json!({ "prompt": [tokens, "Once upon a time"], "temperature": 0, "echo": true });
    assert_eq!(texts(&ask(&server, &mixed)), [&*expected[0], &*expected[0]]);
}

#[test]
fn bias_and_lists_decide_which_tokens_come() {
    let server = start(Settings::default());
    let plain = ids(&ask(&server, &json!({ "temperature": 0 })));
    let first = plain[0].to_string();
    for ban in [json!({ &first: -100 }), json!({ &first: false }), json!([[plain[0], -100]])] {
        let other = ids(&ask(&server, &json!({ "temperature": 0, "logit_bias": ban })));
        assert!(!other.contains(&plain[0]), "{ban}");
    }
    let forced = ids(&ask(&server, &json!({ "logit_bias": { "100": 100 }, "seed": 1 })));
    assert_eq!(forced, [100; 8]);
    let allowed = ids(&ask(&server, &json!({ "allowed_token_ids": [100, 101], "temperature": 2 })));
    assert!(allowed.iter().all(|id| [100, 101].contains(id)), "{allowed:?}");
    let penalized = json!({ "allowed_token_ids": [100, 101], "temperature": 0, "presence_penalty": 2, "repeat_penalty": 1.5 });
    assert_eq!(ids(&ask(&server, &penalized)).len(), 8);
}

#[test]
fn an_answer_is_as_long_as_it_was_told_to_be() {
    let server = start(Settings::default());
    let eos = json!({ "5113": 100 });
    let members = |more: Value| {
        let mut members = json!({ "temperature": 0, "logit_bias": eos });
        members.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        members
    };
    let check = |more: Value, n: usize, reason: &str| {
        let answer = ask(&server, &members(more.clone()));
        let found = (&answer["usage"]["completion_tokens"], &answer["choices"][0]["finish_reason"]);
        assert_eq!(found, (&json!(n), &json!(reason)), "{more}");
        ids(&answer)
    };
    // It is no text, but it counts.
    assert_eq!(check(json!({}), 1, "stop"), [5113]);
    assert_eq!(texts(&ask(&server, &members(json!({})))), [""]);
    let shown = json!({ "skip_special_tokens": false });
    assert_eq!(check(shown.clone(), 1, "stop"), [5113]);
    assert_eq!(texts(&ask(&server, &members(shown))), ["<|im_end|>"]);
    assert!(!check(json!({ "ignore_eos": true }), 8, "length").contains(&5113));
    check(json!({ "min_tokens": 5 }), 6, "stop");
    check(json!({ "min_tokens": 8 }), 8, "length");
    check(json!({ "ignore_eos": true, "max_tokens": 1 }), 1, "length");
    check(json!({ "ignore_eos": true, "max_tokens": null }), 16, "length");
    check(json!({ "min_tokens": 20, "max_tokens": null }), 20, "length");
    check(json!({ "ignore_eos": true, "max_tokens": null, "max_completion_tokens": 3 }), 3, "length");
    check(json!({ "priority": -100, "cache_salt": "a", "deadline_ms": 60000, "user": "b" }), 1, "stop");
}

#[test]
fn an_answer_is_the_same_alone_and_among_others() {
    let server = start(Settings::default());
    let members = |i: usize| {
        let prompt = ["Once", "The little dog", "One day, a girl", "Hi"][i % 4];
        json!({ "prompt": prompt, "seed": i, "temperature": 1, "max_tokens": 10, "logprobs": 1, "n": 1 + i % 2 })
    };
    let alone: Vec<Value> = (0..17).map(|i| ask(&server, &members(i))["choices"].clone()).collect();
    let together: Vec<Value> = std::thread::scope(|scope| {
        let (server, members) = (&server, &members);
        let start = |i| scope.spawn(move || ask(server, &members(i))["choices"].clone());
        let asked: Vec<_> = (0..17).map(start).collect();
        asked.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(alone, together);
}

#[test]
fn a_stream_tells_usage_once_if_asked_to() {
    let server = start(Settings::default());
    let usage = |wanted: Value| {
        let events = server.post(TEXT, &body(&json!({ "stream": true, "stream_options": wanted }))).events();
        assert_eq!(events.last().unwrap(), "[DONE]");
        let objects = &events[..events.len() - 1];
        let there: Vec<Value> = objects.iter().filter_map(|e| e.get("usage")).cloned().collect();
        (there, objects.last().unwrap()["choices"].as_array().unwrap().len())
    };
    for no in [json!(null), json!({}), json!({ "include_usage": false })] {
        assert_eq!(usage(no), (Vec::new(), 1));
    }
    let (mut all, n_choices_of_last) = usage(json!({ "include_usage": true }));
    assert_eq!(n_choices_of_last, 0);
    let last = all.pop().unwrap();
    assert!(!all.is_empty() && all.iter().all(Value::is_null));
    assert_eq!((&last["prompt_tokens"], &last["completion_tokens"]), (&json!(4), &json!(8)));
    assert_eq!(last["total_tokens"], 12);
}
