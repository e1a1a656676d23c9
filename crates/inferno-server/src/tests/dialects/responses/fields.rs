//! Fields of requests: what is taken, what is refused, and under which name.

use serde_json::{Value, json};

use super::{PATH, ask, question, start, tools, with};
use crate::Settings;
use crate::tests::harness::start_with;

#[test]
fn errors_have_the_names_of_the_request() {
    let server = start(Settings::default());
    let content = |part: Value| json!([{ "role": "user", "content": [part] }]);
    let call = json!({ "type": "function_call", "call_id": "a", "name": "f", "arguments": "x" });
    let schema =
        |schema: Value| json!({ "format": { "type": "json_schema", "name": "a", "schema": schema } });
    let searching = |tool: Value| json!([{ "type": "web_search" }, tool]);
    let nowhere = json!({ "$ref": "#/nowhere" });
    let function = |parameters: &Value| json!({ "type": "function", "name": "f", "parameters": parameters });
    let (invalid, missing, unsupported) =
        ("invalid_value", "missing_required_parameter", "unsupported_parameter");
    for (members, code, param) in [
        (json!({ "input": null }), missing, "input"),
        (json!({ "input": 5 }), invalid, "input"),
        (json!({ "input": [5] }), invalid, "input[0]"),
        (json!({ "input": [{ "role": "user" }] }), missing, "input[0].content"),
        (json!({ "input": content(json!({ "type": "input_image" })) }), unsupported, "input[0].content[0]"),
        (json!({ "input": [call] }), invalid, "input[0].arguments"),
        (json!({ "instructions": 1 }), invalid, "instructions"),
        (json!({ "max_output_tokens": 0 }), invalid, "max_output_tokens"),
        (json!({ "max_output_tokens": 100_000 }), "context_length_exceeded", "null"),
        (json!({ "text": schema(Value::Null) }), missing, "text.format.schema"),
        (json!({ "text": schema(nowhere.clone()) }), invalid, "text.format.schema"),
        (json!({ "text": { "format": { "type": "xml" } } }), invalid, "text.format.type"),
        (json!({ "text": { "format": "xml" } }), invalid, "text.format"),
        (json!({ "tools": searching(json!({ "type": "function", "name": "" })) }), invalid, "tools[1].name"),
        (json!({ "tools": searching(function(&nowhere)) }), invalid, "tools[1].parameters"),
        (json!({ "tool_choice": { "type": "web_search" } }), unsupported, "tool_choice"),
        (json!({ "tool_choice": "required" }), invalid, "tool_choice"),
        (json!({ "tools": tools(), "tool_choice": { "type": "function" } }), invalid, "tool_choice.name"),
        (json!({ "reasoning": { "effort": 5 } }), invalid, "reasoning.effort"),
        (json!({ "reasoning": { "summary": "long" } }), invalid, "reasoning.summary"),
        (json!({ "include": ["x"] }), invalid, "include[0]"),
        (json!({ "truncation": "some" }), invalid, "truncation"),
        (json!({ "metadata": { "a": 1 } }), invalid, "metadata"),
        (json!({ "temperature": 3 }), invalid, "temperature"),
        (json!({ "top_logprobs": 21 }), invalid, "top_logprobs"),
        (json!({ "stream_options": {} }), invalid, "stream_options"),
        (json!({ "previous_response_id": "resp_x" }), "previous_response_not_found", "previous_response_id"),
        (json!({ "background": true, "store": false }), invalid, "background"),
        (json!({ "conversation": "conv_1" }), unsupported, "conversation"),
        (json!({ "prompt": { "id": "pmpt_1" } }), unsupported, "prompt"),
        (json!({ "messages": [{}] }), unsupported, "messages"),
        (json!({ "max_tokens": 5 }), unsupported, "max_tokens"),
        (json!({ "n": 2 }), unsupported, "n"),
        (json!({ "model": "other" }), "model_not_found", "model"),
    ] {
        let reply = server.post(PATH, &with(json!({ "input": "Hi" }), &members));
        let (status, found, name) = reply.error();
        let expected = if code == "model_not_found" { 404 } else { 400 };
        assert_eq!((status, &*found, &*name), (expected, code, param), "{members}: {}", reply.text());
        let message = reply.json()["error"]["message"].as_str().unwrap().to_owned();
        let is_named = param == "messages" || !message.contains("`messages");
        assert!(is_named && !message.contains("response_format"), "{message}");
    }
    let reference = json!({ "input": [{ "type": "item_reference", "id": "msg_x" }] });
    let reply = server.post(PATH, &reference);
    assert_eq!(reply.error(), (404, "item_not_found".into(), "input[0].id".into()));
}

#[test]
fn what_changes_no_answer_is_taken_and_told_again() {
    let server = start(Settings::default());
    let members = json!({
        "metadata": { "a": "b" }, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k", "max_tool_calls": 3,
        "service_tier": "auto", "prompt_cache_retention": "24h", "parallel_tool_calls": false, "truncation": "disabled",
        "text": { "format": { "type": "text" }, "verbosity": "low" }, "tool_choice": "auto", "store": true,
        "include": ["file_search_call.results"], "max_output_tokens": 1, "top_p": 0.5, "new_field": 1,
        "stream_options": null,
    });
    let response = ask(&server, &question(&members));
    for name in [
        "metadata",
        "user",
        "safety_identifier",
        "prompt_cache_key",
        "max_tool_calls",
        "parallel_tool_calls",
        "truncation",
        "text",
        "tool_choice",
        "store",
        "max_output_tokens",
        "top_p",
    ] {
        assert_eq!(response[name], members[name], "{name}");
    }
    for name in ["error", "instructions", "previous_response_id"] {
        assert!(response.as_object().unwrap().contains_key(name) && response[name].is_null(), "{name}");
    }
    assert_eq!((&response["temperature"], &response["service_tier"]), (&json!(0.0), &json!("default")));
    assert!(response.get("warnings").is_none(), "{response}");
}

#[test]
fn tools_of_other_kinds_are_left_out_and_named() {
    let server = start(Settings::default());
    let mut all = tools();
    let count = |tools: &Value| {
        let body = json!({ "input": "Hi", "tools": tools });
        server.post("/v1/responses/input_tokens", &body).json()["input_tokens"].clone()
    };
    let alone = count(&all);
    for kind in ["web_search", "mcp", "namespace", "image_generation", "local_shell"] {
        all.as_array_mut().unwrap().insert(0, json!({ "type": kind, "name": "x" }));
    }
    assert_eq!(count(&all), alone);
    let response = ask(&server, &question(&json!({ "tools": all, "max_output_tokens": 1 })));
    assert_eq!(response["tools"], tools());
    assert_eq!(response["warnings"].as_array().unwrap().len(), 5, "{}", response["warnings"]);
}

#[test]
fn an_empty_input_is_a_turn_and_a_form_holds() {
    let server = start(Settings::default());
    for input in [json!([]), json!("")] {
        let body = json!({ "input": input, "max_output_tokens": 1, "instructions": "x" });
        assert_eq!(ask(&server, &body)["usage"]["output_tokens"], 1);
    }
    let schema = json!({ "type": "object", "properties": { "a": { "enum": ["red"] } }, "required": ["a"],
                         "additionalProperties": false });
    let format = json!({ "type": "json_schema", "name": "colour", "strict": true, "schema": schema });
    let response = ask(&server, &json!({ "input": "Red?", "text": { "format": format } }));
    let text = response["output"].as_array().unwrap().last().unwrap()["content"][0]["text"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), json!({ "a": "red" }));
    assert_eq!(response["text"]["format"], format);
}

#[test]
fn a_conversation_that_does_not_fit_is_cut_where_that_is_asked_for() {
    let server = start_with(Settings::default(), |config| config.limits.n_pages = vec![6]);
    let turn = |i: usize| json!({ "role": if i.is_multiple_of(2) { "user" } else { "assistant" }, "content": "A dragon came by. ".repeat(5) });
    let mut input: Vec<Value> = vec![json!({ "role": "developer", "content": "Be brief." })];
    input.extend((0..11).map(turn));
    let body = json!({ "input": input, "max_output_tokens": 4, "temperature": 0 });
    let refused = server.post(PATH, &body);
    assert_eq!(refused.error().1, "context_length_exceeded", "{}", refused.text());
    let response = ask(&server, &with(body.clone(), &json!({ "truncation": "auto" })));
    let warning = response["warnings"][0].as_str().unwrap();
    let n_cut: usize =
        warning.split(' ').find_map(|word| word.parse().ok()).unwrap_or_else(|| panic!("{warning}"));
    // The same as without the oldest turns; one more does not fit.
    let without = |n: usize| {
        let mut input = input.clone();
        input.drain(1..=n);
        with(body.clone(), &json!({ "input": input }))
    };
    let cut = ask(&server, &without(n_cut));
    assert_eq!(cut["usage"]["input_tokens"], response["usage"]["input_tokens"]);
    assert_eq!(server.post(PATH, &without(n_cut - 1)).error().1, "context_length_exceeded");
}
