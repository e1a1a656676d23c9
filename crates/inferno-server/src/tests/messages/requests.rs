//! Requests: what they mean in the words of chats, and what is refused.

use serde_json::{Value, json};

use super::{COUNT, PATH, count, question, refused, tools, with};
use crate::Settings;
use crate::tests::start;

#[test]
fn conversations_are_those_of_chats() {
    let server = start(Settings::default());
    let chat = |members: &Value| {
        let reply = server.post("/tokenize", members);
        assert_eq!(reply.status, 200, "{members}: {}", reply.text());
        reply.json()["count"].as_u64().unwrap()
    };
    let text = |text: &str| json!({ "type": "text", "text": text });
    let call =
        json!({ "type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": { "city": "Oslo" } });
    let result = json!({ "type": "tool_result", "tool_use_id": "toolu_1", "content": [text("Rain"), text("all day")] });
    let thought = json!({ "type": "thinking", "thinking": "Ask.", "signature": "x" });
    let user = |content: Value| json!({ "role": "user", "content": content });
    let assistant = |content: Value| json!({ "role": "assistant", "content": content });
    let called = json!({ "role": "assistant", "content": "Let me see.", "reasoning_content": "Ask.", "tool_calls": [
        { "id": "toolu_1", "type": "function", "function": { "name": "get_weather", "arguments": "{\"city\":\"Oslo\"}" } },
    ] });
    let shown: Vec<Value> = tools()
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| {
            let function = json!({ "name": tool["name"], "description": tool["description"], "parameters": tool["input_schema"] });
            json!({ "type": "function", "function": function })
        })
        .collect();
    for (body, same) in [
        (json!({ "messages": [user(json!("Rain?"))] }), json!({ "messages": [user(json!("Rain?"))] })),
        (
            json!({ "messages": [user(json!([text("Rain?"), text("Snow?")]))], "system": [text("Be"), text("brief.")] }),
            json!({ "messages": [{ "role": "system", "content": "Be\nbrief." }, user(json!("Rain?\nSnow?"))] }),
        ),
        // Neighbours of one role are one message.
        (
            json!({ "messages": [user(json!("Rain?")), user(json!("Snow?")), assistant(json!("No.")), assistant(json!("Sun.")), user(json!("Hm."))] }),
            json!({ "messages": [user(json!("Rain?\nSnow?")), assistant(json!("No.\nSun.")), user(json!("Hm."))] }),
        ),
        // Results come first, whatever the order of the blocks.
        (
            json!({ "tools": tools(), "messages": [
                user(json!("Rain?")),
                assistant(json!([thought, { "type": "redacted_thinking", "data": "x" }, text("Let me see."), call])),
                user(json!([text("Well?"), result])),
            ] }),
            json!({ "tools": shown, "messages": [
                user(json!("Rain?")), called, { "role": "tool", "tool_call_id": "toolu_1", "content": "Rain\nall day" }, user(json!("Well?")),
            ] }),
        ),
        (
            json!({ "messages": [user(json!("Rain?")), assistant(json!("Wind"))] }),
            json!({ "messages": [user(json!("Rain?")), assistant(json!("Wind"))], "continue_final_message": true }),
        ),
        (
            json!({ "messages": [user(json!("Rain?"))], "thinking": { "type": "disabled" } }),
            json!({ "messages": [user(json!("Rain?"))], "enable_thinking": false }),
        ),
    ] {
        assert_eq!(count(&server, &body), chat(&same), "{body}");
    }
    let erring = |content: Value| {
        let result =
            json!({ "type": "tool_result", "tool_use_id": "toolu_1", "content": content, "is_error": true });
        json!({ "messages": [user(json!("Rain?")), assistant(json!([call])), user(json!([result]))] })
    };
    assert_eq!(count(&server, &erring(json!("x"))), count(&server, &erring(json!("Error: x"))));
}

#[test]
fn members_that_change_no_answer_are_taken() {
    let server = start(Settings::default());
    let edits = json!({ "edits": [{ "type": "clear_thinking_20251015", "keep": "all" }] });
    let members = json!({
        "metadata": { "user_id": "u" }, "service_tier": "auto", "top_k": 5, "top_p": 0.9, "context_management": edits,
        "output_config": { "effort": "low" }, "something_of_next_year": 1, "stop_sequences": [], "system": "", "container": null,
        "thinking": { "type": "adaptive", "display": "summarized" }, "max_tokens": 1, "seed": 7, "stream": false, "mcp_servers": [],
    });
    let reply = server.post(&format!("{PATH}?beta=true"), &question(&members));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["context_management"], json!({ "applied_edits": [] }));
    let body = with(question(&members), &json!({ "max_tokens": null }));
    assert!(count(&server, &body) > 5);
}

#[test]
fn faults_are_told_in_the_words_of_the_request() {
    let server = start(Settings::default());
    let user = |content: Value| json!({ "messages": [{ "role": "user", "content": content }] });
    let assistant = |content: Value| json!({ "messages": [{ "role": "user", "content": "Hi" }, { "role": "assistant", "content": content }] });
    let tool = |members: Value| json!({ "tools": [with(tools()[0].clone(), &members)] });
    let image =
        json!({ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AAAA" } });
    let call = json!({ "type": "tool_use", "id": "a", "name": "f", "input": {} });
    let long = "x".repeat(300);
    let mut wrong = Vec::new();
    for (members, words) in [
        (json!({ "max_tokens": 0 }), "`max_tokens` is 0, expected an integer from 1"),
        (json!({ "max_tokens": null }), "`max_tokens` is missing"),
        (json!({ "messages": null }), "`messages` is missing"),
        (json!({ "messages": [] }), "`messages` has 0 messages"),
        (json!({ "messages": {} }), "`messages` is an object"),
        (json!({ "messages": ["x"] }), "`messages[0]` is \"x\""),
        (json!({ "messages": [{ "role": "tool", "content": "x" }] }), "`messages[0].role` is \"tool\""),
        (json!({ "messages": [{ "role": "user" }] }), "`messages[0].content` is missing"),
        (user(json!([])), "`messages[0].content` is empty"),
        (user(json!(7)), "`messages[0].content` is 7"),
        (user(json!([{ "text": "x" }])), "`messages[0].content[0].type` is null"),
        (user(json!([{ "type": "text" }])), "`messages[0].content[0].text` is null"),
        (
            user(json!([{ "type": "text", "text": "x" }, image])),
            "`messages[0].content[1]` is of type `image`",
        ),
        (user(json!([{ "type": "search_result" }])), "`search_result`, which is not supported"),
        (
            user(json!([call])),
            "`messages[0].content[0]` is of type `tool_use`, expected `text` or `tool_result`",
        ),
        (user(json!([{ "type": "tool_result" }])), "`messages[0].content[0].tool_use_id` is null"),
        (
            user(json!([{ "type": "tool_result", "tool_use_id": "a", "content": [image] }])),
            "`messages[0].content[0].content[0]` is of type `image`",
        ),
        (
            user(json!([{ "type": "tool_result", "tool_use_id": "a", "is_error": "x" }])),
            "`messages[0].content[0].is_error` is \"x\"",
        ),
        (
            assistant(json!([{ "type": "tool_use", "id": "a", "input": {} }])),
            "`messages[1].content[0].name` is null",
        ),
        (
            assistant(json!([{ "type": "tool_use", "id": "a", "name": "f", "input": "{}" }])),
            "`messages[1].content[0].input` is \"{}\"",
        ),
        (assistant(json!([call])), "`messages[1]` calls tools and is the last message"),
        (
            assistant(json!([{ "type": "tool_result", "tool_use_id": "a" }])),
            "`tool_result`, expected `text`, `thinking`",
        ),
        (json!({ "system": 7 }), "`system` is 7"),
        (json!({ "system": [image] }), "`system[0]` is of type `image`"),
        (json!({ "stop_sequences": "x" }), "`stop_sequences` is \"x\""),
        (json!({ "stop_sequences": ["a", "b", "c", "d", "e"] }), "`stop_sequences` has 5 strings"),
        (json!({ "stop_sequences": [""] }), "`stop_sequences` is \"\""),
        (json!({ "stop_sequences": [long] }), "`stop_sequences` is a string of 300 bytes"),
        (json!({ "tools": {} }), "`tools` is an object"),
        (tool(json!({ "input_schema": null })), "`tools[0].input_schema` is null"),
        (tool(json!({ "name": "" })), "`tools[0].name` is \"\""),
        (tool(json!({ "description": 1 })), "`tools[0].description` is 1"),
        (
            tool(json!({ "type": "web_search_20250305" })),
            "`web_search_20250305`, which Anthropic's servers have",
        ),
        (
            tool(json!({ "strict": true, "input_schema": { "type": "objekt" } })),
            "`tools[0].input_schema` cannot be kept",
        ),
        (json!({ "tools": tools(), "tool_choice": "any" }), "`tool_choice` is \"any\""),
        (json!({ "tools": tools(), "tool_choice": { "type": "tool" } }), "`tool_choice.name` is null"),
        (json!({ "tools": tools(), "tool_choice": { "type": "tool", "name": "x" } }), "names `x`"),
        (
            json!({ "tool_choice": { "type": "auto", "disable_parallel_tool_use": 1 } }),
            "`tool_choice.disable_parallel_tool_use` is 1",
        ),
        (json!({ "thinking": "yes" }), "`thinking` is \"yes\""),
        (
            json!({ "thinking": { "type": "enabled", "budget_tokens": "x" } }),
            "`thinking.budget_tokens` is \"x\"",
        ),
        (json!({ "thinking": { "type": "enabled", "display": "x" } }), "`thinking.display` is \"x\""),
        (json!({ "output_config": { "effort": "huge" } }), "`output_config.effort` is \"huge\""),
        (
            json!({ "output_config": { "format": { "type": "text" } } }),
            "`output_config.format.type` is \"text\"",
        ),
        (json!({ "output_format": { "type": "json_schema" } }), "`output_format.schema` is null"),
        (
            json!({ "output_format": { "type": "json_schema", "schema": { "type": "objekt" } } }),
            "`output_format.schema` cannot be kept",
        ),
        (json!({ "container": "x" }), "`container` is not supported"),
        (json!({ "mcp_servers": [{}] }), "`mcp_servers` is not supported"),
        (json!({ "context_management": 1 }), "`context_management` is 1"),
        (json!({ "n": 2 }), "`n` is not a parameter of `/v1/messages`"),
        (json!({ "stop": ["x"] }), "the name here is `stop_sequences`"),
        (json!({ "temperature": 3 }), "`temperature` is 3"),
    ] {
        let reply = server.post(
            PATH,
            &with(
                question(&members),
                &json!({ "max_tokens": members.get("max_tokens").unwrap_or(&json!(1)) }),
            ),
        );
        let error = reply.json();
        let found = error["error"]["message"].as_str().unwrap_or_default();
        if reply.status != 400 || error["error"]["type"] != "invalid_request_error" || !found.contains(words)
        {
            wrong.push(format!("{members}: {words:?}, not {} {error}", reply.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let (status, _, message) = refused(&server, COUNT, &json!({ "messages": [] }));
    assert!(status == 400 && message.contains("`messages` has 0"), "{message}");
    assert_eq!(refused(&server, COUNT, &question(&json!({ "model": "x" }))).0, 404);
}
