//! Calls as a model writes them.

use serde_json::{Map, Value};

use super::format::{CallBody, CallSyntax, TaggedCall};

impl CallSyntax {
    /// All syntaxes that are recognized, those with marks of their own before those without.
    pub fn known() -> Vec<CallSyntax> {
        super::known::known_calls()
    }

    /// The text of calls, each a function's name and its arguments, as a model of this syntax writes them.
    pub fn write(&self, calls: &[(&str, &Map<String, Value>)]) -> String {
        let mut text = self.section_begin.clone();
        if self.bare {
            text.clear();
        }
        text.push_str(if self.list { "[" } else { "" });
        for (index, (name, arguments)) in calls.iter().enumerate() {
            text.push_str(if index > 0 { &self.between } else { "" });
            text.push_str(&self.call_begin);
            self.write_call(name, arguments, index, &mut text);
            text.push_str(&self.call_end);
        }
        text.push_str(if self.list { "]" } else { "" });
        text.push_str(if self.bare { "" } else { &self.section_end });
        text
    }

    fn write_call(&self, name: &str, arguments: &Map<String, Value>, index: usize, text: &mut String) {
        let json = || spaced(&Value::Object(arguments.clone()));
        match &self.body {
            CallBody::Json { name: name_key, arguments: arguments_key, id } => {
                let name = Value::from(name);
                let call = format!("\"{name_key}\": {name}, \"{arguments_key}\": {}", json());
                text.push_str(&match id.as_deref() {
                    None => format!("{{{call}}}"),
                    // Command's templates count calls, and do it first.
                    Some("tool_call_id") => format!("{{\"tool_call_id\": \"{index}\", {call}}}"),
                    Some(id) => format!("{{{call}, \"{id}\": \"call{index:05}\"}}"),
                });
            }
            CallBody::Named { before_name, before_id, after_name, after_arguments, counted } => {
                let count = if *counted { format!(":{index}") } else { String::new() };
                let id =
                    if before_id.is_empty() { String::new() } else { format!("{before_id}call{index:05}") };
                let head = format!("{before_name}{name}{count}{id}{after_name}");
                text.push_str(&format!("{head}{}{after_arguments}", json()));
            }
            CallBody::Tagged(tags) => write_tagged(tags, name, arguments, text),
            CallBody::Python => {
                let argument = |(key, value): (&String, &Value)| format!("{key}={}", python(value));
                let arguments: Vec<String> = arguments.iter().map(argument).collect();
                text.push_str(&format!("{name}({})", arguments.join(", ")));
            }
            CallBody::Gemma => {
                let argument = |(key, value): (&String, &Value)| format!("{key}:{}", gemma(value));
                let arguments: Vec<String> = arguments.iter().map(argument).collect();
                text.push_str(&format!("call:{name}{{{}}}", arguments.join(",")));
            }
            CallBody::Recipients => text.push_str(&format!("{name}\n{}", json())),
            CallBody::Harmony => text.push_str(&format!(
                "{}<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{}<|call|>",
                if index > 0 { "<|start|>assistant" } else { "" },
                json()
            )),
        }
    }
}

fn write_tagged(tags: &TaggedCall, name: &str, arguments: &Map<String, Value>, text: &mut String) {
    text.push_str(&format!("{}{name}{}", tags.before_name, tags.after_name));
    for (key, value) in arguments {
        text.push_str(&format!("{}{key}{}", tags.before_key, tags.after_key));
        if !tags.after_type.is_empty() {
            text.push_str(&format!("{}{}", value.is_string(), tags.after_type));
        }
        match value {
            Value::String(value) => text.push_str(value),
            value => text.push_str(&spaced(value)),
        }
        text.push_str(&tags.after_value);
    }
    text.push_str(&tags.end);
}

/// JSON with a space after `:` and `,`, as templates write it.
pub(crate) fn spaced(value: &Value) -> String {
    let join = |items: Vec<String>| items.join(", ");
    match value {
        Value::Array(items) => format!("[{}]", join(items.iter().map(spaced).collect())),
        Value::Object(pairs) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), spaced(value));
            format!("{{{}}}", join(pairs.iter().map(pair).collect()))
        }
        value => value.to_string(),
    }
}

fn python(value: &Value) -> String {
    let join = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(python).collect())),
        Value::Object(pairs) => {
            let pair =
                |(key, value): (&String, &Value)| format!("{}: {}", Value::from(key.as_str()), python(value));
            format!("{{{}}}", join(pairs.iter().map(pair).collect()))
        }
        value => value.to_string(),
    }
}

fn gemma(value: &Value) -> String {
    let join = |items: Vec<String>| items.join(",");
    match value {
        Value::String(text) => format!("<|\"|>{text}<|\"|>"),
        Value::Array(items) => format!("[{}]", join(items.iter().map(gemma).collect())),
        Value::Object(pairs) => {
            let pair = |(key, value): (&String, &Value)| format!("{key}:{}", gemma(value));
            format!("{{{}}}", join(pairs.iter().map(pair).collect()))
        }
        value => value.to_string(),
    }
}
