//! Every limit that an operator can set, one below, at, and one above it.

use serde_json::{Value, json};

use super::{CHAT, TEXT, check_refused, check_taken};
use crate::Settings;
use crate::tests::start;

const BREAKERS: &str = "dry_sequence_breakers";

#[test]
fn every_limit_holds_to_the_one() {
    let settings = Settings {
        n: 3,
        prompts: 4,
        stops: 3,
        stop_bytes: 5,
        token_lists: 3,
        logit_bias: 3,
        messages: 3,
        tools: 3,
        template_variables: 3,
        template_variable_bytes: 40,
        ..Settings::default()
    };
    let server = start(settings);
    let text = |n: usize| Value::from("é".repeat(n / 2) + &"a".repeat(n % 2));
    let many = |item: Value, n: usize| Value::from(vec![item; n]);
    let object = |n: usize, value: &dyn Fn(usize) -> Value| -> Value {
        (0..n).map(|i| (i.to_string(), value(i))).collect::<serde_json::Map<_, _>>().into()
    };
    let tools = |n: usize| -> Value {
        (0..n).map(|i| json!({ "type": "function", "function": { "name": format!("f{i}") } })).collect()
    };
    let message = json!({ "role": "user", "content": "a" });
    // Where, the most, what has so much of it, who is to blame, and what is said.
    type Row<'a> = (&'a str, usize, &'a str, Box<dyn Fn(usize) -> Value + 'a>, &'a str, &'a str);
    let rows: Vec<Row<'_>> = vec![
        ("", 3, "n", Box::new(|n| n.into()), "n", "an integer from 1 to 3"),
        ("", 3, "stop", Box::new(|n| many("a".into(), n)), "stop", "has 4 strings, expected at most 3"),
        ("", 5, "stop", Box::new(text), "stop", "strings of 1 to 5 bytes"),
        ("", 3, "stop_token_ids", Box::new(|n| many(1.into(), n)), "stop_token_ids", "at most 3 token ids"),
        (
            "",
            3,
            "allowed_token_ids",
            Box::new(|n| many(1.into(), n)),
            "allowed_token_ids",
            "at most 3 token ids",
        ),
        (
            "",
            3,
            "logit_bias",
            Box::new(|n| object(n, &|_| 1.into())),
            "logit_bias",
            "has 4 entries, expected at most 3",
        ),
        (
            "",
            3,
            "logit_bias",
            Box::new(|n| (0..n).map(|id| json!([id, 1])).collect()),
            "logit_bias",
            "has 4 entries, expected at most 3",
        ),
        (
            CHAT,
            3,
            "messages",
            Box::new(|n| many(message.clone(), n)),
            "messages",
            "has 4 messages, expected 1 to 3",
        ),
        (CHAT, 3, "tools", Box::new(tools), "tools", "has 4 tools, expected at most 3"),
        (
            CHAT,
            3,
            "chat_template_kwargs",
            Box::new(|n| object(n, &|i| i.into())),
            "chat_template_kwargs",
            "at most 3 variables of 40 bytes",
        ),
        (
            CHAT,
            40,
            "chat_template_kwargs",
            Box::new(|n| json!({ "a": text(n - 1) })),
            "chat_template_kwargs",
            "at most 3 variables of 40 bytes",
        ),
        ("", 128, "bad_words", Box::new(|n| many("a".into(), n)), "bad_words", "expected at most 128"),
        ("", 256, "bad_words", Box::new(|n| json!([text(n)])), "bad_words[0]", "a string of 1 to 256 bytes"),
        ("", 16, BREAKERS, Box::new(|n| many("a".into(), n)), BREAKERS, "expected at most 16"),
        ("", 40, BREAKERS, Box::new(|n| json!([text(n)])), "dry_sequence_breakers[0]", "1 to 40 bytes"),
        (TEXT, 4, "prompt", Box::new(|n| many("a".into(), n)), "prompt", "expected 1 to 4 prompts"),
        (TEXT, 4, "prompt", Box::new(|n| many(json!([1]), n)), "prompt", "expected 1 to 4 prompts"),
    ];
    for (path, most, name, of, param, words) in &rows {
        for path in [CHAT, TEXT].into_iter().filter(|p| path.is_empty() || p == path) {
            check_taken(&server, path, &json!({ *name: of(most - 1) }));
            check_taken(&server, path, &json!({ *name: of(*most) }));
            check_refused(&server, path, &json!({ *name: of(most + 1) }), "invalid_value", param, words);
        }
    }
    check_refused(&server, CHAT, &json!({ "messages": [] }), "invalid_value", "messages", "expected 1 to 3");
    // Choices of all prompts together.
    check_taken(&server, TEXT, &json!({ "prompt": ["a", "b"], "n": 2 }));
    let much = json!({ "prompt": ["a", "b", "c"], "n": 2 });
    check_refused(
        &server,
        TEXT,
        &much,
        "invalid_value",
        "n",
        "3 prompts with 2 choices each are 6, expected at most 4",
    );
}

#[test]
fn a_hundred_thousand_of_anything_is_refused_at_once() {
    let server = start(Settings::default());
    let many = |item: Value| Value::from(vec![item; 100_000]);
    let biases: Value =
        (0..100_000).map(|i| (i.to_string(), json!(1))).collect::<serde_json::Map<_, _>>().into();
    for (path, name, value) in [
        (TEXT, "stop", many("a".into())),
        (TEXT, "stop_token_ids", many(1.into())),
        (TEXT, "allowed_token_ids", many(1.into())),
        (TEXT, "logit_bias", biases.clone()),
        (TEXT, "prompt", many("a".into())),
        (CHAT, "messages", many(json!({}))),
        (CHAT, "chat_template_kwargs", biases),
    ] {
        check_refused(&server, path, &json!({ name: value }), "invalid_value", name, "expected");
    }
    let long = json!({ "prompt": many(1.into()) });
    let reply = server.post(TEXT, &long);
    assert_eq!(reply.error(), (400, "context_length_exceeded".into(), "null".into()));
}

#[test]
fn more_scores_than_an_answer_may_hold_are_refused_before_they_are_computed() {
    let server = start(Settings { prompts: 200, ..Settings::default() });
    let much = json!({ "prompt": vec![vec![1; 1000]; 200], "echo": true, "logprobs": 20, "max_tokens": 0 });
    check_refused(
        &server,
        TEXT,
        &much,
        "invalid_value",
        "logprobs",
        "4200000 numbers, expected at most 4000000",
    );
}
