//! Arguments in tags, as `qwen_xml_parameter` and the styles of `json_schema` have them.

use serde_json::{Value, json};

use super::{ANY, Writer, error};
use crate::calls::{Kind, properties, takes_others, texts};
use crate::marks::quoted;
use crate::schema;
use crate::source::GrammarError;

/// Texts around an argument's name and its value.
struct Tags {
    before_key: &'static str,
    after_key: &'static str,
    /// Text behind the word that says whether the value is a string; empty where none does.
    after_type: &'static str,
    after_value: &'static str,
}

/// The tags of a style; `None` for one that is not known.
fn tags(style: &str) -> Option<Tags> {
    let of = |before_key, after_key, after_type, after_value| Tags {
        before_key,
        after_key,
        after_type,
        after_value,
    };
    match style {
        "qwen_xml" => Some(of("<parameter=", ">", "", "</parameter>")),
        "minimax_xml" => Some(of("<parameter name=\"", "\">", "", "</parameter>")),
        "deepseek_xml" => {
            Some(of("<｜DSML｜parameter name=\"", "\" string=\"", "\">", "</｜DSML｜parameter>"))
        }
        "glm_xml" => Some(of("<arg_key>", "</arg_key><arg_value>", "", "</arg_value>")),
        _ => None,
    }
}

impl Writer<'_> {
    /// The members of an object in tags, in the schema's order. A line break may stand before each tag, and on both sides of
    /// a value. Strings are written without quotes: of their schemas only `enum` and `const` are kept.
    pub(super) fn xml(&mut self, style: &str, schema: &Value, path: &str) -> Result<String, GrammarError> {
        let tags = tags(style).ok_or_else(|| {
            error(path, "`style` must be json, qwen_xml, minimax_xml, deepseek_xml or glm_xml")
        })?;
        let path = format!("{path}/json_schema");
        let prepared = schema::prepare(schema).map_err(|e| error(&path, &e.reason))?;
        if prepared.schema["type"].as_str().is_some_and(|kind| kind != "object") {
            return Err(error(
                &path,
                "arguments in tags are members of an object: its `type` must be `object`",
            ));
        }
        self.unenforced
            .extend(prepared.unenforced.iter().map(|name| format!("{name} of the schema at {path}")));
        let mut items = Vec::new();
        for (key, property, is_required) in properties(&prepared.schema) {
            let head = self.marks.to_end(&format!("{}{key}{}", tags.before_key, tags.after_key));
            let value = self.xml_value(&tags, &property);
            let item = self.rule("", &format!("\"\\n\"? {head} {value}"));
            items.push(if is_required { item } else { format!("{item}?") });
        }
        if items.is_empty() && takes_others(&prepared.schema) {
            let (before, after) = (self.marks.to_end(tags.before_key), self.marks.to_end(tags.after_key));
            let value = self.xml_value(&tags, &schema::with_our_white_space(json!({})));
            items.push(format!("(\"\\n\"? {before} /[a-zA-Z_][a-zA-Z0-9_]*/ {after} {value})*"));
        }
        items.push("\"\\n\"?".to_owned());
        Ok(self.rule("", &items.join(" ")))
    }

    /// A value and its closing tag.
    fn xml_value(&mut self, tags: &Tags, schema: &Value) -> String {
        let is_text = Kind::of(schema) != Kind::Json;
        let type_word = match tags.after_type {
            "" => String::new(),
            after => self.marks.to_end(&format!("{is_text}{after}")),
        };
        let close = self.marks.to_end(tags.after_value);
        let value = match texts(schema) {
            Some(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                format!("\"\\n\"? ({}) \"\\n\"? {close}", texts.join(" | "))
            }
            None if is_text => self.until_end(ANY, tags.after_value),
            None => format!("\"\\n\"? %json {schema} \"\\n\"? {close}"),
        };
        format!("{type_word} {value}")
    }
}
