//! Ollama's `/api`.

use std::sync::Arc;

use serde_json::{Value, json};

use super::dialects::ANSWER;
use super::harness::{Reply, Server};
use super::start;
use crate::{Library, Settings};

const CHAT: &str = "/api/chat";
const GENERATE: &str = "/api/generate";

fn with(mut body: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn question(members: &Value) -> Value {
    let user = json!({ "role": "user", "content": "Rain?" });
    with(json!({ "model": "ember", "messages": [user], "options": { "temperature": 0 } }), members)
}

fn tools() -> Value {
    let schema = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tool = |name: &str| json!({ "type": "function", "function": { "name": name, "parameters": schema } });
    json!([tool("get_weather"), tool("get_time")])
}

#[track_caller]
fn ask(server: &Server, path: &str, body: &Value) -> Value {
    let reply = server.post(path, &with(body.clone(), &json!({ "stream": false })));
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/json")),
        "{}",
        reply.text()
    );
    reply.json()
}

/// The lines of a stream, which is the default.
#[track_caller]
fn lines(server: &Server, path: &str, body: &Value) -> Vec<Value> {
    let reply = server.post(path, body);
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (200, Some("application/x-ndjson")),
        "{}",
        reply.text()
    );
    reply.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The answer that a client assembles from a stream.
#[track_caller]
fn assembled(lines: &[Value]) -> Value {
    let (last, before) = lines.split_last().unwrap();
    let mut all = last.clone();
    assert_eq!(last["done"], true);
    for line in before {
        assert!(line["done"] == false && line.get("done_reason").is_none(), "{line}");
        for (pointer, member) in
            [("/message", "content"), ("/message", "thinking"), ("", "response"), ("", "thinking")]
        {
            let Some(more) = line.pointer(pointer).and_then(|part| part[member].as_str()) else { continue };
            let part = all.pointer_mut(pointer).unwrap();
            let before = part[member].as_str().unwrap_or_default().to_owned();
            part[member] = (before + more).into();
        }
        let more = line["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
        if !more.is_empty() {
            let mut calls = all["message"]["tool_calls"].as_array().cloned().unwrap_or_default();
            calls.extend(more);
            all["message"]["tool_calls"] = calls.into();
        }
    }
    all
}

/// Without ids and times.
fn plain(mut answer: Value) -> Value {
    for call in answer["message"]["tool_calls"].as_array_mut().into_iter().flatten() {
        call.as_object_mut().unwrap().remove("id").unwrap();
    }
    let members = answer.as_object_mut().unwrap();
    if members["message"].is_null() {
        members.remove("message");
    }
    members.retain(|name, _| !name.ends_with("_duration") && name != "created_at");
    answer
}

#[track_caller]
fn both(server: &Server, path: &str, body: &Value) -> Value {
    let whole = ask(server, path, body);
    assert_eq!(plain(assembled(&lines(server, path, body))), plain(whole.clone()), "{body}");
    whole
}

#[test]
fn a_chat_streams_lines_that_are_equal_to_the_whole() {
    let server = start(Settings::default());
    server.say(ANSWER);
    let answer = both(&server, CHAT, &question(&json!({ "tools": tools() })));
    assert_eq!(answer["message"]["thinking"], "It may rain.");
    assert_eq!(
        (&answer["message"]["role"], &answer["message"]["content"]),
        (&json!("assistant"), &json!("Let me see."))
    );
    let calls = answer["message"]["tool_calls"].as_array().unwrap();
    let said: Vec<_> =
        calls.iter().map(|call| (&call["function"]["name"], &call["function"]["arguments"])).collect();
    assert_eq!(said, [(&json!("get_weather"), &json!({ "city": "Oslo" })), (&json!("get_time"), &json!({}))]);
    assert_eq!(
        (&answer["done"], &answer["done_reason"], &answer["model"]),
        (&json!(true), &json!("stop"), &json!("ember"))
    );
    for name in ["total_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"]
    {
        assert!(answer[name].as_u64().is_some_and(|n| n > 0), "{name}: {answer}");
    }
    assert!(answer["total_duration"].as_u64() >= answer["eval_duration"].as_u64());
    assert!(answer["created_at"].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z')));
    for most in [1, 20, 40] {
        let options = json!({ "temperature": 0, "num_predict": most });
        both(&server, CHAT, &question(&json!({ "tools": tools(), "options": options })));
    }
}

#[test]
fn tokens_are_those_of_the_other_dialects() {
    let server = start(Settings::default());
    let members = json!({ "temperature": 0, "max_tokens": 12, "ignore_eos": true });
    let options =
        json!({ "temperature": 0, "num_predict": 12, "ignore_eos": true, "num_ctx": 4096, "num_gpu": 99 });
    let messages = json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "Tell me a story." }]);
    let reply =
        server.post("/v1/chat/completions", &with(members.clone(), &json!({ "messages": messages }))).json();
    let text = &reply["choices"][0]["message"]["content"];
    let chat = both(&server, CHAT, &json!({ "messages": messages, "options": options }));
    assert_eq!((&chat["message"]["content"], &chat["done_reason"]), (text, &json!("length")));
    assert_eq!(
        (&chat["prompt_eval_count"], &chat["eval_count"]),
        (&reply["usage"]["prompt_tokens"], &json!(12))
    );
    let prompt = json!({ "prompt": "Tell me a story.", "system": "Be brief.", "options": options });
    assert_eq!(both(&server, GENERATE, &prompt)["response"], *text);
    let reply = server.post("/v1/completions", &with(members, &json!({ "prompt": "Once upon" }))).json();
    let raw = json!({ "prompt": "Once upon", "raw": true, "options": options });
    assert_eq!(both(&server, GENERATE, &raw)["response"], reply["choices"][0]["text"]);
}

#[test]
fn a_system_text_beside_the_messages_is_ignored_and_the_answer_says_so() {
    let server = start(Settings::default());
    let plain = question(&json!({ "options": { "temperature": 0, "num_predict": 4 } }));
    let expected = ask(&server, CHAT, &plain);
    assert!(expected.get("warnings").is_none());
    let answer = both(&server, CHAT, &with(plain.clone(), &json!({ "system": "Be brief." })));
    assert_eq!(answer["message"], expected["message"]);
    let warning = answer["warnings"][0].as_str().unwrap();
    assert!(
        warning.starts_with("`system` is ignored") && warning.contains("message whose `role`"),
        "{warning}"
    );
    let neutral = ask(&server, CHAT, &with(plain, &json!({ "system": "" })));
    assert!(neutral.get("warnings").is_none());
}

#[test]
fn forms_thoughts_and_log_probabilities_are_asked_for_in_ollamas_words() {
    let server = start(Settings::default());
    let schema = json!({ "type": "object", "properties": { "city": { "enum": ["Oslo"] } }, "required": ["city"], "additionalProperties": false });
    let answer = both(&server, CHAT, &question(&json!({ "format": schema, "think": false })));
    assert_eq!(
        serde_json::from_str::<Value>(answer["message"]["content"].as_str().unwrap()).unwrap(),
        json!({ "city": "Oslo" })
    );
    server.say("{\"a\": 1}");
    let answer = both(&server, CHAT, &question(&json!({ "format": "json", "think": false })));
    assert_eq!(answer["message"]["content"], "{\"a\": 1}");
    server.say("Wind and rain.");
    let options = json!({ "temperature": 0, "num_predict": 3 });
    let body = question(&json!({ "logprobs": true, "top_logprobs": 2, "options": options }));
    let tokens = ask(&server, CHAT, &body)["logprobs"].as_array().unwrap().clone();
    assert!(tokens.len() == 3 && tokens[0]["top_logprobs"].as_array().unwrap().len() == 2, "{tokens:?}");
    let streamed: Vec<Value> = lines(&server, CHAT, &body)
        .iter()
        .flat_map(|line| line["logprobs"].as_array().cloned().unwrap_or_default())
        .collect();
    assert_eq!(streamed, tokens);
    server.say(" and rain.");
    let said = json!([{ "role": "user", "content": "Rain?" }, { "role": "assistant", "content": "Wind" }]);
    assert_eq!(
        both(&server, CHAT, &question(&json!({ "messages": said })))["message"]["content"],
        " and rain."
    );
}

#[test]
fn results_of_calls_and_thoughts_go_to_the_prompt() {
    let server = start(Settings::default());
    let call = json!({ "function": { "name": "get_weather", "arguments": { "city": "Oslo" } } });
    let user = json!({ "role": "user", "content": "Rain?" });
    let ollama = json!({ "tools": tools(), "options": { "num_predict": 1 }, "messages": [
        user, { "role": "assistant", "thinking": "Ask.", "tool_calls": [call], "images": [] },
        { "role": "tool", "tool_name": "get_weather", "content": "Rain" }, user,
    ] });
    let openai = json!({ "tools": tools(), "messages": [
        user, { "role": "assistant", "reasoning_content": "Ask.", "tool_calls": [call] },
        { "role": "tool", "name": "get_weather", "content": "Rain" }, user,
    ] });
    let count = server.post("/tokenize", &openai).json()["count"].clone();
    assert_eq!(ask(&server, CHAT, &ollama)["prompt_eval_count"], count);
}

#[test]
fn the_model_is_listed_and_described() {
    let server = start(Settings::default());
    let tags = server.get("/api/tags").json()["models"][0].clone();
    assert_eq!(
        (&tags["name"], &tags["model"], &tags["size"]),
        (&json!("ember:latest"), &json!("ember:latest"), &json!(9_106_176))
    );
    assert_eq!(tags["digest"].as_str().unwrap().len(), 64);
    let details = json!({ "parent_model": "", "format": "gguf", "family": "qwen3", "families": ["qwen3"], "parameter_size": "8.4M", "quantization_level": "Q8_0" });
    assert_eq!(tags["details"], details);
    let ps = server.get("/api/ps").json()["models"][0].clone();
    assert!(ps["digest"] == tags["digest"] && ps["context_length"].as_u64().is_some_and(|n| n > 100), "{ps}");
    assert!(ps["expires_at"].as_str() > tags["modified_at"].as_str());
    for name in
        [json!({ "model": "ember" }), json!({ "name": "ember:latest" }), json!({ "model": "alias:latest" })]
    {
        let shown = server.post("/api/show", &name).json();
        assert_eq!(shown["details"], details, "{name}: {shown}");
        assert!(shown["capabilities"].as_array().unwrap().contains(&json!("tools")), "{shown}");
        assert!(shown["template"].as_str().unwrap().contains("message"));
        assert_eq!(shown["model_info"]["general.architecture"], "qwen3");
        assert!(shown["model_info"]["qwen3.context_length"].is_u64());
    }
    assert!(server.get("/api/version").json()["version"].as_str().unwrap().starts_with("0."));
    for (path, member) in [(CHAT, "messages"), (GENERATE, "prompt")] {
        for body in [
            json!({ "model": "ember:latest" }),
            json!({ "model": "ember:latest", member: "", "keep_alive": 0 }),
        ] {
            let loaded = server.post(path, &body).json();
            assert_eq!((&loaded["done"], &loaded["done_reason"]), (&json!(true), &json!("load")), "{loaded}");
            assert_eq!(loaded["model"], "ember:latest");
        }
    }
    assert_eq!(server.post("/api/pull", &json!({ "model": "ember" })).json(), json!({ "status": "success" }));
}

#[test]
fn errors_are_strings_and_say_what_to_do() {
    let server = start(Settings::default());
    let image = json!([{ "role": "user", "content": "x", "images": ["AAAA"] }]);
    let generate = |members: Value| with(json!({ "prompt": "Once" }), &members);
    for (path, body, status, words) in [
        (
            CHAT,
            question(&json!({ "model": "llama3:8b" })),
            404,
            "`llama3:8b` does not exist here, expected `ember`",
        ),
        (CHAT, question(&json!({ "model": 7 })), 400, "`model` is 7"),
        (CHAT, question(&json!({ "messages": { "a": 1 } })), 400, "`messages` is an object"),
        (CHAT, question(&json!({ "messages": [1] })), 400, "`messages[0]` is 1"),
        (CHAT, question(&json!({ "messages": image })), 400, "`messages[0].images` is not supported"),
        (CHAT, question(&json!({ "options": 1 })), 400, "`options` is 1"),
        (
            CHAT,
            question(&json!({ "options": { "num_predict": 0 } })),
            400,
            "`options.num_predict` is 0, expected an integer from 1",
        ),
        (CHAT, question(&json!({ "options": { "temperature": 3 } })), 400, "`temperature` is 3"),
        (CHAT, question(&json!({ "options": { "tfs_z": 0.5 } })), 400, "`tfs_z` is not supported"),
        (CHAT, question(&json!({ "format": "xml" })), 400, "`format` is \"xml\""),
        (CHAT, question(&json!({ "format": { "type": "objekt" } })), 400, "`format` cannot be kept"),
        (CHAT, question(&json!({ "stream": 1 })), 400, "`stream` is 1"),
        (CHAT, question(&json!({ "think": 1 })), 400, "`think` is 1"),
        (CHAT, question(&json!({ "n": 2 })), 400, "`n` is not a parameter of `/api`"),
        (GENERATE, generate(json!({ "suffix": "x" })), 400, "`suffix` is not supported"),
        (GENERATE, generate(json!({ "template": "x" })), 400, "`template` is not supported"),
        (GENERATE, generate(json!({ "context": [1] })), 400, "`context` is not supported"),
        (GENERATE, generate(json!({ "images": ["AAAA"] })), 400, "`images` is not supported"),
        (GENERATE, generate(json!({ "tools": tools() })), 400, "use `/api/chat`"),
        (GENERATE, generate(json!({ "raw": true, "think": true })), 400, "`think` is not supported"),
        (GENERATE, generate(json!({ "raw": "x" })), 400, "`raw` is \"x\""),
        ("/api/embed", json!({ "model": "ember", "input": "x" }), 501, "embeddings"),
        ("/api/embeddings", json!({ "model": "ember", "prompt": "x" }), 501, "embeddings"),
        ("/api/pull", json!({ "model": "llama3" }), 501, "`inferno pull`"),
        ("/api/pull", json!({}), 400, "`model` is missing"),
        ("/api/copy", json!({ "source": "ember" }), 400, "`destination` is missing"),
        ("/api/copy", json!({ "source": "ember", "destination": 1 }), 400, "`destination` is 1"),
        ("/api/copy", json!({ "source": "x", "destination": "y" }), 404, "`x` does not exist"),
        ("/api/create", json!({ "model": "x" }), 501, "GGUF"),
        ("/api/show", json!({ "model": "x" }), 404, "`x` does not exist"),
        ("/api/tags", json!({}), 405, "does not answer POST"),
        ("/api/nothing", json!({}), 404, "`/api/nothing`"),
    ] {
        let reply = server.post(path, &body);
        let error = reply.json();
        let message = error["error"].as_str().unwrap_or_else(|| panic!("{path} {body}: {error}"));
        assert_eq!(reply.status, status, "{path} {body}: {message}");
        assert!(message.contains(words), "{path} {body}: {message:?} has no {words:?}");
    }
    let deleted = delete(&server, "ember");
    assert!(deleted.status == 501 && deleted.json()["error"].as_str().unwrap().contains("`inferno rm`"));
}

/// Sends a request for the deletion of a model.
fn delete(server: &Server, name: &str) -> Reply {
    let body = json!({ "model": name }).to_string();
    let n = body.len();
    let head =
        format!("DELETE /api/delete HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n}\r\nConnection: close");
    server.raw(format!("{head}\r\n\r\n{body}"))
}

#[test]
fn a_copy_is_another_name_of_the_model_until_it_is_deleted() {
    let server = start(Settings::default());
    let copy = |name: &str| {
        server.post("/api/copy", &json!({ "source": "ember:latest", "destination": name })).status
    };
    let names = || {
        let tags = server.get("/api/tags").json();
        let all: Vec<String> = tags["models"]
            .as_array()
            .unwrap()
            .iter()
            .map(|model| model["name"].as_str().unwrap().to_owned())
            .collect();
        all
    };
    let before = names();
    let body = json!({ "model": "mine", "messages": [], "keep_alive": 1 });
    assert_eq!((server.post(CHAT, &body).status, copy("mine:latest"), copy("mine")), (404, 200, 200));
    assert_eq!(server.post(CHAT, &body).json()["done_reason"], "load");
    assert_eq!(server.get("/v1/models/mine").status, 200);
    assert_eq!(names(), [before.clone(), vec!["mine:latest".to_owned()]].concat());
    assert_eq!((delete(&server, "mine").status, delete(&server, "mine").status), (200, 501));
    assert_eq!((names(), server.post(CHAT, &body).status), (before, 404));
    let most = (0..100).take_while(|i| copy(&format!("m{i}")) == 200).count();
    let refused = server.post("/api/copy", &json!({ "source": "ember", "destination": "more" }));
    assert_eq!((most, refused.status), (64, 409), "{}", refused.text());
}

/// A library that has one model, in ten pieces.
#[derive(Debug)]
struct Shelf;

impl Library for Shelf {
    fn pull(&self, name: &str, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<(), String> {
        if name != "llama3" {
            return Err(format!("`{name}` is not on the shelf"));
        }
        let goes_on = (0..=10).all(|n| progress(n, 10));
        goes_on.then_some(()).ok_or_else(|| "the client has left".to_owned())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        if name == "llama3" { Ok(()) } else { Err(format!("`{name}` is not on the shelf")) }
    }
}

#[test]
fn other_models_are_downloaded_and_removed_by_the_program() {
    let server = start(Settings { library: Some(Arc::new(Shelf)), ..Settings::default() });
    let told = lines(&server, "/api/pull", &json!({ "model": "llama3" }));
    assert_eq!(told[0], json!({ "status": "pulling manifest" }));
    assert_eq!(told[1]["total"], 10);
    assert_eq!(told.last().unwrap(), &json!({ "status": "success" }));
    assert_eq!(ask(&server, "/api/pull", &json!({ "name": "llama3" })), json!({ "status": "success" }));
    let failed = lines(&server, "/api/pull", &json!({ "model": "x" }));
    assert_eq!(failed.last().unwrap(), &json!({ "error": "`x` is not on the shelf" }));
    let failed = server.post("/api/pull", &json!({ "model": "x", "stream": false }));
    assert_eq!((failed.status, failed.json()), (500, json!({ "error": "`x` is not on the shelf" })));
    let delete = |name: &str| delete(&server, name).status;
    assert_eq!((delete("llama3"), delete("x"), delete("ember:latest")), (200, 404, 501));
}
