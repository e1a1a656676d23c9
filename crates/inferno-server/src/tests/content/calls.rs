//! Tool calls of earlier turns, in templates of all kinds.

use std::sync::Arc;

use inferno_format::Gguf;
use inferno_text::{ChatTemplate, Tokenizer};
use serde_json::{Value, json};

use crate::Settings;
use crate::app::Text;
use crate::chat::Conversation;
use crate::error::ApiError;
use crate::fields::Fields;

/// Renders one call with these arguments.
fn render(call: &str, arguments: &Value) -> Result<String, ApiError> {
    let ember = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    let template =
        format!("{{% for m in messages %}}{{% for c in m.tool_calls %}}{call}{{% endfor %}}{{% endfor %}}");
    let tokenizer = Tokenizer::from_metadata(Gguf::open(&ember).unwrap().metadata()).unwrap();
    let template = ChatTemplate::new(&template, Arc::new(tokenizer.template_tokens())).unwrap();
    let text = Text { tokenizer: Arc::new(tokenizer), template: Some(Arc::new(template)), context_len: 1024 };
    let calls = json!([{ "function": { "name": "f", "arguments": arguments } }]);
    let body = json!({ "messages": [{ "role": "assistant", "content": "", "tool_calls": calls }] });
    let mut fields = Fields::new(body.as_object().unwrap().clone());
    Conversation::read(&mut fields, &Settings::default(), &text)?.text(&text)
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
