use super::*;

fn read_all(body: Value) -> Result<Option<Tools>, ApiError> {
    let mut fields = Fields::new(body.as_object().unwrap().clone());
    let found = read(&mut fields, &Settings::default())?;
    assert!(fields.into_rest().is_empty(), "{body}: a field was not read");
    Ok(found)
}

fn function(name: &str) -> Value {
    json!({ "type": "function", "function": { "name": name, "parameters": { "type": "object" } } })
}

#[test]
fn a_choice_says_which_tools_may_be_called_and_whether_one_must() {
    use CallChoice::{Auto, Required};
    let named = |name: &str| json!({ "type": "function", "function": { "name": name } });
    let allowed = |mode: &str| json!({ "type": "allowed_tools", "allowed_tools": { "mode": mode, "tools": [named("b")] } });
    let flat = json!({ "type": "allowed_tools", "mode": "required", "tools": [{ "type": "function", "name": "a" }] });
    for (choice, names, expected) in [
        (Value::Null, vec!["a", "b"], Auto),
        (json!("auto"), vec!["a", "b"], Auto),
        (json!("required"), vec!["a", "b"], Required),
        (json!("any"), vec!["a", "b"], Required),
        (named("b"), vec!["b"], Required),
        (json!({ "type": "function", "name": "a" }), vec!["a"], Required),
        (allowed("auto"), vec!["b"], Auto),
        (allowed("required"), vec!["b"], Required),
        (flat, vec!["a"], Required),
    ] {
        let body = json!({ "tools": [function("a"), function("b")], "tool_choice": choice });
        let tools = read_all(body).unwrap().unwrap();
        let found: Vec<&str> = tools.callable.iter().map(|tool| tool.name.as_str()).collect();
        assert_eq!((found, tools.choice), (names, expected), "{choice}");
        // The model is shown all of them.
        assert_eq!(tools.shown, [function("a"), function("b")]);
        assert!(tools.parallel);
    }
    for body in [
        json!({ "tools": [function("a")], "tool_choice": "none" }),
        json!({ "tools": [], "tool_choice": "auto" }),
        json!({ "tools": null, "parallel_tool_calls": true }),
        json!({ "tool_choice": "none" }),
    ] {
        assert_eq!(read_all(body.clone()).unwrap(), None, "{body}");
    }
    let serial = json!({ "tools": [function("a")], "parallel_tool_calls": false });
    assert!(!read_all(serial).unwrap().unwrap().parallel);
}

#[test]
fn members_that_clients_leave_out_are_filled_in() {
    let bare = json!({ "function": { "name": "a", "description": null, "strict": true } });
    let tools = read_all(json!({ "tools": [bare] })).unwrap().unwrap();
    let shown = json!({ "type": "function", "function": {
        "name": "a", "parameters": { "type": "object", "properties": {} },
    } });
    assert_eq!(tools.shown, [shown]);
    assert_eq!(tools.callable, [Tool { name: "a".into(), parameters: json!({}), strict: true }]);
}

#[test]
fn functions_are_tools_under_an_older_name() {
    let body = json!({ "functions": [{ "name": "a", "parameters": {} }], "function_call": { "name": "a" } });
    let tools = read_all(body).unwrap().unwrap();
    assert_eq!((tools.callable[0].name.as_str(), tools.choice), ("a", CallChoice::Required));
    assert_eq!(tools.shown, [json!({ "type": "function", "function": { "name": "a", "parameters": {} } })]);
    let none = json!({ "functions": [{ "name": "a" }], "function_call": "none" });
    assert_eq!(read_all(none).unwrap(), None);
}

#[test]
fn a_wrong_tool_or_choice_is_refused_with_its_path() {
    let tool = |tool: Value| json!({ "tools": [function("a"), tool] });
    let choice = |choice: Value| json!({ "tools": [function("a")], "tool_choice": choice });
    let many: Vec<Value> = (0..129).map(|i| function(&format!("f{i}"))).collect();
    for (body, code, param, words) in [
        (json!({ "tools": {} }), "invalid_value", "tools", "an array of tools"),
        (json!({ "tools": many }), "invalid_value", "tools", "at most 128"),
        (tool(json!("f")), "invalid_value", "tools[1]", "a tool like"),
        (tool(json!({})), "invalid_value", "tools[1].type", "\"function\""),
        (tool(json!({ "type": 1 })), "invalid_value", "tools[1].type", "\"function\""),
        (
            tool(json!({ "type": "web_search" })),
            "unsupported_parameter",
            "tools[1].type",
            "of type `web_search`",
        ),
        (tool(json!({ "type": "function" })), "invalid_value", "tools[1].function", "an object with `name`"),
        (
            tool(json!({ "type": "function", "function": {} })),
            "invalid_value",
            "tools[1].function.name",
            "a string",
        ),
        (
            tool(json!({ "type": "function", "function": { "name": "" } })),
            "invalid_value",
            "tools[1].function.name",
            "a string of 1 to 256 bytes",
        ),
        (
            tool(json!({ "type": "function", "function": { "name": "b", "parameters": "x" } })),
            "invalid_value",
            "tools[1].function.parameters",
            "a JSON schema",
        ),
        (
            tool(json!({ "type": "function", "function": { "name": "b", "strict": "x" } })),
            "invalid_value",
            "tools[1].function.strict",
            "true or false",
        ),
        (
            tool(json!({ "type": "function", "function": { "name": "b", "description": 1 } })),
            "invalid_value",
            "tools[1].function.description",
            "a string",
        ),
        (tool(function("a")), "invalid_value", "tools[1]", "the second tool called `a`"),
        (choice(json!("maybe")), "invalid_value", "tool_choice", "\"required\""),
        (choice(json!({})), "invalid_value", "tool_choice", "\"required\""),
        (
            choice(json!({ "type": "function", "function": {} })),
            "invalid_value",
            "tool_choice.function.name",
            "the name of one",
        ),
        (
            choice(json!({ "type": "function", "function": { "name": "b" } })),
            "invalid_value",
            "tool_choice",
            "names `b`, which is not among the tools",
        ),
        (
            choice(json!({ "type": "allowed_tools", "allowed_tools": { "mode": "x", "tools": [] } })),
            "invalid_value",
            "tool_choice.allowed_tools.mode",
            "\"auto\" or \"required\"",
        ),
        (
            choice(json!({ "type": "allowed_tools", "tools": [1] })),
            "invalid_value",
            "tool_choice.tools[0]",
            "a tool like",
        ),
        (json!({ "tool_choice": "required" }), "invalid_value", "tool_choice", "there are no `tools`"),
        (json!({ "tools": [function("a")], "functions": [] }), "invalid_value", "functions", "`tools` alone"),
        (json!({ "functions": [{}] }), "invalid_value", "functions[0].name", "a string"),
        (json!({ "functions": ["x"] }), "invalid_value", "functions[0]", "an object with `name`"),
        (
            json!({ "tools": [function("a")], "parallel_tool_calls": 1 }),
            "invalid_value",
            "parallel_tool_calls",
            "true",
        ),
    ] {
        let error = read_all(body.clone()).unwrap_err();
        let found = (error.status.as_u16(), error.code, error.param.as_deref());
        assert_eq!(found, (400, Some(code), Some(param)), "{body}: {}", error.message);
        assert!(error.message.contains(words), "{body}: {}", error.message);
    }
}
