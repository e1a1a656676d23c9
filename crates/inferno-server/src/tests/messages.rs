//! `/v1/messages` and `/v1/messages/count_tokens`.

use serde_json::{Value, json};

use super::dialects::{ANSWER, events, names};
use super::harness::{Server, start_with};
use super::start;
use crate::Settings;

mod requests;

const PATH: &str = "/v1/messages";
const COUNT: &str = "/v1/messages/count_tokens";

fn with(mut body: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn question(members: &Value) -> Value {
    let user = json!({ "role": "user", "content": "Rain?" });
    with(json!({ "messages": [user], "max_tokens": 200, "temperature": 0 }), members)
}

/// A call of any other tool would not be let through.
fn tools() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "name": name, "description": "Tells it.", "input_schema": schema });
    json!([tool("get_weather"), tool("get_time")])
}

#[track_caller]
fn ask(server: &Server, body: &Value) -> Value {
    let reply = server.post(PATH, body);
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()
}

#[track_caller]
fn count(server: &Server, body: &Value) -> u64 {
    let reply = server.post(COUNT, body);
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()["input_tokens"].as_u64().unwrap()
}

/// Status, type and message of an error.
#[track_caller]
fn refused(server: &Server, path: &str, body: &Value) -> (u16, String, String) {
    let reply = server.post(path, body);
    let error = reply.json();
    let word = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{error}")).to_owned();
    assert_eq!(error["type"], "error", "{error}");
    (reply.status, word(&error["error"]["type"]), word(&error["error"]["message"]))
}

fn input(message: &Value) -> [u64; 3] {
    ["input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"]
        .map(|name| message["usage"][name].as_u64().unwrap_or_else(|| panic!("{message}")))
}

/// The message that a client assembles from a stream, by the rules of Anthropic's clients.
#[track_caller]
fn assembled(events: &[(String, Value)]) -> Value {
    let (mut message, mut json, mut is_open, mut is_done) = (Value::Null, String::new(), false, false);
    for (name, event) in events {
        assert!(event["type"] == name.as_str() && !is_done, "{event}");
        let n_blocks = message["content"].as_array().map_or(0, Vec::len) as u64;
        match name.as_str() {
            "message_start" => {
                assert!(message.is_null() && event["message"]["stop_reason"].is_null());
                message = event["message"].clone();
            }
            "content_block_start" => {
                assert!(event["index"] == n_blocks && !is_open, "{event}");
                message["content"].as_array_mut().unwrap().push(event["content_block"].clone());
                (is_open, json) = (true, String::new());
            }
            "content_block_delta" => {
                assert!(event["index"] == n_blocks - 1 && is_open, "{event}");
                let (block, delta) = (&mut message["content"][n_blocks as usize - 1], &event["delta"]);
                let member = match delta["type"].as_str().unwrap() {
                    "text_delta" => "text",
                    "thinking_delta" => "thinking",
                    "signature_delta" => "signature",
                    "input_json_delta" => {
                        json += delta["partial_json"].as_str().unwrap();
                        continue;
                    }
                    other => panic!("{other}"),
                };
                let before = block[member].as_str().unwrap_or_else(|| panic!("{block}")).to_owned();
                block[member] = (before + delta[member].as_str().unwrap()).into();
            }
            "content_block_stop" => {
                assert!(event["index"] == n_blocks - 1 && is_open, "{event}");
                is_open = false;
                if !json.is_empty() {
                    let input = serde_json::from_str(&json).unwrap_or_else(|_| json.as_str().into());
                    message["content"][n_blocks as usize - 1]["input"] = input;
                }
            }
            "message_delta" => {
                assert!(!is_open);
                message = with(message, &event["delta"]);
                let usage = with(message["usage"].clone(), &event["usage"]);
                message["usage"] = usage;
            }
            "message_stop" => is_done = true,
            other => assert_eq!(other, "ping"),
        }
    }
    assert!(is_done, "the stream has no end");
    message
}

/// Without ids, and with the numbers of tokens alone, however many were cached.
fn plain(mut message: Value) -> Value {
    let n_input: u64 = input(&message).iter().sum();
    message["usage"] = json!([n_input, message["usage"]["output_tokens"]]);
    message.as_object_mut().unwrap().remove("id").unwrap();
    for block in message["content"].as_array_mut().unwrap() {
        block.as_object_mut().unwrap().remove("id");
    }
    message
}

/// The answer in one piece, which its stream has to be equal to.
#[track_caller]
fn both(server: &Server, body: &Value) -> Value {
    let whole = ask(server, body);
    let reply = server.post(PATH, &with(body.clone(), &json!({ "stream": true })));
    assert_eq!(reply.header("content-type"), Some("text/event-stream; charset=utf-8"), "{}", reply.text());
    assert_eq!(plain(assembled(&events(&reply.text()))), plain(whole.clone()), "{body}");
    whole
}

#[test]
fn a_message_has_a_block_for_every_part_and_its_stream_is_equal_to_it() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let message = both(&server, &question(&json!({ "tools": tools() })));
    let content = message["content"].as_array().unwrap();
    assert_eq!((&content[0]["type"], &content[0]["thinking"]), (&json!("thinking"), &json!("It may rain.")));
    assert!(content[0]["signature"].as_str().is_some_and(|signature| signature.len() > 8));
    assert_eq!(content[1], json!({ "type": "text", "text": "Let me see." }));
    for (block, name, arguments) in
        [(&content[2], "get_weather", json!({ "city": "Oslo" })), (&content[3], "get_time", json!({}))]
    {
        assert!(block["type"] == "tool_use" && block["id"].is_string(), "{block}");
        assert_eq!((&block["name"], &block["input"]), (&json!(name), &arguments));
    }
    assert_eq!(content.len(), 4);
    let named = ["type", "role", "model", "stop_reason", "stop_sequence"].map(|name| message[name].clone());
    assert_eq!(named, [json!("message"), json!("assistant"), json!("ember"), json!("tool_use"), Value::Null]);
    assert!(message["id"].as_str().is_some_and(|id| id.starts_with("msg_")));
    assert!(message.get("timings").is_none() && message["usage"]["output_tokens"].as_u64().unwrap() > 20);
}

#[test]
fn events_come_in_the_documented_order() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let body = question(&json!({ "tools": tools(), "stream": true }));
    let events = events(&server.post(PATH, &body).text());
    let block = ["content_block_start", "content_block_delta", "content_block_stop"];
    let mut expected = vec!["message_start"];
    expected.extend(block.repeat(4));
    expected.extend(["message_delta", "message_stop"]);
    assert_eq!(names(&events), expected);
    let signatures = events.iter().filter(|(_, event)| event["delta"]["type"] == "signature_delta");
    assert_eq!(signatures.count(), 1);
}

#[test]
fn an_answer_that_is_cut_is_the_same_in_both_forms() {
    let server = start(Settings::default());
    server.say(ANSWER);
    for most in (1..100).step_by(11) {
        let message = both(&server, &question(&json!({ "tools": tools(), "max_tokens": most })));
        match message["stop_reason"].as_str() {
            Some("max_tokens") => assert_eq!(message["usage"]["output_tokens"], most),
            Some("end_turn") => assert_eq!(message["closed_early"], true, "{most}: {message}"),
            reason => {
                assert_eq!(reason, Some("tool_use"), "{most}: {message}");
                return;
            }
        }
    }
    panic!("it never ended");
}

#[test]
fn a_request_has_the_tokens_of_the_same_chat() {
    let server = start(Settings::default());
    let members = json!({ "temperature": 0, "max_tokens": 12, "ignore_eos": true });
    let user = json!({ "role": "user", "content": "Tell me a story." });
    let system = json!({ "role": "system", "content": "Be brief." });
    let chat = |members: &Value| {
        let reply = server.post("/v1/chat/completions", members);
        assert_eq!(reply.status, 200, "{}", reply.text());
        reply.json()
    };
    let message = ask(&server, &with(members.clone(), &json!({ "system": "Be brief.", "messages": [user] })));
    let other = chat(&with(members, &json!({ "messages": [system, user] })));
    assert_eq!(message["content"][0]["text"], other["choices"][0]["message"]["content"]);
    assert_eq!(input(&message).iter().sum::<u64>(), other["usage"]["prompt_tokens"].as_u64().unwrap());
    assert_eq!(message["usage"]["output_tokens"], 12);
}

#[test]
fn an_answer_tells_what_ended_it() {
    let server = start(Settings::default());
    let check = |says: &str, members: Value, expected: (&str, Value, &str)| {
        server.say(says);
        let message = both(&server, &question(&members));
        let text = message["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(
            (message["stop_reason"].as_str().unwrap(), message["stop_sequence"].clone(), text),
            expected,
            "{members}"
        );
    };
    check("Yes.", json!({}), ("end_turn", Value::Null, "Yes."));
    let stops = json!({ "stop_sequences": ["END", "and"] });
    check("Wind and rain.", stops, ("stop_sequence", json!("and"), "Wind "));
    server.say("Wind and rain for all of the week.");
    let message = both(&server, &question(&json!({ "max_tokens": 2 })));
    assert_eq!(message["stop_reason"], "max_tokens");
}

#[test]
fn an_answer_ends_with_the_context_and_a_prompt_beyond_it_is_too_long() {
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![3]);
    let message = both(&server, &question(&json!({ "max_tokens": 32_000, "ignore_eos": true })));
    assert_eq!(message["stop_reason"], "model_context_window_exceeded");
    let n_output = message["usage"]["output_tokens"].as_u64().unwrap();
    assert_eq!(input(&message).iter().sum::<u64>() + n_output, 96);
    let long = json!({ "role": "user", "content": "rain and wind ".repeat(60) });
    let (status, kind, message) = refused(&server, PATH, &question(&json!({ "messages": [long] })));
    assert_eq!((status, kind.as_str()), (400, "invalid_request_error"));
    // Claude Code compacts a conversation at these words.
    assert!(message.contains("prompt is too long"), "{message}");
}

#[test]
fn cached_tokens_are_told_and_stored_ones_where_the_request_marks_any() {
    let server = start(Settings::default());
    let system = "Be brief. ".repeat(24);
    let ask = |system: Value, members: Value| {
        input(&ask(&server, &with(question(&json!({ "system": system, "max_tokens": 1 })), &members)))
    };
    let [fresh, stored, read] = ask(json!(system), json!({}));
    assert_eq!((stored, read), (0, 0));
    let [rest, stored, read] = ask(json!(system), json!({}));
    assert!(read >= 64 && stored == 0 && rest + read == fresh, "{rest} {read} {fresh}");
    let marked =
        |text: &str| json!([{ "type": "text", "text": text, "cache_control": { "type": "ephemeral" } }]);
    let other = "No rain. ".repeat(24);
    let [rest, stored, read] = ask(marked(&other), json!({}));
    assert!(stored >= 64 && stored % 32 == 0 && rest < 32 && read == 0, "{rest} {stored} {read}");
    let [after, again, read] = ask(marked(&other), json!({}));
    assert_eq!((after + again + read, again), (rest + stored, 0));
    let user = json!({ "role": "user", "content": marked("Hi") });
    for members in [json!({ "cache_control": { "type": "ephemeral" } }), json!({ "messages": [user] })] {
        let [_, stored, _] = ask(json!(format!("{members}{}", "Hm. ".repeat(30))), members);
        assert!(stored >= 64, "{stored}");
    }
}

#[test]
fn a_line_that_differs_in_every_request_does_not_spoil_the_prefix() {
    let body = |nonce: &str| {
        let header = format!("x-anthropic-billing-header: cch={nonce}; cc_version=2.1;");
        let system = json!([
            { "type": "text", "text": header },
            { "type": "text", "text": "Be brief. ".repeat(24), "cache_control": { "type": "ephemeral" } },
        ]);
        question(&json!({ "system": system, "max_tokens": 1 }))
    };
    let cached = |settings: Settings| {
        let server = start(settings);
        ask(&server, &body("9ab31"));
        let [_, _, cached] = input(&ask(&server, &body("b7c02")));
        (cached, count(&server, &body("9ab31")))
    };
    let (with, n) = cached(Settings::default());
    let (without, more) = cached(Settings { keeps_billing_header: true, ..Settings::default() });
    assert!(with >= 64 && without == 0 && more > n, "{with} {without} {n} {more}");
}

#[test]
fn reasoning_that_is_omitted_leaves_its_block_and_its_signature() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let shown = both(&server, &question(&json!({ "thinking": { "type": "enabled", "budget_tokens": 100 } })));
    server.say(ANSWER);
    let thinking = json!({ "type": "enabled", "budget_tokens": 100, "display": "omitted" });
    let omitted = both(&server, &question(&json!({ "thinking": thinking })));
    assert_eq!(
        (&shown["content"][0]["thinking"], &omitted["content"][0]["thinking"]),
        (&json!("It may rain."), &json!(""))
    );
    assert_eq!(shown["content"][0]["signature"], omitted["content"][0]["signature"]);
    assert_eq!(shown["content"][1], omitted["content"][1]);
}

#[test]
fn the_last_message_of_an_assistant_is_gone_on_from() {
    let server = start(Settings::default());
    server.say(" and rain.");
    let user = json!({ "role": "user", "content": "Rain?" });
    let said = json!({ "role": "assistant", "content": [{ "type": "text", "text": "Wind" }] });
    let message = both(&server, &question(&json!({ "messages": [user, said] })));
    assert_eq!(message["content"][0]["text"], " and rain.");
}

#[test]
fn a_choice_of_tools_and_a_form_hold() {
    let server = start(Settings::default());
    let city = json!({ "type": "object", "properties": { "city": { "enum": ["Oslo"] } }, "required": ["city"], "additionalProperties": false });
    let tool = json!({ "name": "get_weather", "input_schema": city });
    let single = json!({ "type": "any", "disable_parallel_tool_use": true });
    let named = json!({ "type": "tool", "name": "get_weather", "disable_parallel_tool_use": true });
    let called = |choice: &Value| {
        let thinking = json!({ "type": "disabled" });
        question(&json!({ "tools": [tool], "tool_choice": choice, "thinking": thinking, "max_tokens": 40 }))
    };
    for message in [both(&server, &called(&single)), ask(&server, &called(&named))] {
        let calls: Vec<&Value> = message["content"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .collect();
        assert_eq!(calls.len(), 1, "{message}");
        assert_eq!(
            (&calls[0]["input"], &message["stop_reason"]),
            (&json!({ "city": "Oslo" }), &json!("tool_use"))
        );
    }
    let none = json!({ "tools": [tool], "tool_choice": { "type": "none" } });
    assert_eq!(count(&server, &question(&none)), count(&server, &question(&json!({}))));
    let form = json!({ "type": "json_schema", "schema": city });
    for members in [json!({ "output_config": { "format": form } }), json!({ "output_format": form })] {
        let members = with(members, &json!({ "thinking": { "type": "disabled" }, "max_tokens": 20 }));
        let message = ask(&server, &question(&members));
        let text = message["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({ "city": "Oslo" }));
    }
}

#[test]
fn requests_have_an_id_of_their_clients_name_for_it() {
    let server = start(Settings::default());
    let reply =
        server.post_with(PATH, "anthropic-version: 2023-06-01\r\n", &question(&json!({ "max_tokens": 1 })));
    assert!(
        reply.header("request-id").is_some() && reply.header("request-id") == reply.header("x-request-id")
    );
    assert_eq!(server.post("/tokenize", &json!({ "content": "x" })).header("request-id"), None);
    let (status, kind, message) = refused(&server, "/v1/messages/batches", &json!({}));
    assert_eq!((status, kind.as_str()), (404, "not_found_error"), "{message}");
    let (status, kind, message) = refused(&server, PATH, &question(&json!({ "model": "claude-opus-4-1" })));
    assert_eq!((status, kind.as_str()), (404, "not_found_error"));
    assert!(message.contains("`claude-opus-4-1`") && message.contains("`ember`"), "{message}");
}

#[test]
fn a_silent_stream_is_pinged() {
    let settings = Settings {
        hold: std::time::Duration::ZERO,
        keep_alive: std::time::Duration::from_millis(5),
        ..Settings::default()
    };
    let server = start(settings);
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(50);
    let body = question(&json!({ "max_tokens": 2, "stream": true }));
    let events = events(&server.post(PATH, &body).text());
    assert!(events.iter().any(|(name, event)| name == "ping" && *event == json!({ "type": "ping" })));
    assert_eq!(
        (events[0].0.as_str(), assembled(&events)["usage"]["output_tokens"].as_u64()),
        ("message_start", Some(2))
    );
}
