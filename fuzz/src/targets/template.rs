//! Chat templates of strangers: the source, an end byte FF, and messages as JSON.
//!
//! A template is refused, or renders within its limits; one that names no control token and no variable of one writes none,
//! whatever the messages contain.

use std::sync::{Arc, LazyLock};
use std::time::UNIX_EPOCH;

use inferno_text::{ChatRenderer, ChatTemplate, RenderOptions, RenderedPart, TemplateTokens, message};
use serde_json::Value;

use super::input::{read, text};
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "template",
    check,
    max_len: 8 << 10,
    seeds,
    words: &[
        "{{",
        "}}",
        "{%",
        "%}",
        "{#",
        "#}",
        "{%-",
        "-%}",
        "for message in messages",
        "endfor",
        "if",
        "elif",
        "else",
        "endif",
        "set",
        "endset",
        "macro",
        "endmacro",
        "call",
        "endcall",
        "namespace(",
        "filter",
        "endfilter",
        "generation",
        "endgeneration",
        "loop.index0",
        "loop.last",
        "message['role']",
        "message.content",
        "tools",
        "add_generation_prompt",
        "bos_token",
        "eos_token",
        "raise_exception(",
        "strftime_now(",
        "| tojson",
        "| trim",
        "| length",
        "| join(",
        "| map(attribute=",
        "| selectattr(",
        "| default(",
        "is defined",
        "is string",
        "is mapping",
        "not in",
        " and ",
        " or ",
        "[1:]",
        "[::-1]",
        ".split(",
        ".items()",
        ".startswith(",
        "range(",
        " ~ ",
        " ** ",
        " // ",
        "break",
        "continue",
    ],
};

/// Marks that no template names by chance.
const CONTROL: [&str; 2] = ["\u{e000}a\u{e000}", "\u{e000}b\u{e000}"];

static TOKENS: LazyLock<Arc<TemplateTokens>> = LazyLock::new(|| {
    let [a, b] = CONTROL.map(str::to_owned);
    Arc::new(TemplateTokens {
        reserved: vec![(1, a.clone()), (2, b)],
        bos: Some(a),
        eos: None,
        unknown: None,
    })
});

fn seeds() -> Vec<Vec<u8>> {
    let cases: Value = serde_json::from_slice(&read("testdata/jinja/cases.json")).expect("cases are JSON");
    let mut sources = Vec::new();
    collect(&cases, &mut sources);
    // A few hundred of thousands: the corpus is to stay small.
    let step = (sources.len() / 300).max(1);
    let mut all: Vec<Vec<u8>> = sources.into_iter().step_by(step).map(String::into_bytes).collect();
    all.push(super::server::CHATML_TEMPLATE.as_bytes().to_vec());
    all
}

/// All strings that look like a template.
fn collect(value: &Value, sources: &mut Vec<String>) {
    match value {
        Value::String(text) if text.contains("{{") || text.contains("{%") => sources.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect(item, sources)),
        Value::Object(pairs) => pairs.values().for_each(|item| collect(item, sources)),
        _ => {}
    }
}

fn check(data: &[u8]) {
    let (source, messages) = match data.iter().position(|&b| b == 0xff) {
        Some(at) => (&data[..at], serde_json::from_slice(&data[at + 1..]).ok()),
        None => (data, None),
    };
    let source = text(source);
    let Ok(template) = ChatTemplate::new(&source, Arc::clone(&TOKENS)) else { return };
    let hostile = CONTROL.join("x");
    let messages = match messages {
        Some(Value::Array(messages)) => messages,
        _ => vec![message("system", &hostile), message("user", &hostile), message("assistant", &hostile)],
    };
    let options =
        RenderOptions { now: UNIX_EPOCH, utc_offset: 0, max_bytes: 1 << 16, ..RenderOptions::default() };
    let Ok(rendered) = template.render(&messages, &options) else { return };
    let n_bytes = rendered.parts.iter().map(|part| match part {
        RenderedPart::Token(_) => 0,
        RenderedPart::Text(text) => text.len(),
    });
    assert!(n_bytes.sum::<usize>() <= options.max_bytes);
    let may_name = source.contains(['\u{e000}', '\\']) || source.contains("_token");
    let is_token = |part: &RenderedPart| matches!(part, RenderedPart::Token(_));
    assert!(may_name || !rendered.parts.iter().any(is_token), "a control token from a message");
    assert_eq!(
        template.render(&messages, &options).as_ref(),
        Ok(&rendered),
        "a second time it is another prompt"
    );
}
