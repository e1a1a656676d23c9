use super::*;

fn read(items: &Value) -> Result<Messages, ApiError> {
    let mut messages = Messages::default();
    for (i, item) in items.as_array().unwrap().iter().enumerate() {
        messages.push(&format!("input[{i}]"), item)?;
    }
    Ok(messages)
}

#[test]
fn a_turn_of_reasoning_text_and_calls_is_one_message() {
    let reasoning = |text: &str| {
        json!({ "type": "reasoning", "id": "rs_1", "summary": [],
                "content": [{ "type": "reasoning_text", "text": text }] })
    };
    let said = json!([{ "type": "output_text", "text": "Let me see.", "annotations": [] }]);
    let call = |id: &str| {
        json!({ "type": "function_call", "id": "fc_1", "status": "completed", "call_id": id, "name": "f",
                "arguments": "{}" })
    };
    let result = |id: &str| json!({ "type": "function_call_output", "call_id": id, "output": "rain" });
    let messages = read(&json!([
        { "role": "user", "content": "Rain?" },
        reasoning("Hm."),
        { "type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": said },
        call("a"), call("b"), result("a"), result("b"),
        call("c"), result("c"),
        reasoning("Ah."), reasoning("Oh."),
        { "role": "assistant", "content": "Yes." },
        { "role": "assistant", "content": "No." },
    ]))
    .unwrap();
    let called =
        |id: &str| json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let told = |id: &str| json!({ "role": "tool", "tool_call_id": id, "content": "rain" });
    let expected = json!([
        { "role": "user", "content": "Rain?" },
        { "role": "assistant", "content": said, "reasoning_content": "Hm.", "tool_calls": [called("a"), called("b")] },
        told("a"), told("b"),
        { "role": "assistant", "content": null, "tool_calls": [called("c")] },
        told("c"),
        { "role": "assistant", "content": "Yes.", "reasoning_content": "Ah.\n\nOh." },
        { "role": "assistant", "content": "No." },
    ]);
    assert_eq!(Value::Array(messages.all), expected);
}

#[test]
fn reasoning_is_read_from_wherever_it_is() {
    let of = |item: Value| read(&json!([item])).unwrap().all.first().map(|m| m["reasoning_content"].clone());
    let summary = json!([{ "type": "summary_text", "text": "short" }]);
    let content = json!([{ "type": "reasoning_text", "text": "long" }]);
    let own = format!("{PLAIN}long");
    for (item, expected) in [
        (json!({ "type": "reasoning", "summary": summary, "content": content }), Some("long")),
        (json!({ "type": "reasoning", "summary": summary, "encrypted_content": own }), Some("long")),
        (json!({ "type": "reasoning", "summary": summary, "encrypted_content": "gAAAA" }), Some("short")),
        (json!({ "type": "reasoning", "summary": [], "encrypted_content": "gAAAA" }), None),
        (json!({ "type": "reasoning", "summary": [], "content": null }), None),
    ] {
        assert_eq!(of(item.clone()), expected.map(Value::from), "{item}");
    }
}

#[test]
fn calls_of_custom_tools_are_calls_and_those_of_hosted_tools_are_left_out() {
    let messages = read(&json!([
        { "type": "custom_tool_call", "call_id": "a", "name": "patch", "input": "*** Begin" },
        { "type": "custom_tool_call_output", "call_id": "a", "output": "ok" },
        { "type": "web_search_call", "id": "ws_1", "status": "completed" },
    ]))
    .unwrap();
    assert_eq!(messages.all[0]["tool_calls"][0]["function"]["arguments"], json!({ "input": "*** Begin" }));
    assert_eq!((messages.all.len(), messages.warnings.len()), (2, 1));
    assert!(messages.warnings[0].contains("`input[2]`"), "{:?}", messages.warnings);
}

#[test]
fn what_is_malformed_is_refused_with_its_place() {
    for (item, param) in [
        (json!("text"), "input[0]"),
        (json!({}), "input[0].type"),
        (json!({ "type": 1 }), "input[0].type"),
        (json!({ "type": "computer_call_output" }), "input[0].type"),
        (json!({ "type": "message" }), "input[0].role"),
        (json!({ "role": "tool", "content": "" }), "input[0].role"),
        (json!({ "type": "function_call", "call_id": "a" }), "input[0].name"),
        (json!({ "type": "function_call", "name": "f" }), "input[0].call_id"),
        (json!({ "type": "function_call", "name": "f", "call_id": 1 }), "input[0].call_id"),
        (json!({ "type": "function_call_output", "output": "" }), "input[0].call_id"),
        (json!({ "type": "function_call_output", "call_id": "a" }), "input[0].output"),
        (json!({ "type": "function_call_output", "call_id": "a", "output": {} }), "input[0].output"),
        (json!({ "type": "reasoning", "summary": "x" }), "input[0].summary"),
    ] {
        let error = read(&json!([item])).unwrap_err();
        assert_eq!(error.param.as_deref(), Some(param), "{item}: {}", error.message);
    }
}

#[test]
fn fields_of_messages_have_the_requests_names() {
    let mut messages = Messages::default();
    messages.text("system", "instructions", "Be brief.");
    for (i, item) in [
        json!({ "role": "user", "content": [{ "type": "input_image" }] }),
        json!({ "type": "function_call", "call_id": "a", "name": "f", "arguments": "x" }),
        json!({ "type": "function_call", "call_id": "b", "name": "f", "arguments": "x" }),
        json!({ "type": "function_call_output", "call_id": "b", "output": [{ "type": "input_image" }] }),
    ]
    .iter()
    .enumerate()
    {
        messages.push(&format!("input[{i}]"), item).unwrap();
    }
    for (param, expected) in [
        ("messages[0].content", Some("instructions")),
        ("messages[1].content[0]", Some("input[0].content[0]")),
        ("messages[2].tool_calls[1].function.arguments", Some("input[2].arguments")),
        ("messages[3].content[0]", Some("input[3].output[0]")),
        ("messages[9].content", None),
        ("messages", None),
        ("tools[0]", None),
    ] {
        assert_eq!(messages.name(param).as_deref(), expected, "{param}");
    }
}
