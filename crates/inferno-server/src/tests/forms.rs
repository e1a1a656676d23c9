//! Answers that must have a form.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

fn body(path: &str, members: &Value) -> Value {
    let mut body = match path {
        CHAT => json!({ "messages": [{ "role": "user", "content": "Tell me." }], "max_tokens": 200 }),
        _ => json!({ "prompt": "Once", "max_tokens": 200 }),
    };
    body["temperature"] = json!(1.5);
    body["seed"] = json!(1);
    body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    body
}

#[track_caller]
fn answers(server: &Server, path: &str, members: &Value) -> Vec<String> {
    let reply = server.post(path, &body(path, members));
    assert_eq!(reply.status, 200, "{path} {members}: {}", reply.text());
    let reply = reply.json();
    let text = |choice: &Value| {
        assert_eq!(choice["finish_reason"], "stop", "{path} {members}: {reply}");
        let text = if path == CHAT { &choice["message"]["content"] } else { &choice["text"] };
        text.as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
    };
    reply["choices"].as_array().unwrap().iter().map(text).collect()
}

#[test]
fn every_way_to_ask_for_a_form_gives_answers_of_it() {
    let server = start(Settings::default());
    let schema = json!({
        "type": "object",
        "properties": { "ok": { "type": "boolean" }, "kind": { "enum": ["a", "b"] } },
        "required": ["ok", "kind"],
        "additionalProperties": false,
    });
    let format =
        json!({ "type": "json_schema", "json_schema": { "name": "x", "strict": true, "schema": schema } });
    for members in [
        json!({ "response_format": format, "n": 3 }),
        json!({ "json_schema": schema, "logprobs": null }),
        json!({ "guided_json": schema.to_string(), "frequency_penalty": 1 }),
        json!({ "structured_outputs": { "json": schema }, "stop": ["never"] }),
    ] {
        for path in [CHAT, TEXT] {
            for text in answers(&server, path, &members) {
                let value: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                assert!(
                    value["ok"].is_boolean() && ["a", "b"].contains(&value["kind"].as_str().unwrap()),
                    "{text}"
                );
            }
        }
    }
    for (members, expected) in [
        (json!({ "guided_choice": ["red", "blue"] }), ["red", "blue"]),
        (json!({ "regex": "red|blue" }), ["red", "blue"]),
        (json!({ "structured_outputs": { "grammar": "start: \"red\" | \"blue\"" } }), ["red", "blue"]),
    ] {
        for path in [CHAT, TEXT] {
            for text in answers(&server, path, &members) {
                assert!(expected.contains(&text.as_str()), "{members}: {text:?}");
            }
        }
    }
}

#[test]
fn a_form_that_cannot_be_kept_is_refused_with_its_field_and_the_place() {
    let server = start(Settings::default());
    let wrong =
        json!({ "type": "object", "properties": { "a": { "$ref": "#/nowhere" } }, "required": ["a"] });
    let format = json!({ "type": "json_schema", "json_schema": { "name": "x", "schema": wrong } });
    let form = json!({ "json_schema": {} });
    let with = |members: Value| {
        let mut all = form.clone();
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        all
    };
    for (members, param, words) in [
        (json!({ "response_format": format }), "response_format.json_schema.schema", "cannot be kept"),
        (json!({ "json_schema": wrong }), "json_schema", "#/nowhere"),
        (json!({ "regex": "(" }), "regex", "cannot be kept"),
        (with(json!({ "ignore_eos": true })), "ignore_eos", "says where the answer ends"),
        (with(json!({ "allowed_token_ids": [5, 6] })), "allowed_token_ids", "which tokens may come"),
        (with(json!({ "min_tokens": 3 })), "min_tokens", "says where the answer ends"),
        (with(json!({ "regex": "a" })), "regex", "expected one of them"),
    ] {
        for path in [CHAT, TEXT] {
            let reply = server.post(path, &body(path, &members));
            let expected = (400, "invalid_value".to_owned(), param.to_owned());
            assert_eq!(reply.error(), expected, "{path} {members}: {}", reply.text());
            assert!(reply.text().contains(words), "{path} {members}: {}", reply.text());
        }
    }
    server.wait_until(Server::is_idle);
}

#[test]
fn an_answer_is_a_call_or_of_the_form() {
    let server = start(Settings::default());
    let schema = json!({ "enum": ["red", "blue"] });
    let tools = json!([tool("f", &json!({ "type": "boolean" }))]);
    let call = server.post("/tokenize", &json!({ "content": "<tool_call>" })).json()["tokens"].clone();
    assert_eq!(call.as_array().map(Vec::len), Some(1), "{call}");
    let call = call[0].to_string();
    for (choice, bias, calls) in
        [("auto", json!(false), false), ("auto", json!(100), true), ("none", json!(100), false)]
    {
        let members = json!({
            "tools": tools, "tool_choice": choice, "json_schema": schema,
            "logit_bias": { (think(&server)): false, (call.clone()): bias },
        });
        let reply = server.post(CHAT, &body(CHAT, &members));
        assert_eq!(reply.status, 200, "{}", reply.text());
        let message = &reply.json()["choices"][0]["message"];
        let is_call = message["tool_calls"][0]["function"]["name"] == "f";
        let has_form = ["\"red\"", "\"blue\""].iter().any(|text| message["content"] == *text);
        assert_eq!((is_call, has_form), (calls, !calls), "{members}: {message}");
    }
}

#[test]
fn a_malformed_schema_is_refused_with_its_tool_and_place() {
    let server = start(Settings::default());
    let wrong = json!({ "type": "object", "properties": { "a": { "type": 5 } } });
    let odd = json!({ "type": "object", "properties": { "a": { "pattern": "(?=a)b" } } });
    let function = |name: &str, schema: &Value| json!({ "name": name, "parameters": schema });
    let tool = |name: &str, schema: &Value| json!({ "type": "function", "function": function(name, schema) });
    for (members, param) in [
        (json!({ "tools": [tool("f", &odd), tool("g", &wrong)] }), "tools[1].function.parameters"),
        (json!({ "functions": [function("g", &wrong)] }), "functions[0].parameters"),
    ] {
        let reply = server.post(CHAT, &body(CHAT, &members));
        let expected = (400, "invalid_value".to_owned(), param.to_owned());
        assert_eq!(reply.error(), expected, "{}", reply.text());
        assert!(reply.text().contains("#/properties/a/type"), "{}", reply.text());
    }
    let reply = server.post(CHAT, &body(CHAT, &json!({ "tools": [tool("f", &odd)] })));
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[test]
fn a_model_that_is_told_to_reason_does_so_before_the_form() {
    let server = start(Settings::default());
    let members = json!({
        "guided_choice": ["red", "blue"], "enable_thinking": true, "reasoning_format": "none", "reasoning_budget": 5,
        "logit_bias": { (think(&server)): 100 },
    });
    for text in answers(&server, CHAT, &members) {
        let (reasoning, answer) = text.rsplit_once("</think>").unwrap_or_else(|| panic!("{text:?}"));
        assert!(reasoning.starts_with("<think>") && ["red", "blue"].contains(&answer.trim()), "{text:?}");
    }
}

/// The id of the token that opens Ember's reasoning.
fn think(server: &Server) -> String {
    let ids = server.post("/tokenize", &json!({ "content": "<think>" })).json()["tokens"].clone();
    assert_eq!(ids.as_array().map(Vec::len), Some(1), "{ids}");
    ids[0].to_string()
}

/// A tool whose arguments are an object of one member.
fn tool(name: &str, member: &Value) -> Value {
    let parameters = json!({
        "type": "object", "properties": { "a": member }, "required": ["a"], "additionalProperties": false,
    });
    json!({ "type": "function", "function": { "name": name, "parameters": parameters, "strict": true } })
}

#[test]
fn a_call_that_must_come_comes_and_fits_its_schema() {
    let server = start(Settings::default());
    let tools = json!([tool("f", &json!({ "type": "boolean" })), tool("g", &json!({ "enum": ["x", "y"] }))]);
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    for (choice, names) in
        [(json!("required"), vec!["f", "g"]), (named("g"), vec!["g"]), (named("f"), vec!["f"])]
    {
        for seed in 0..4 {
            let members = json!({
                "tools": tools, "tool_choice": choice, "parallel_tool_calls": false, "seed": seed, "n": 2,
                // Three layers of Ember do not find the end of their reasoning.
                "logit_bias": { (think(&server)): false },
            });
            let reply = server.post(CHAT, &body(CHAT, &members));
            assert_eq!(reply.status, 200, "{}", reply.text());
            for choice in reply.json()["choices"].as_array().unwrap() {
                let calls = choice["message"]["tool_calls"].as_array().unwrap_or_else(|| panic!("{choice}"));
                assert_eq!((calls.len(), &choice["finish_reason"]), (1, &json!("tool_calls")), "{choice}");
                let name = calls[0]["function"]["name"].as_str().unwrap();
                let arguments: Value =
                    serde_json::from_str(calls[0]["function"]["arguments"].as_str().unwrap()).unwrap();
                let fits = match name {
                    "f" => arguments["a"].is_boolean(),
                    _ => ["x", "y"].contains(&arguments["a"].as_str().unwrap_or_default()),
                };
                assert!(names.contains(&name) && fits, "{choice}");
            }
        }
    }
}

#[test]
fn functions_are_answered_with_the_older_function_call() {
    let server = start(Settings::default());
    let function = tool("f", &json!({ "type": "boolean" }))["function"].clone();
    let mut members = json!({
        "functions": [function], "function_call": { "name": "f" }, "logit_bias": { (think(&server)): false },
    });
    let whole = server.post(CHAT, &body(CHAT, &members)).json();
    let choice = &whole["choices"][0];
    assert_eq!(
        (&choice["finish_reason"], choice["message"].get("tool_calls")),
        (&json!("function_call"), None)
    );
    let call = &choice["message"]["function_call"];
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert!(call["name"] == "f" && arguments["a"].is_boolean(), "{whole}");

    members["stream"] = json!(true);
    let events = server.post(CHAT, &body(CHAT, &members)).events();
    let deltas = || events.iter().filter_map(|event| event["choices"][0]["delta"].get("function_call"));
    let names: Vec<&Value> = deltas().filter_map(|delta| delta.get("name")).collect();
    let streamed: String = deltas().filter_map(|delta| delta["arguments"].as_str()).collect();
    assert_eq!((names, streamed.as_str()), (vec![&json!("f")], call["arguments"].as_str().unwrap()));
    let reasons = events.iter().filter_map(|event| event["choices"][0]["finish_reason"].as_str());
    assert_eq!(reasons.collect::<Vec<_>>(), ["function_call"]);
}

#[test]
fn a_tool_whose_schema_cannot_be_kept_is_named() {
    let server = start(Settings::default());
    let tools = json!([tool("f", &json!({})), tool("g", &json!({ "$ref": "#/nowhere" }))]);
    let choice = json!({ "type": "function", "function": { "name": "g" } });
    let reply = server.post(CHAT, &body(CHAT, &json!({ "tools": tools, "tool_choice": choice })));
    let expected = (400, "invalid_value".to_owned(), "tools[1].function.parameters".to_owned());
    assert_eq!(reply.error(), expected, "{}", reply.text());
}
