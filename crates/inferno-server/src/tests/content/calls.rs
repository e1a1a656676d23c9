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
    let ember = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    let tokenizer = Tokenizer::from_metadata(Gguf::open(&ember).unwrap().metadata()).unwrap();
    let template = ChatTemplate::new(template, Arc::new(tokenizer.template_tokens())).unwrap();
    let text = Text {
        tokenizer: Arc::new(tokenizer),
        template: Template::Usable(Arc::new(template)),
        context_len: 2048,
    };
    let body = json!({ "messages": messages });
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
fn arguments_that_are_no_object_are_text_and_never_our_fault() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    let wide = format!("{{\"a\":[{}1]}}", "1,".repeat(300_000));
    for arguments in ["{", "[1]", "1", "\"x\"", "null", "{\"a\":1,\"a\":2}", "{\"a\":1}x", "{\"a\":1e999}"] {
        assert_eq!(render(BOTH, &json!(arguments)).unwrap(), arguments);
        let error = render(OBJECTS, &json!(arguments)).unwrap_err();
        assert_eq!((error.status.as_u16(), error.param.as_deref()), (400, Some("messages")), "{arguments}");
    }
    for arguments in [deep, wide] {
        assert_eq!(render(BOTH, &json!(arguments)).unwrap(), arguments);
        assert_eq!(render(OBJECTS, &json!(arguments)).unwrap_err().status.as_u16(), 400);
    }
}
