//! All dialects at once: each stream has the text that it has alone, no page is held at the end, and hostile requests are
//! refused in the shape of their dialect.

use std::io::BufRead;

use serde_json::{Value, json};

use super::harness::{Reply, Server, post};
use super::start;
use crate::Settings;

mod pieces;

/// A stream of a dialect.
struct Case {
    path: &'static str,
    body: Value,
    /// Places of text and reasoning in an event.
    places: &'static [&'static str],
}

/// Dialects that have a prompt of chats, and then those that take one as it is.
const N_CHATS: usize = 5;

/// A request of each dialect, about `topic`.
fn cases(topic: usize) -> Vec<Case> {
    let text = format!("Tell me {topic} stories");
    let user = json!([{ "role": "user", "content": text }]);
    let plain = json!({ "temperature": 0, "max_tokens": 3, "ignore_eos": true, "stream": true });
    let options = json!({ "temperature": 0, "num_predict": 3, "ignore_eos": true });
    let with = |name: &str, value: &Value| {
        let mut body = plain.clone();
        body[name] = value.clone();
        body
    };
    let case = |path, body, places| Case { path, body, places };
    let response = json!({ "input": text, "temperature": 0, "max_output_tokens": 3, "ignore_eos": true, "stream": true });
    let raw = json!({ "prompt": text, "raw": true, "options": options });
    vec![
        case(
            "/v1/chat/completions",
            with("messages", &user),
            &["/choices/0/delta/content", "/choices/0/delta/reasoning_content"],
        ),
        case("/v1/responses", response, &["/delta"]),
        case("/v1/messages", with("messages", &user), &["/delta/text", "/delta/thinking"]),
        case(
            "/api/chat",
            json!({ "messages": user, "options": options }),
            &["/message/content", "/message/thinking"],
        ),
        case("/api/generate", json!({ "prompt": text, "options": options }), &["/response", "/thinking"]),
        case("/v1/completions", with("prompt", &json!(text)), &["/choices/0/text"]),
        case("/api/generate", raw, &["/response"]),
        case("/completion", with("prompt", &json!(text)), &["/content"]),
    ]
}

/// The text of a stream.
fn text(server: &Server, case: &Case) -> String {
    said(case, &server.post(case.path, &case.body))
}

/// The text of the answer to a request.
fn said(Case { path, places, .. }: &Case, reply: &Reply) -> String {
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    let text = reply.text();
    let events = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ").unwrap_or(line)).ok());
    events
        .flat_map(|event| places.iter().map(move |place| event.pointer(place)?.as_str().map(str::to_owned)))
        .flatten()
        .collect()
}

#[test]
fn streams_of_all_dialects_have_the_text_that_they_have_alone() {
    let server = start(Settings::default());
    let all: Vec<Case> = (2..4).flat_map(cases).collect();
    let alone: Vec<String> = all.iter().map(|case| text(&server, case)).collect();
    // The same prompt and the same tokens, whatever the dialect.
    for of_topic in alone.chunks(cases(0).len()) {
        let (chats, texts) = of_topic.split_at(N_CHATS);
        for same in [chats, texts] {
            assert!(!same[0].is_empty() && same.iter().all(|text| *text == same[0]), "{same:?}");
        }
    }
    let server = &server;
    std::thread::scope(|scope| {
        let streams: Vec<_> = (0..64).map(|i| (i, &all[i % all.len()])).collect();
        let threads: Vec<_> = streams
            .into_iter()
            .map(|(i, case)| {
                scope.spawn(move || {
                    if i % 3 == 0 {
                        // A client that leaves after the first line of its answer.
                        let mut stream = server.open_stream(case.path, &case.body);
                        stream.read_line(&mut String::new()).unwrap();
                        return None;
                    }
                    Some(text(server, case))
                })
            })
            .collect();
        for (i, thread) in threads.into_iter().enumerate() {
            let Some(text) = thread.join().unwrap() else { continue };
            assert_eq!(text, alone[i % all.len()], "{}", all[i % all.len()].path);
        }
    });
    server.wait_until(Server::is_idle);
}

#[test]
fn events_of_any_number_of_tokens_make_the_same_text() {
    let server = start(Settings::default());
    let (thought, said) = ("Hm, \u{fc}?", "Wind \u{2013} and \u{1f409} rain.");
    let script = format!("<think>\n{thought}\n</think>\n\n{said}");
    // Tokens that come while an event is written are told together: the pauses between them decide how they are cut.
    for pause in [0, 1, 4].map(std::time::Duration::from_millis) {
        *server.faults.delay.lock().unwrap() = pause;
        for (i, mut case) in cases(1).into_iter().enumerate() {
            let options =
                if case.path.starts_with("/api/") { &mut case.body["options"] } else { &mut case.body };
            let options = options.as_object_mut().unwrap();
            options.remove("ignore_eos");
            for most in ["max_tokens", "max_output_tokens", "num_predict"] {
                options.entry(most).and_modify(|n| *n = 60.into());
            }
            server.say(&script);
            let expected = if i < N_CHATS { format!("{thought}{said}") } else { script.clone() };
            assert_eq!(text(&server, &case), expected, "{} {pause:?}", case.path);
        }
    }
}

/// Checks that an error has the shape of the dialect at `path`.
fn check_shape(path: &str, error: &Value) {
    let is_right = match path {
        "/v1/messages" => {
            error["type"] == "error"
                && error["error"]["type"].is_string()
                && error["error"]["message"].is_string()
        }
        path if path.starts_with("/api/") => error["error"].is_string(),
        "/completion" => {
            let error = &error["error"];
            error["code"].is_u64() && error["type"].is_string() && error["message"].is_string()
        }
        _ => {
            let members = ["message", "type", "param", "code"];
            let error = error["error"].as_object();
            error.is_some_and(|error| members.iter().all(|name| error.contains_key(*name)))
        }
    };
    assert!(is_right, "{path}: {error}");
}

#[test]
fn hostile_requests_are_refused_in_the_shape_of_their_dialect() {
    let server = start(Settings { body_bytes: 64 << 10, ..Settings::default() });
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let schema = (0..2_000).fold("{}".to_owned(), |inner, _| format!("{{\"items\":{inner}}}"));
    for Case { path, body, .. } in cases(1) {
        let is_ollama = path.starts_with("/api/");
        let with = |name: &str, value: Value| {
            let mut body = body.clone();
            match is_ollama {
                true => body["options"][name] = value,
                false => body[name] = value,
            }
            body.to_string()
        };
        let without_end = |name: &str, value: &str| {
            let text = body.to_string();
            format!("{},\"{name}\":{value}}}", &text[..text.len() - 1])
        };
        let form = match path {
            "/v1/messages" => "output_format",
            "/v1/responses" => "text",
            _ if is_ollama => "format",
            _ => "response_format",
        };
        let format = match path {
            _ if is_ollama => schema.clone(),
            "/v1/messages" => format!("{{\"type\":\"json_schema\",\"schema\":{schema}}}"),
            "/v1/responses" => {
                format!("{{\"format\":{{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":{schema}}}}}")
            }
            _ => {
                format!("{{\"type\":\"json_schema\",\"json_schema\":{{\"name\":\"x\",\"schema\":{schema}}}}}")
            }
        };
        let long = match path {
            "/v1/responses" => "max_output_tokens",
            _ if is_ollama => "num_predict",
            _ => "max_tokens",
        };
        let bodies = [
            String::new(),
            "null".to_owned(),
            "{".to_owned(),
            deep(10_000),
            without_end("x", &deep(5_000)),
            without_end("x", "\"\\ud800\""),
            without_end("temperature", "1e999"),
            format!("\u{feff}{body}"),
            format!("{body}{body}"),
            without_end(form, &format),
            // Of Ollama's negative numbers all mean that there is no limit.
            with(long, if is_ollama { json!(0) } else { json!(-7) }),
            with(long, json!(1.5)),
            with("temperature", json!(-1)),
            with("temperature", json!("hot")),
            with("top_p", json!(7)),
            with("top_k", json!("x")),
            with("seed", json!({})),
            with("logit_bias", json!({ "999999999": 1 })),
            with("min_p", json!(-0.5)),
            with("chat_template_kwargs", json!({ "tokenize": true, "messages": [] })),
            with("stop", json!(["x".repeat(100_000)])),
        ];
        for body in bodies {
            let shown: String = body.chars().take(200).collect();
            let head = post(path, "", &json!({})).split("\r\n\r\n").next().unwrap().to_owned();
            let head = head.replace("Content-Length: 2", &format!("Content-Length: {}", body.len()));
            let reply = server.raw(format!("{head}\r\n\r\n{body}"));
            // A request may also be answered as if a member that means nothing were not there.
            assert!(
                reply.status == 200 || (400..500).contains(&reply.status),
                "{path} {shown}: {}",
                reply.text()
            );
            if reply.status != 200 {
                check_shape(path, &reply.json());
            }
        }
        let mut bytes = post(path, "", &body).into_bytes();
        *bytes.last_mut().unwrap() = 0xff;
        let reply = server.raw(bytes);
        assert_eq!(reply.status, 400, "{path}: {}", reply.text());
        check_shape(path, &reply.json());
    }
    server.wait_until(Server::is_idle);
}
