use inferno_text::ReplyFormat;

use super::*;

/// A template that takes all there is.
fn profile() -> TemplateProfile {
    let reply = ReplyFormat {
        needs_system_text: false,
        takes_calls: true,
        takes_results: true,
        takes_parallel_calls: true,
        ..ReplyFormat::default()
    };
    TemplateProfile { takes_system: true, reply, ..TemplateProfile::default() }
}

fn conversation() -> Vec<Value> {
    let call = |id: &str, n: i64| {
        let arguments = json!({ "n": n }).to_string();
        json!({ "id": id, "type": "function", "function": { "name": "f", "arguments": arguments } })
    };
    let result =
        |id: &str| json!({ "role": "tool", "content": format!("r{id}"), "tool_call_id": id, "name": "f" });
    json!([
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": "c", "reasoning_content": "t", "tool_calls": [call("a", 1), call("b", 2)] },
        result("b"),
        result("a"),
        { "role": "user", "content": "next" },
    ])
    .as_array()
    .unwrap()
    .clone()
}

fn form(change: impl FnOnce(&mut TemplateProfile)) -> Vec<Value> {
    let mut profile = profile();
    change(&mut profile);
    of(&conversation(), None, &profile, Limits { depth: 32, nodes: 1000 })
}

#[test]
fn a_template_that_takes_all_gets_objects_as_arguments_and_nothing_else_changes() {
    let found = form(|_| {});
    let mut expected = conversation();
    for (i, n) in [(0, 1), (1, 2)] {
        expected[1]["tool_calls"][i]["function"]["arguments"] = json!({ "n": n });
    }
    assert_eq!(found, expected);
}

#[test]
fn ids_get_the_form_that_the_template_demands_on_both_sides() {
    let found = form(|profile| profile.reply.call_ids = CallIds::NineAlphanumeric);
    let ids: Vec<&str> = [&found[1]["tool_calls"][0]["id"], &found[1]["tool_calls"][1]["id"]]
        .map(|id| id.as_str().unwrap())
        .to_vec();
    assert!(ids.iter().all(|id| id.len() == 9 && id.bytes().all(|b| b.is_ascii_alphanumeric())), "{ids:?}");
    assert_ne!(ids[0], ids[1]);
    assert_eq!((&found[2]["tool_call_id"], &found[3]["tool_call_id"]), (&json!(ids[1]), &json!(ids[0])));
    assert_eq!(short_id("abcDEF123"), "abcDEF123");
}

#[test]
fn several_calls_become_messages_of_one_with_their_results() {
    let found = form(|profile| profile.reply.takes_parallel_calls = false);
    let shown: Vec<String> = found
        .iter()
        .map(|message| {
            let id = message["tool_calls"][0]["id"].as_str().or(message["tool_call_id"].as_str());
            let n_calls = message["tool_calls"].as_array().map_or(0, Vec::len);
            assert!(n_calls < 2, "{message}");
            format!(
                "{} {} {}",
                message["role"].as_str().unwrap(),
                id.unwrap_or("-"),
                text_of(&message["content"])
            )
        })
        .collect();
    assert_eq!(shown, ["user - q", "assistant a c", "tool a ra", "assistant b ", "tool b rb", "user - next"]);
    // The reasoning was before all of them.
    assert_eq!(
        (found[1].get("reasoning_content"), found[3].get("reasoning_content")),
        (Some(&json!("t")), None)
    );
}

#[test]
fn calls_and_results_are_text_where_a_template_takes_none() {
    let found = form(|profile| {
        profile.reply.takes_calls = false;
        profile.reply.takes_results = false;
    });
    let written = "c\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"n\": 1}}\n</tool_call>\n<tool_call>\n\
                   {\"name\": \"f\", \"arguments\": {\"n\": 2}}\n</tool_call>";
    let results = "<tool_response>\nrb\n</tool_response>\n<tool_response>\nra\n</tool_response>\n\nnext";
    assert_eq!(
        found,
        *json!([
            { "role": "user", "content": "q" },
            { "role": "assistant", "content": written, "reasoning_content": "t" },
            { "role": "user", "content": results },
        ])
        .as_array()
        .unwrap()
    );
}

#[test]
fn reasoning_goes_to_the_field_that_the_template_reads() {
    let found = form(|profile| profile.reply.reasoning_fields = vec!["thinking".into()]);
    assert_eq!((found[1].get("thinking"), found[1].get("reasoning_content")), (Some(&json!("t")), None));
    let found =
        form(|profile| profile.reply.reasoning_fields = vec!["reasoning".into(), "reasoning_content".into()]);
    assert_eq!(found[1].get("reasoning_content"), Some(&json!("t")));
}

#[test]
fn tools_are_in_the_system_message_where_a_template_shows_none() {
    let tools = [json!({ "type": "function", "function": { "name": "f", "parameters": {} } })];
    let messages = |first: Option<Value>| {
        let mut all: Vec<Value> = first.into_iter().collect();
        all.push(json!({ "role": "user", "content": "q" }));
        all
    };
    let system = json!({ "role": "system", "content": "s" });
    let limits = Limits { depth: 32, nodes: 1000 };
    let with = |first: Option<Value>, takes_system: bool| {
        let profile = TemplateProfile { takes_system, ..TemplateProfile::default() };
        of(&messages(first), Some(&tools), &profile, limits)
    };
    let found = with(Some(system), true);
    let text = found[0]["content"].as_str().unwrap();
    assert!(text.starts_with("s\n\n# Tools") && text.contains("\"name\": \"f\""), "{text}");
    assert_eq!((found.len(), with(None, true).len(), with(None, false).len()), (2, 2, 1));
    let text = with(None, false)[0]["content"].as_str().unwrap().to_owned();
    assert!(text.starts_with("# Tools") && text.ends_with("\n\nq"), "{text}");
}
