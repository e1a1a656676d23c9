//! JSON bodies of each dialect: a byte for the route, one for the cuts, and the body.
//!
//! A body is refused with words, or answered by well-formed JSON, events or lines, never by an internal error; a whole answer and a
//! stream of the same request have the same text, however the request arrives.

use serde_json::{Map, Value, json};

use super::input::{Bits, head};
use super::server::{Response, Side, exchange, response};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "bodies",
    check,
    max_len: 2 << 10,
    seeds,
    words: &[
        "\"messages\":",
        "\"role\":",
        "\"user\"",
        "\"assistant\"",
        "\"tool\"",
        "\"content\":",
        "\"prompt\":",
        "\"stream\":true",
        "\"max_tokens\":",
        "\"temperature\":",
        "\"top_p\":",
        "\"top_k\":",
        "\"min_p\":",
        "\"n\":",
        "\"stop\":",
        "\"seed\":",
        "\"logprobs\":",
        "\"top_logprobs\":",
        "\"logit_bias\":",
        "\"tools\":",
        "\"tool_choice\":",
        "\"function\":",
        "\"parameters\":",
        "\"response_format\":",
        "\"json_schema\":",
        "\"json_object\"",
        "\"grammar\":",
        "\"regex\":",
        "\"echo\":true",
        "\"suffix\":",
        "\"input\":",
        "\"instructions\":",
        "\"system\":",
        "\"options\":",
        "\"num_predict\":",
        "\"presence_penalty\":",
        "\"repetition_penalty\":",
        "\"min_tokens\":",
        "\"stop_token_ids\":",
        "\"ignore_eos\":",
        "\"stream_options\":",
        "\"include_usage\":",
        "\"chat_template_kwargs\":",
        "\"enable_thinking\":",
        "\"reasoning\":",
        "\"effort\":",
        "\"samplers\":",
        "\"mirostat\":",
        "\"input_prefix\":",
        "\"tokens\":",
        "\"type\":\"text\"",
        "\"image_url\":",
        "null",
        "true",
        "false",
        "1e400",
        "-1",
        "18446744073709551616",
        "\\ud83d\\ude00",
    ],
};

const ROUTES: [&str; 20] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/messages",
    "/v1/responses",
    "/api/chat",
    "/api/generate",
    "/completion",
    "/infill",
    "/tokenize",
    "/detokenize",
    "/apply-template",
    "/v1/messages/count_tokens",
    "/v1/chat/completions/input_tokens",
    "/v1/responses/input_tokens",
    "/api/show",
    "/inference/v1/generate",
    "/api/copy",
    "/v1/embeddings",
    "/props",
    "/slots/0",
];

fn seeds() -> Vec<Vec<u8>> {
    let messages = json!([{ "role": "system", "content": "be kind" }, { "role": "user", "content": "hi" }]);
    let tool = json!({ "type": "function", "function": { "name": "f", "parameters": { "type": "object" } } });
    let schema =
        json!({ "type": "json_schema", "json_schema": { "name": "a", "schema": { "type": "integer" } } });
    let bodies = [
        (0, json!({ "messages": messages, "logprobs": true, "top_logprobs": 2, "n": 2 })),
        (0, json!({ "messages": messages, "stream": true, "stream_options": { "include_usage": true } })),
        (0, json!({ "messages": messages, "tools": [tool], "tool_choice": "auto", "stop": ["a", "bc"] })),
        (0, json!({ "messages": messages, "response_format": schema, "temperature": 0 })),
        (1, json!({ "prompt": ["a", "b"], "echo": true, "logprobs": 1, "max_tokens": 3 })),
        (1, json!({ "prompt": [1, 2, 3], "stream": true, "logit_bias": { "5": 100 }, "top_k": 5 })),
        (
            2,
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "hi" }] }], "max_tokens": 4, "system": "x" }),
        ),
        (
            2,
            json!({ "messages": messages, "max_tokens": 4, "stream": true, "thinking": { "type": "enabled", "budget_tokens": 1024 } }),
        ),
        (3, json!({ "input": "hi", "instructions": "x", "store": true, "max_output_tokens": 20 })),
        (
            3,
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_text", "text": "hi" }] }], "stream": true }),
        ),
        (
            4,
            json!({ "model": "toy", "messages": messages, "stream": false, "options": { "num_predict": 5, "seed": 3 } }),
        ),
        (5, json!({ "model": "toy", "prompt": "hi", "system": "x", "format": "json" })),
        (
            6,
            json!({ "prompt": "hi", "n_predict": 5, "n_probs": 2, "samplers": ["top_k", "temperature"], "grammar": "root ::= \"a\"" }),
        ),
        (7, json!({ "input_prefix": "fn a", "input_suffix": "}", "n_predict": 4 })),
        (8, json!({ "content": "hello <|im_end|>", "with_pieces": true, "add_special": true })),
        (9, json!({ "tokens": [1, 2, 300] })),
        (10, json!({ "messages": messages })),
        (11, json!({ "messages": messages, "model": "toy" })),
        (14, json!({ "model": "toy" })),
    ];
    let seed = |(route, body): (u8, Value)| [&[route, 3], body.to_string().as_bytes()].concat();
    bodies.into_iter().map(seed).collect()
}

fn check(data: &[u8]) {
    let ([route, seed], body) = head(data);
    let route = ROUTES[usize::from(route) % ROUTES.len()];
    let answer = ask(route, body, 0);
    let Some(Value::Object(mut object)) = serde_json::from_slice(body).ok() else {
        assert!(answer.status >= 400, "{} of no object", answer.status);
        return;
    };
    if answer.status == 200 && ["/v1/chat/completions", "/v1/completions"].contains(&route) {
        streams_the_same(route, &mut object, seed);
    }
}

/// The response to a body that arrives in pieces of random lengths, or as a whole.
fn ask(route: &str, body: &[u8], seed: u8) -> Response {
    let n = body.len();
    let head = format!(
        "POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n"
    );
    let all = [head.as_bytes(), body].concat();
    let (mut pieces, mut rest, mut bits) = (Vec::new(), &*all, Bits(seed.into()));
    while !rest.is_empty() {
        let n = if seed == 0 { rest.len() } else { (1 + bits.below(200)).min(rest.len()) };
        let (piece, after) = rest.split_at(n);
        pieces.push(piece);
        rest = after;
    }
    let bytes = exchange(&pieces, Side::Open);
    let (response, rest) = response(&bytes).unwrap_or_else(|| panic!("no whole response: {}", show(&bytes)));
    assert!(rest.is_empty(), "more than a response: {}", show(&bytes));
    is_well_formed(&response);
    response
}

fn is_well_formed(response: &Response) {
    let body = show(&response.body);
    let expected = [501, 503].contains(&response.status) || response.status < 500;
    assert!(expected, "{}: {body}", response.status);
    let is_json = |text: &str| serde_json::from_str::<Value>(text).is_ok();
    match &*response.content_type {
        kind if kind.starts_with("text/event-stream") => {
            assert!(body.ends_with("\n\n"), "{body}");
            for line in body.lines().filter_map(|line| line.strip_prefix("data: ")) {
                assert!(line == "[DONE]" || is_json(line), "{line}");
            }
        }
        kind if kind.starts_with("application/x-ndjson") => assert!(body.lines().all(is_json), "{body}"),
        kind if kind.starts_with("application/json") => assert!(is_json(&body), "{body}"),
        _ => {}
    }
    if response.status >= 400 {
        assert!(!body.is_empty(), "a refusal without words");
    }
}

/// A whole answer has the text of a stream.
fn streams_the_same(route: &str, object: &mut Map<String, Value>, seed: u8) {
    object.insert("seed".into(), 1.into());
    let mut with = |is_stream: bool, seed| {
        object.insert("stream".into(), is_stream.into());
        if !is_stream {
            object.remove("stream_options");
        }
        ask(route, Value::Object(object.clone()).to_string().as_bytes(), seed)
    };
    let (stream, whole) = (with(true, 0), with(false, seed));
    assert_eq!(stream.status, whole.status, "{}\n{}", show(&stream.body), show(&whole.body));
    if whole.status != 200 {
        return;
    }
    let whole: Value = serde_json::from_slice(&whole.body).expect("checked before");
    let n = whole["choices"].as_array().map_or(0, Vec::len);
    let text = |choice: &Value| -> String {
        let parts = [&choice["text"], &choice["delta"]["content"], &choice["message"]["content"]];
        parts.into_iter().filter_map(Value::as_str).collect()
    };
    for index in 0..n {
        let of_index = |choice: &&Value| choice["index"] == index;
        let events = show(&stream.body);
        let events = events.lines().filter_map(|line| line.strip_prefix("data: "));
        let events: Vec<Value> = events.filter_map(|data| serde_json::from_str(data).ok()).collect();
        let choices = events.iter().filter_map(|event| event["choices"].as_array()).flatten();
        let streamed: String = choices.filter(of_index).map(text).collect();
        let whole = whole["choices"].as_array().into_iter().flatten().find(of_index).map(text);
        assert_eq!(Some(streamed), whole, "choice {index} of a stream");
    }
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
