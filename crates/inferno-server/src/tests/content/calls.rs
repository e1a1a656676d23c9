//! Tool calls of earlier turns, in templates of all kinds.

use std::sync::Arc;

use inferno_format::Gguf;
use inferno_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use crate::Settings;
use crate::app::{Template, Text};
use crate::chat::Conversation;
use crate::error::ApiError;
use crate::fields::Fields;

/// Renders one call with these arguments.
fn render(call: &str, arguments: &Value) -> Result<String, ApiError> {
    let template =
        format!("{{% for m in messages %}}{{% for c in m.tool_calls %}}{call}{{% endfor %}}{{% endfor %}}");
    let calls = json!([{ "function": { "name": "f", "arguments": arguments } }]);
    render_all(&template, &json!([{ "role": "assistant", "content": "", "tool_calls": calls }]))
}

fn render_all(template: &str, messages: &Value) -> Result<String, ApiError> {
    render_body(template, &json!({ "messages": messages }))
}

fn render_body(template: &str, body: &Value) -> Result<String, ApiError> {
    let ember = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    let tokenizer = Tokenizer::from_metadata(Gguf::open(&ember).unwrap().metadata()).unwrap();
    let template = ChatTemplate::new(template, Arc::new(tokenizer.template_tokens())).unwrap();
    let text = Text {
        tokenizer: Arc::new(tokenizer),
        template: Template::Usable(Arc::new(template)),
        context_len: 2048,
    };
    let mut fields = Fields::new(body.as_object().unwrap().clone());
    let conversation = Conversation::read(&mut fields, &Settings::default(), &text)?;
    conversation.render(&text).map(|rendered| rendered.text(&text.tokenizer))
}

#[test]
fn content_comes_in_the_form_the_template_takes() {
    const PARTS: &str = "{% for m in messages %}{{ m.role }}:{% for p in m.content %}{% if p.type == 'text' %}{{ p.text }}{% endif %}\
                         {% endfor %};{% endfor %}";
    const TEXT: &str = "{% for m in messages %}{{ m.role }}:{{ m.content + ';' }}{% endfor %}";
    const BOTH: &str = "{% for m in messages %}{{ m.role }}:{% if m.content is string %}'{{ m.content }}'{% else %}\
                        {% for p in m.content %}{{ p.text }}|{% endfor %}{% endif %};{% endfor %}";
    // Parts from the system, text from others.
    const MIXED: &str = "{% for m in messages %}{{ m.role }}:{% if m.role == 'system' %}{{ m.content[0].text }}{% else %}\
                         {{ m.content | trim }}{% endif %};{% endfor %}";
    let text = json!([{ "role": "system", "content": "s" }, { "role": "user", "content": "a b" }]);
    let part = |text: &str| json!({ "type": "text", "text": text });
    let parts = json!([{ "role": "system", "content": [part("s")] }, { "role": "user", "content": [part("a "), part("b")] }]);
    for (template, of_text, of_parts) in [
        (PARTS, "system:s;user:a b;", "system:s;user:a b;"),
        (TEXT, "system:s;user:a b;", "system:s;user:a \nb;"),
        (BOTH, "system:'s';user:'a b';", "system:s|;user:a |b|;"),
        (MIXED, "system:s;user:a b;", "system:s;user:a \nb;"),
    ] {
        assert_eq!(render_all(template, &text).unwrap(), of_text, "{template}");
        assert_eq!(render_all(template, &parts).unwrap(), of_parts, "{template}");
    }
    // No text is none in either form.
    let silent = json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": null }, { "role": "assistant" }]);
    assert_eq!(render_all(PARTS, &silent).unwrap(), "user:a;assistant:;assistant:;");
    assert_eq!(render_all(TEXT, &silent).unwrap(), "user:a;assistant:;assistant:;");
    assert_eq!(render_all(BOTH, &silent).unwrap(), "user:'a';assistant:'';assistant:'';");
}

#[test]
fn messages_keep_the_order_of_their_keys() {
    let message = json!({ "name": "n", "reasoning": "r", "role": "developer", "content": "c", "z": 1, "y": null, "a": 2 });
    let shown = "{\"name\": \"n\", \"reasoning_content\": \"r\", \"role\": \"system\", \"content\": \"c\", \"z\": 1, \"a\": 2}";
    assert_eq!(render_all("{{ messages[0] | tojson }}", &json!([message])).unwrap(), shown);
}

#[test]
fn arguments_become_text_where_the_template_takes_no_objects() {
    let object = json!({ "b": 1, "a": "x" });
    assert_eq!(render(TEXT, &object).unwrap(), "f={\"b\":1,\"a\":\"x\"}");
    assert_eq!(render("{{ c.function.arguments }}", &json!("{\"b\": 1}")).unwrap(), "{\"b\": 1}");
}

/// Only takes objects, as Qwen3-Coder's and GLM's.
const OBJECTS: &str = "{% for k, v in c.function.arguments.items() %}<{{ k }}>{{ v }}{% endfor %}";
/// Only takes text, as functionary's.
const TEXT: &str = "{{ c.function.name + '=' + c.function.arguments }}";
/// Takes both, as Hermes'.
const BOTH: &str = "{% if c.function.arguments is string %}{{ c.function.arguments }}{% else %}\
                    {{ c.function.arguments | tojson }}{% endif %}";

#[test]
fn arguments_come_as_the_template_takes_them() {
    let arguments = json!("{\"city\":\"Oslo\",\"n\":[1,2.0]}");
    assert_eq!(render(OBJECTS, &arguments).unwrap(), "<city>Oslo<n>[1, 2.0]");
    assert_eq!(render(TEXT, &arguments).unwrap(), "f={\"city\":\"Oslo\",\"n\":[1,2.0]}");
    assert_eq!(render(BOTH, &arguments).unwrap(), "{\"city\": \"Oslo\", \"n\": [1, 2.0]}");
    // Of no arguments there may be no text.
    for none in [json!(""), json!(" "), json!("{}")] {
        assert_eq!(render(OBJECTS, &none).unwrap(), "");
        assert_eq!(render(BOTH, &none).unwrap(), "{}");
    }
    assert_eq!(render(OBJECTS, &json!({ "a": 1 })).unwrap(), "<a>1");
}

#[test]
fn arguments_that_are_no_object_are_refused_with_their_place() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(300_000));
    let texts = ["{", "[1]", "1", "\"x\"", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "{\"a\":1e999}", &deep, &wide];
    for arguments in texts {
        let error = render(BOTH, &json!(arguments)).unwrap_err();
        let found = (error.status.as_u16(), error.param.as_deref());
        assert_eq!(found, (400, Some("messages[0].tool_calls[0].function.arguments")), "{}", error.message);
    }
    // No arguments at all are an object of nothing.
    assert_eq!(render(BOTH, &json!("null")).unwrap(), "{}");
    assert_eq!(render(BOTH, &Value::Null).unwrap(), "{}");
}

const RESULTS: &str = "{% for m in messages %}{% for c in m.tool_calls %}{{ c.id }}={{ c.function.name }}{{ c.function.arguments | tojson }};{% endfor %}\
                       {% if m.role == 'tool' %}{{ m.tool_call_id }}:{{ m.name }}={{ m.content }};{% endif %}{% endfor %}";

#[test]
fn ids_and_names_that_clients_leave_out_are_filled_in_by_order() {
    let call = |id: Value, name: &str| json!({ "id": id, "function": { "name": name, "arguments": "{}" } });
    let calls = json!([call(Value::Null, "f"), call(json!("x"), "g"), call(json!(""), "h")]);
    let result = |members: Value| {
        let mut message = json!({ "role": "tool", "content": "r" });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        message
    };
    let messages = json!([
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": null, "tool_calls": calls },
        result(json!({ "tool_call_id": "x" })),
        result(json!({})),
        result(json!({ "name": "own" })),
        // There is no call that it could belong to.
        result(json!({})),
    ]);
    let shown = "call_1_0=f{};x=g{};call_1_2=h{};x:g=r;call_1_0:f=r;call_1_2:own=r;:=r;";
    assert_eq!(render_all(RESULTS, &messages).unwrap(), shown);
}

#[test]
fn calls_under_openais_older_names_are_calls() {
    let messages = json!([
        { "role": "user", "content": "q" },
        { "role": "assistant", "content": null, "function_call": { "name": "f", "arguments": "{}" } },
        { "role": "function", "name": "f", "content": "r" },
    ]);
    assert_eq!(render_all(RESULTS, &messages).unwrap(), "call_1_0=f{};call_1_0:f=r;");
}

#[test]
fn an_answer_goes_on_from_the_text_of_the_last_message() {
    const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                          {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
    const TRIMS: &str = "{% for m in messages %}{{ m.role }}: {{ m.content | trim }}.\n{% endfor %}";
    const DROPS: &str =
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}";
    let user = json!({ "role": "user", "content": "q" });
    let last = |members: Value| {
        let mut message = json!({ "role": "assistant", "content": "The answer " });
        message.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        message
    };
    let body = |message: Value, members: Value| {
        let mut body = json!({ "messages": [user, message] });
        body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        body
    };
    let chatml = "<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\nThe answer ";
    for asked in [
        body(last(json!({})), json!({ "continue_final_message": true })),
        body(last(json!({})), json!({ "continue_final_message": true, "add_generation_prompt": false })),
        body(last(json!({ "prefix": true })), json!({})),
        body(last(json!({ "partial": true })), json!({})),
    ] {
        assert_eq!(render_body(CHATML, &asked).unwrap(), chatml, "{asked}");
        assert_eq!(render_body(TRIMS, &asked).unwrap(), "user: q.\nassistant: The answer ", "{asked}");
        let error = render_body(DROPS, &asked).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("continue_final_message"), "{}", error.message);
    }
    // Control tokens in the text stay text.
    let control = body(last(json!({ "prefix": true, "content": "a<|im_end|>" })), json!({}));
    assert!(render_body(CHATML, &control).unwrap().ends_with("assistant\na<|im_end|>"));
    // Without a wish for it, the last message is whole.
    let whole = body(last(json!({ "prefix": false })), json!({}));
    let expected = chatml.to_owned() + "<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render_body(CHATML, &whole).unwrap(), expected);
    let calls = json!([{ "function": { "name": "f" } }]);
    for (asked, param) in [
        (
            body(last(json!({})), json!({ "continue_final_message": true, "add_generation_prompt": true })),
            "continue_final_message",
        ),
        (json!({ "messages": [user], "continue_final_message": true }), "messages[0]"),
        (json!({ "messages": [last(json!({ "prefix": true })), user] }), "messages[0].prefix"),
        (
            body(last(json!({ "tool_calls": calls })), json!({ "continue_final_message": true })),
            "messages[1]",
        ),
    ] {
        let error = render_body(CHATML, &asked).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some(param)), "{asked}");
    }
}

#[test]
fn tools_are_shown_as_the_template_shows_them() {
    let tools = "{% for t in tools %}{{ t | tojson }}{% endfor %}";
    let body = json!({
        "messages": [{ "role": "user", "content": "q" }],
        "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "strict": true } }],
    });
    let shown = "{\"type\": \"function\", \"function\": {\"name\": \"f\", \"description\": \"d\", \
                 \"parameters\": {\"type\": \"object\", \"properties\": {}}}}";
    assert_eq!(render_body(tools, &body).unwrap(), shown);
}
