//! `/v1/responses` as its clients read it.

use serde_json::{Value, json};

use super::{ANSWER, events, names, start};
use crate::Settings;
use crate::tests::harness::{Reply, Server};

mod custom;
mod fields;
mod kept;

const PATH: &str = "/v1/responses";

/// The functions that [`ANSWER`] calls.
fn tools() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "type": "function", "name": name, "parameters": schema });
    json!([tool("get_weather"), tool("get_time")])
}

/// A request with other members.
fn with(body: Value, members: &Value) -> Value {
    let mut body = body;
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

/// A request that [`ANSWER`] answers.
fn question(members: &Value) -> Value {
    with(json!({ "input": "Rain?", "tools": tools(), "temperature": 0 }), members)
}

#[track_caller]
fn ask(server: &Server, body: &Value) -> Value {
    let reply = server.post(PATH, body);
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    reply.json()
}

#[track_caller]
fn stream(server: &Server, body: &Value) -> Vec<(String, Value)> {
    let reply = server.post(PATH, &with(body.clone(), &json!({ "stream": true })));
    assert_eq!(reply.status, 200, "{body}: {}", reply.text());
    let text = reply.text();
    let found = events(&text);
    assert_eq!(found.len(), text.split("\n\n").filter(|event| event.starts_with("event: ")).count());
    found
}

fn get(server: &Server, path: &str) -> Reply {
    server.get(&format!("{PATH}/{path}"))
}

/// The response that a client assembles from a stream, by the rules that OpenAI's clients follow; it must be that of the last
/// event.
#[track_caller]
fn assembled(events: &[(String, Value)]) -> Value {
    let mut output: Vec<Value> = Vec::new();
    for (i, (name, event)) in events.iter().enumerate() {
        assert_eq!((event["sequence_number"].as_u64(), &event["type"]), (Some(i as u64), &json!(name)));
        let Some(at) = event["output_index"].as_u64().map(|at| at as usize) else {
            assert_eq!(event["response"]["id"], events[0].1["response"]["id"], "{event}");
            continue;
        };
        if name == "response.output_item.added" {
            assert_eq!((at, &event["item"]["status"]), (output.len(), &json!("in_progress")), "{event}");
            output.push(event["item"].clone());
            continue;
        }
        assert_eq!(at + 1, output.len(), "{event}");
        let item = &mut output[at];
        if name == "response.output_item.done" {
            for member in ["status", "encrypted_content"] {
                if let Some(value) = event["item"].get(member) {
                    item[member] = value.clone();
                }
            }
            assert_eq!(*item, event["item"]);
            assert!(item["status"] != "in_progress", "{item}");
            continue;
        }
        assert_eq!(event["item_id"], item["id"], "{event}");
        let parts = if event.get("summary_index").is_some() { "summary" } else { "content" };
        let index = event.get("summary_index").or(event.get("content_index")).and_then(Value::as_u64);
        let (what, kind) = name.rsplit_once('.').unwrap();
        match (kind, index) {
            ("added", Some(index)) => {
                let parts = item[parts].as_array_mut().unwrap();
                assert_eq!((index as usize, &event["part"]["text"]), (parts.len(), &json!("")), "{event}");
                parts.push(event["part"].clone());
            }
            ("done", Some(index)) if what.ends_with("_part") => {
                assert_eq!(item[parts][index as usize], event["part"]);
            }
            ("delta", Some(index)) => {
                let part = &mut item[parts][index as usize];
                part["text"] =
                    (part["text"].as_str().unwrap().to_owned() + event["delta"].as_str().unwrap()).into();
                if let Some(logprobs) = event["logprobs"].as_array() {
                    part["logprobs"].as_array_mut().unwrap().extend_from_slice(logprobs);
                }
            }
            ("done", Some(index)) => assert_eq!(item[parts][index as usize]["text"], event["text"]),
            ("delta", None) => {
                let member = if what.ends_with("_input") { "input" } else { "arguments" };
                let more = event["delta"].as_str().unwrap();
                item[member] = (item[member].as_str().unwrap().to_owned() + more).into();
            }
            ("done", None) if what.ends_with("_input") => assert_eq!(item["input"], event["input"]),
            ("done", None) => {
                assert_eq!((&item["arguments"], &item["name"]), (&event["arguments"], &event["name"]));
            }
            _ => panic!("{name}"),
        }
    }
    let (name, last) = events.last().unwrap();
    let response = last["response"].clone();
    assert_eq!(*name, format!("response.{}", response["status"].as_str().unwrap()));
    assert_eq!(response["output"], Value::Array(output));
    response
}

/// The output without ids, of which every answer has its own.
fn plain(response: &Value) -> Value {
    let mut output = response["output"].clone();
    for item in output.as_array_mut().unwrap() {
        let members = item.as_object_mut().unwrap();
        members.remove("id");
        members.remove("call_id");
    }
    output
}

#[test]
fn a_stream_has_openais_events_in_order_and_is_the_whole_answer() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let events = stream(&server, &question(&json!({})));
    let parts = |text: &'static str| {
        let text = [format!("response.{text}.delta"), format!("response.{text}.done")];
        let [delta, done] = text;
        ["response.output_item.added".to_owned(), "response.content_part.added".into(), delta, done]
            .into_iter()
            .chain(["response.content_part.done".into(), "response.output_item.done".into()])
    };
    let call = || {
        ["response.output_item.added", "response.function_call_arguments.delta"]
            .into_iter()
            .chain(["response.function_call_arguments.done", "response.output_item.done"])
            .map(str::to_owned)
    };
    let mut expected = vec!["response.created".to_owned(), "response.in_progress".into()];
    expected.extend(parts("reasoning_text").chain(parts("output_text")).chain(call()).chain(call()));
    expected.push("response.completed".into());
    assert_eq!(names(&events), expected);
    for (_, event) in &events[..2] {
        let response = &event["response"];
        assert_eq!((&response["status"], &response["output"]), (&json!("in_progress"), &json!([])));
        assert!(response["usage"].is_null() && response["completed_at"].is_null());
    }
    let response = assembled(&events);
    let usage = &response["usage"];
    assert!(usage["output_tokens_details"]["reasoning_tokens"].as_u64().unwrap() > 3);
    let sum = usage["input_tokens"].as_u64().unwrap() + usage["output_tokens"].as_u64().unwrap();
    assert_eq!(usage["total_tokens"], sum);
    let output = response["output"].as_array().unwrap();
    assert_eq!(output[0]["content"][0], json!({ "type": "reasoning_text", "text": "It may rain." }));
    assert_eq!(output[1]["content"][0]["text"], "Let me see.");
    assert_eq!(output[2]["name"], "get_weather");
    let arguments: Value = serde_json::from_str(output[2]["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "city": "Oslo" }));
    // Ids are of one kind each, and differ.
    for (item, prefix) in output.iter().zip(["rs_", "msg_", "fc_", "fc_"]) {
        assert!(item["id"].as_str().unwrap().starts_with(prefix), "{item}");
    }
    assert!(output[2]["id"] != output[3]["id"] && output[2]["call_id"] != output[3]["call_id"]);
    let whole = ask(&server, &question(&json!({})));
    assert_eq!(plain(&whole), plain(&response));
    assert_eq!((&whole["status"], &whole["object"]), (&json!("completed"), &json!("response")));
    assert_eq!((&whole["usage"]["output_tokens"], &whole["tools"]), (&usage["output_tokens"], &tools()));
}

#[test]
fn reasoning_may_be_a_summary_that_clients_send_back_or_nothing() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let members = json!({ "reasoning": { "summary": "auto" }, "include": ["reasoning.encrypted_content"] });
    let events = stream(&server, &question(&members));
    let names = names(&events);
    assert_eq!(
        names[2..8],
        [
            "response.output_item.added",
            "response.reasoning_summary_part.added",
            "response.reasoning_summary_text.delta",
            "response.reasoning_summary_text.done",
            "response.reasoning_summary_part.done",
            "response.output_item.done",
        ]
    );
    let response = assembled(&events);
    let item = &response["output"][0];
    assert_eq!(item["summary"], json!([{ "type": "summary_text", "text": "It may rain." }]));
    assert!(item.get("content").is_none());
    assert_eq!(response["reasoning"]["summary"], "auto");
    assert_eq!(plain(&ask(&server, &question(&members))), plain(&response));
    // The next prompt has it from either field.
    let tokens = |item: &Value| {
        let turn = json!([{ "role": "user", "content": "Rain?" }, item,
                          { "role": "assistant", "content": "Yes." }, { "role": "user", "content": "Why?" }]);
        let reply = server.post("/v1/responses/input_tokens", &json!({ "input": turn }));
        reply.json()["input_tokens"].as_u64().unwrap()
    };
    let encrypted =
        json!({ "type": "reasoning", "summary": [], "encrypted_content": item["encrypted_content"] });
    let raw = json!({ "type": "reasoning", "summary": [],
                      "content": [{ "type": "reasoning_text", "text": "It may rain." }] });
    assert_eq!([tokens(item), tokens(&encrypted)], [tokens(&raw); 2]);
    let hidden = ask(&server, &question(&json!({ "include_reasoning": false })));
    assert_eq!(hidden["output"][0]["type"], "message");
    assert_eq!(
        assembled(&stream(&server, &question(&json!({ "include_reasoning": false }))))["status"],
        "completed"
    );
}

#[test]
fn log_probabilities_are_those_of_the_messages_text() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let members = json!({ "include": ["message.output_text.logprobs"], "top_logprobs": 2 });
    let response = assembled(&stream(&server, &question(&members)));
    let part = &response["output"][1]["content"][0];
    let logprobs = part["logprobs"].as_array().unwrap();
    let text: String = logprobs.iter().map(|token| token["token"].as_str().unwrap()).collect();
    // The last token goes on behind the text.
    assert!(text.trim_start().starts_with("Let me see"), "{text:?}");
    assert!(logprobs.iter().all(|token| token["top_logprobs"].as_array().unwrap().len() == 2));
    assert_eq!(plain(&ask(&server, &question(&members))), plain(&response));
    assert_eq!(response["top_logprobs"], 2);
}

#[test]
fn an_answer_that_is_cut_is_incomplete_and_keeps_what_it_said() {
    let server = start(Settings::default());
    server.say(ANSWER);
    for most in (1..100).step_by(9) {
        let body = question(&json!({ "max_output_tokens": most }));
        let (whole, streamed) = (ask(&server, &body), assembled(&stream(&server, &body)));
        assert_eq!(plain(&whole), plain(&streamed), "{most}");
        assert_eq!(whole["status"], streamed["status"]);
        if whole["status"] == "completed" {
            assert!(whole["incomplete_details"].is_null());
            return;
        }
        assert_eq!(whole["incomplete_details"], json!({ "reason": "max_output_tokens" }));
        assert_eq!(whole["usage"]["output_tokens"], most);
        assert_eq!(whole["output"].as_array().unwrap().last().unwrap()["status"], "incomplete");
    }
    panic!("it never ended");
}

#[test]
fn a_conversation_has_the_tokens_that_it_has_as_a_chat() {
    let server = start(Settings::default());
    let arguments = "{\"city\": \"Oslo\"}";
    let call = |id: &str| json!({ "type": "function_call", "id": "fc_1", "call_id": id, "name": "get_weather", "arguments": arguments });
    let function = json!({ "name": "get_weather", "arguments": arguments });
    let called = |id: &str| json!({ "id": id, "type": "function", "function": function });
    let tools: Vec<Value> = tools()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| json!({ "type": "function", "function": { "name": tool["name"], "parameters": tool["parameters"] } }))
        .collect();
    let response = ask(
        &server,
        &question(&json!({
            "instructions": "Be brief.",
            "input": [
                { "role": "user", "content": [{ "type": "input_text", "text": "Rain?" }] },
                { "type": "message", "role": "assistant", "id": "msg_1", "status": "completed",
                  "content": [{ "type": "output_text", "text": "Let me see.", "annotations": [] }] },
                call("a"),
                call("b"),
                { "type": "function_call_output", "call_id": "a", "output": "rain" },
                { "type": "function_call_output", "call_id": "b", "output": [{ "type": "input_text", "text": "sun" }] },
                { "role": "user", "content": "So?" },
            ],
            "max_output_tokens": 12, "tool_choice": "none",
        })),
    );
    let chat = json!({
        "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "Rain?" },
            { "role": "assistant", "content": "Let me see.", "tool_calls": [called("a"), called("b")] },
            { "role": "tool", "tool_call_id": "a", "content": "rain" },
            { "role": "tool", "tool_call_id": "b", "content": "sun" },
            { "role": "user", "content": "So?" },
        ],
        "max_tokens": 12, "tools": tools, "tool_choice": "none", "temperature": 0,
    });
    let chat = server.post("/v1/chat/completions", &chat).json();
    assert_eq!(response["usage"]["input_tokens"], chat["usage"]["prompt_tokens"], "{chat}");
    assert_eq!(response["usage"]["output_tokens"], chat["usage"]["completion_tokens"]);
    let texts = response["output"].as_array().unwrap().iter().filter(|item| item["type"] == "message");
    let text: String = texts.map(|item| item["content"][0]["text"].as_str().unwrap()).collect();
    assert_eq!(text, chat["choices"][0]["message"]["content"].as_str().unwrap());
}

#[test]
fn a_failure_after_the_start_is_the_last_event() {
    use std::io::BufRead;
    let server = start(Settings::default());
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(20);
    let body = json!({ "input": "Tell me a story.", "stream": true, "ignore_eos": true });
    let mut reader = server.open_stream(PATH, &body);
    let (mut text, mut id) = (String::new(), String::new());
    while reader.read_line(&mut text).unwrap() > 0 {
        let data = text.lines().last().and_then(|line| line.strip_prefix("data: "));
        if let Some(event) = data.map(|data| serde_json::from_str::<Value>(data).unwrap())
            && id.is_empty()
        {
            id = event["response"]["id"].as_str().unwrap().to_owned();
            assert_eq!(server.post(&format!("/admin/requests/{id}/cancel"), &json!({})).status, 200);
        }
    }
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("data: ")).collect();
    let last: Vec<Value> = lines[lines.len() - 2..]
        .iter()
        .map(|line| serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap())
        .collect();
    assert_eq!((&last[0]["type"], &last[0]["code"]), (&json!("error"), &json!("request_cancelled")));
    assert_eq!(
        (&last[1]["type"], &last[1]["response"]["status"]),
        (&json!("response.failed"), &json!("failed"))
    );
    assert_eq!(last[1]["response"]["error"]["code"], "server_error");
    assert_eq!(last[1]["response"]["output"][0]["status"], "incomplete");
    assert_eq!(last[1]["sequence_number"], lines.len() - 1);
    server.wait_until(Server::is_idle);
}

/// Puts placeholders for ids and times.
fn normal(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, found) in members.iter_mut() {
                match name.as_str() {
                    "id" | "item_id" | "call_id" => *found = "ID".into(),
                    "created_at" | "completed_at" if !found.is_null() => *found = "T".into(),
                    "timings" => *found = "X".into(),
                    _ => normal(found),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(normal),
        _ => {}
    }
}

#[test]
fn answers_keep_their_bytes() {
    let server = start(Settings::default());
    // Tokens that come together are told together: here each comes alone.
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(20);
    let body = json!({ "input": "Tell me a story.", "max_output_tokens": 3, "temperature": 0 });
    for (name, streams) in [("responses_whole.txt", false), ("responses_stream.txt", true)] {
        let text = server.post(PATH, &with(body.clone(), &json!({ "stream": streams }))).text();
        let line = |line: &str| {
            let (prefix, data) = match line.strip_prefix("data: ") {
                Some(data) => ("data: ", data),
                None => ("", line),
            };
            let Ok(mut value) = serde_json::from_str::<Value>(data) else { return line.to_owned() };
            normal(&mut value);
            format!("{prefix}{value}")
        };
        let found = text.lines().map(line).collect::<Vec<_>>().join("\n").trim_end().to_owned() + "\n";
        let file = xtask::testing::root().join("crates/inferno-server/src/tests/transcripts").join(name);
        if std::env::var_os("INFERNO_UPDATE").is_some() {
            std::fs::write(&file, &found).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(found, expected, "{name}: INFERNO_UPDATE=1 writes it");
    }
}
