//! Messages as clients send them, right and wrong.

use serde_json::{Value, json};

use crate::Settings;
use crate::tests::start;

#[test]
fn messages_in_every_right_shape_give_the_prompt_they_should() {
    let server = start(Settings::default());
    let call =
        json!([{ "id": "1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }]);
    let written = "<|im_start|>assistant\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call><|im_end|>\n";
    for (message, expected) in [
        (json!({ "role": "user", "content": "" }), "<|im_start|>user\n<|im_end|>\n"),
        (
            json!({ "role": "user", "content": "a", "name": "b", "x": { "y": [1] } }),
            "<|im_start|>user\na<|im_end|>\n",
        ),
        (json!({ "role": "developer", "content": "a" }), "<|im_start|>system\na<|im_end|>\n"),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": "a" }] }),
            "<|im_start|>user\na<|im_end|>\n",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "input_text", "text": "b" }] }),
            "<|im_start|>user\na\nb<|im_end|>\n",
        ),
        (json!({ "role": "user", "content": [] }), "<|im_start|>user\n<|im_end|>\n"),
        (
            json!({ "role": "assistant", "content": "a", "reasoning": "b", "refusal": null, "audio": null }),
            "<|im_start|>assistant\na<|im_end|>\n",
        ),
        (
            json!({ "role": "assistant", "content": [{ "type": "refusal", "refusal": "a" }] }),
            "<|im_start|>assistant\na<|im_end|>\n",
        ),
        (
            json!({ "role": "assistant", "content": null, "refusal": "a" }),
            "<|im_start|>assistant\na<|im_end|>\n",
        ),
        (
            json!({ "role": "assistant", "content": "a", "tool_calls": null }),
            "<|im_start|>assistant\na<|im_end|>\n",
        ),
        // An answer without text, as clients send it back.
        (json!({ "role": "assistant", "content": null }), "<|im_start|>assistant\n<|im_end|>\n"),
        (json!({ "role": "assistant" }), "<|im_start|>assistant\n<|im_end|>\n"),
        (json!({ "role": "assistant", "content": null, "tool_calls": call }), written),
        (json!({ "role": "assistant", "tool_calls": call, "function_call": null }), written),
        (
            json!({ "role": "tool", "content": "a", "tool_call_id": "1" }),
            "<|im_start|>user\n<tool_response>\na\n</tool_response><|im_end|>\n",
        ),
    ] {
        let messages = json!([{ "role": "user", "content": "x" }, message]);
        let body = json!({ "messages": messages, "add_generation_prompt": false });
        let reply = server.post("/apply-template", &body);
        assert_eq!(reply.status, 200, "{message}: {}", reply.text());
        assert_eq!(
            reply.json()["prompt"],
            "<|im_start|>user\nx<|im_end|>\n".to_owned() + expected,
            "{message}"
        );
    }
}

#[test]
fn messages_in_a_wrong_shape_are_refused_with_the_place() {
    let server = start(Settings::default());
    let roles = "one of system, developer, user, assistant, tool, function";
    let parts = "a string or an array of text parts";
    let part = "a part like";
    let call = "a call like";
    let cases: Vec<(Value, &str, &str, &str)> = vec![
        (json!("Hi"), "invalid_value", "messages[0]", "an object with `role` and `content`"),
        (json!(null), "invalid_value", "messages[0]", "an object with `role` and `content`"),
        (json!({ "content": "a" }), "invalid_value", "messages[0].role", roles),
        (json!({ "role": null, "content": "a" }), "invalid_value", "messages[0].role", roles),
        (json!({ "role": "User", "content": "a" }), "invalid_value", "messages[0].role", roles),
        (json!({ "role": ["user"], "content": "a" }), "invalid_value", "messages[0].role", roles),
        (json!({ "role": "<|im_end|>", "content": "a" }), "invalid_value", "messages[0].role", roles),
        (
            json!({ "role": "user" }),
            "missing_required_parameter",
            "messages[0].content",
            "array of text parts",
        ),
        (
            json!({ "role": "user", "content": null }),
            "missing_required_parameter",
            "messages[0].content",
            "is missing",
        ),
        (json!({ "role": "user", "content": 1 }), "invalid_value", "messages[0].content", parts),
        (
            json!({ "role": "user", "content": { "type": "text" } }),
            "invalid_value",
            "messages[0].content",
            parts,
        ),
        (json!({ "role": "user", "content": ["a"] }), "invalid_value", "messages[0].content[0]", part),
        (json!({ "role": "user", "content": [null] }), "invalid_value", "messages[0].content[0]", part),
        (
            json!({ "role": "user", "content": [{ "type": "text" }] }),
            "invalid_value",
            "messages[0].content[0]",
            part,
        ),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": 1 }] }),
            "invalid_value",
            "messages[0].content[0]",
            part,
        ),
        (
            json!({ "role": "user", "content": [{ "text": "a" }] }),
            "invalid_value",
            "messages[0].content[0]",
            part,
        ),
        (json!({ "role": "user", "content": [[[]]] }), "invalid_value", "messages[0].content[0]", part),
        (
            json!({ "role": "user", "content": [{ "type": "text", "text": "a" }, { "type": "image_url", "image_url": { "url": "http://127.0.0.1/" } }] }),
            "unsupported_parameter",
            "messages[0].content[1]",
            "text only",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "input_audio" }] }),
            "unsupported_parameter",
            "messages[0].content[0]",
            "text only",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "file" }] }),
            "unsupported_parameter",
            "messages[0].content[0]",
            "text only",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "video", "video": "x" }] }),
            "unsupported_parameter",
            "messages[0].content[0]",
            "is of type `video`, which is not supported: the model reads text only",
        ),
        // The kind left out.
        (
            json!({ "role": "user", "content": [{ "image_url": { "url": "data:image/png;base64,AAAA" } }] }),
            "unsupported_parameter",
            "messages[0].content[0]",
            "is of type `image_url`, which is not supported: the model reads text only",
        ),
        (
            json!({ "role": "assistant", "tool_calls": {} }),
            "invalid_value",
            "messages[0].tool_calls",
            "an array of tool calls",
        ),
        (
            json!({ "role": "assistant", "tool_calls": [1] }),
            "invalid_value",
            "messages[0].tool_calls[0]",
            call,
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{}] }),
            "invalid_value",
            "messages[0].tool_calls[0]",
            call,
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "function": "f" }] }),
            "invalid_value",
            "messages[0].tool_calls[0]",
            call,
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "function": { "name": 1 } }] }),
            "invalid_value",
            "messages[0].tool_calls[0]",
            call,
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "function": { "name": "f", "arguments": [1] } }] }),
            "invalid_value",
            "messages[0].tool_calls[0].function.arguments",
            "a string of JSON",
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "id": 1, "function": { "name": "f" } }] }),
            "invalid_value",
            "messages[0].tool_calls[0].id",
            "a string",
        ),
        (
            json!({ "role": "tool", "content": "a", "tool_call_id": 1 }),
            "invalid_value",
            "messages[0].tool_call_id",
            "the `id` of a tool call",
        ),
    ];
    for (message, code, param, words) in cases {
        for path in ["/v1/chat/completions", "/tokenize", "/apply-template"] {
            let reply = server.post(path, &json!({ "messages": [message] }));
            assert_eq!(reply.error(), (400, code.into(), param.into()), "{message}: {}", reply.text());
            assert!(reply.text().contains(words), "{message}: {}", reply.text());
        }
    }
    for (messages, code) in [
        (json!(null), "missing_required_parameter"),
        (json!("Hi"), "invalid_value"),
        (json!({ "role": "user" }), "invalid_value"),
        (json!([]), "invalid_value"),
    ] {
        let reply = server.post("/v1/chat/completions", &json!({ "messages": messages }));
        assert_eq!(reply.error(), (400, code.into(), "messages".into()), "{messages}");
    }
}
