//! Custom tools, whose input is a text: Codex calls `apply_patch` so.

use serde_json::{Value, json};

use super::{PATH, ask, assembled, names, plain, start, stream, with};
use crate::Settings;

const PATCH: &str = "*** Begin Patch\n*** Add File: a\"b\\c.txt\n+\tπ\n*** End Patch\n";

fn request(members: &Value) -> Value {
    let grammar =
        json!({ "type": "grammar", "syntax": "lark", "definition": "start: \"*** Begin Patch\" /.+/" });
    let tool =
        json!({ "type": "custom", "name": "apply_patch", "description": "Edits files.", "format": grammar });
    let function = json!({ "type": "function", "name": "shell", "parameters": { "type": "object" } });
    with(json!({ "input": "Add a file.", "tools": [function, tool], "temperature": 0 }), members)
}

/// A call of the custom tool, as the model writes it.
fn call() -> String {
    let call = json!({ "name": "apply_patch", "arguments": { "input": PATCH } });
    format!("<tool_call>\n{call}\n</tool_call>")
}

#[test]
fn a_custom_tool_is_called_with_a_text() {
    let server = start(Settings::default());
    server.say(&call());
    let events = stream(&server, &request(&json!({})));
    assert_eq!(
        names(&events)[2..6],
        [
            "response.output_item.added",
            "response.custom_tool_call_input.delta",
            "response.custom_tool_call_input.done",
            "response.output_item.done",
        ]
    );
    let added = &events.iter().find(|event| event.0 == "response.output_item.added").unwrap().1["item"];
    assert_eq!((&added["type"], &added["input"]), (&json!("custom_tool_call"), &json!("")));
    let n_deltas = events.iter().filter(|event| event.0.ends_with("_input.delta")).count();
    assert!(n_deltas > 1, "the input comes as it is written: {n_deltas} events");
    let response = assembled(&events);
    let custom =
        json!({ "type": "custom_tool_call", "status": "completed", "name": "apply_patch", "input": PATCH });
    assert_eq!(plain(&response), json!([custom]));
    let item = &response["output"][0];
    assert!(item["id"].as_str().unwrap().starts_with("ctc_") && item["call_id"].is_string());
    assert_eq!(response["tools"], request(&json!({}))["tools"]);
    let [warning] = &response["warnings"].as_array().unwrap()[..] else { panic!("{response}") };
    assert!(warning.as_str().unwrap().contains("`tools[1].format`"), "{warning}");
    assert_eq!(plain(&ask(&server, &request(&json!({})))), plain(&response));
}

#[test]
fn an_answer_that_is_cut_has_the_start_of_the_input() {
    let server = start(Settings::default());
    server.say(&call());
    for most in (1..200).step_by(9) {
        let events = stream(&server, &request(&json!({ "max_output_tokens": most })));
        let response = assembled(&events);
        let output = plain(&response);
        let Some(call) = output.as_array().unwrap().iter().find(|item| item["type"] == "custom_tool_call")
        else {
            continue;
        };
        assert!(PATCH.starts_with(call["input"].as_str().unwrap()), "{call}");
        if call["status"] == "completed" {
            return;
        }
    }
    panic!("the call never ended");
}

#[test]
fn a_conversation_goes_on_from_the_result_of_a_custom_tool() {
    let server = start(Settings::default());
    server.say(&call());
    let first = ask(&server, &request(&json!({})));
    let id = &first["output"][0]["call_id"];
    let result = json!({ "type": "custom_tool_call_output", "call_id": id, "output": "Done." });
    server.say("It is there.");
    let second = ask(&server, &request(&json!({ "input": [result], "previous_response_id": first["id"] })));
    let mut items = vec![json!({ "role": "user", "content": "Add a file." })];
    items.extend(first["output"].as_array().unwrap().iter().cloned());
    items.push(result);
    let whole = ask(&server, &request(&json!({ "input": items })));
    assert_eq!(whole["usage"]["input_tokens"], second["usage"]["input_tokens"]);
    assert_eq!(plain(&whole), plain(&second));
}

#[test]
fn a_custom_tool_can_be_demanded_and_faults_are_named_by_place() {
    let server = start(Settings::default());
    server.say(&call());
    for choice in [
        json!({ "type": "custom", "name": "apply_patch" }),
        json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "custom", "name": "apply_patch" }] }),
    ] {
        let members = json!({ "tool_choice": choice, "parallel_tool_calls": false });
        let response = ask(&server, &request(&members));
        assert_eq!(response["output"].as_array().unwrap().last().unwrap()["input"], PATCH, "{response}");
        assert_eq!(response["tool_choice"], choice);
    }
    for (members, param) in [
        (json!({ "tools": [{ "type": "custom" }] }), "tools[0].name"),
        (json!({ "tools": [{ "type": "custom", "name": "a", "description": 3 }] }), "tools[0].description"),
        (json!({ "tool_choice": { "type": "custom", "name": "other" } }), "tool_choice"),
    ] {
        let reply = server.post(PATH, &request(&members));
        assert_eq!((reply.status, &*reply.error().2), (400, param), "{members}: {}", reply.text());
    }
}
