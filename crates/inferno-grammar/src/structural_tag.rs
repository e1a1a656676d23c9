//! vLLM's structural tags, in both forms, as Lark.
//!
//! Free text before a tag is a lazy lexeme that ends with the trigger, so no trigger can be written without its tag.

mod tokens;
mod triggers;
mod xml;

use std::fmt::Write;

use inferno_text::Tokenizer;
use serde_json::{Map, Value, json};

use crate::compiler::regex_literal;
use crate::gbnf;
use crate::marks::{Marks, literal, quoted};
use crate::named_tokens;
use crate::schema;
use crate::source::{GrammarError, LarkText};

/// Any text; control tokens are none.
const ANY: &str = "/(.|\\n)*/";

/// Repetitions that can be asked for.
const MOST_REPETITIONS: u64 = 2000;

/// A structural tag as Lark.
///
/// # Errors
/// The tag is malformed, or has a part that cannot be kept: with its place.
pub(crate) fn to_lark(tag: &Value, tokenizer: &Tokenizer) -> Result<LarkText, GrammarError> {
    let mut writer = Writer {
        tokenizer,
        marks: Marks::of_vocabulary(tokenizer),
        lark: String::new(),
        n_rules: 0,
        unenforced: Vec::new(),
        ends: Vec::new(),
    };
    let map = tag.as_object().ok_or_else(|| error("#", "a structural tag is an object"))?;
    let start = if let Some(format) = map.get("format") {
        writer.format(format, "#/format", &After::End)?
    } else if map.contains_key("structures") {
        writer.structures(map)?
    } else {
        return Err(error("#", "a structural tag has `format`, or `structures` with `triggers`"));
    };
    let lark = format!("start: {start}\n{}", writer.lark);
    Ok(LarkText { lark, unenforced: writer.unenforced, marks: writer.ends })
}

/// Text that comes after a part of the answer.
#[derive(Debug, Clone)]
enum After {
    /// The answer is over.
    End,
    /// This text, which the part writes too.
    Text(String),
    /// Something else.
    Other,
}

impl After {
    fn text(&self) -> &str {
        match self {
            After::Text(text) => text,
            After::End | After::Other => "",
        }
    }
}

struct Writer<'a> {
    tokenizer: &'a Tokenizer,
    marks: Marks,
    lark: String,
    n_rules: usize,
    unenforced: Vec<String>,
    /// Marks that end texts of any characters, as bytes.
    ends: Vec<Vec<u8>>,
}

fn error(path: &str, reason: &str) -> GrammarError {
    GrammarError {
        path: path.to_owned(),
        reason: format!("structural tag at {path}: {reason}"),
        is_malformed: true,
    }
}

fn text<'a>(map: &'a Map<String, Value>, key: &str, path: &str) -> Result<&'a str, GrammarError> {
    map.get(key).and_then(Value::as_str).ok_or_else(|| error(path, &format!("`{key}` must be a string")))
}

fn list<'a>(map: &'a Map<String, Value>, key: &str, path: &str) -> Result<&'a [Value], GrammarError> {
    match map.get(key) {
        Some(Value::Array(items)) if !items.is_empty() => Ok(items),
        _ => Err(error(path, &format!("`{key}` must be a list that is not empty"))),
    }
}

fn flag(map: &Map<String, Value>, key: &str, path: &str) -> Result<bool, GrammarError> {
    match map.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(error(path, &format!("`{key}` must be true or false"))),
    }
}

impl Writer<'_> {
    fn rule(&mut self, attributes: &str, body: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.lark, "{name}{attributes}: {body}");
        name
    }

    /// Any text that contains none of the texts that `map` lists as `excludes`, as a terminal.
    fn any_text(&mut self, map: &Map<String, Value>, path: &str) -> Result<String, GrammarError> {
        let excludes = match map.get("excludes") {
            None | Some(Value::Null) => return Ok(ANY.to_owned()),
            Some(Value::Array(texts)) if texts.is_empty() => return Ok(ANY.to_owned()),
            Some(Value::Array(texts)) => texts,
            Some(_) => return Err(error(path, "`excludes` must be a list of strings")),
        };
        let mut all = Vec::new();
        for text in excludes {
            match text.as_str() {
                Some(text) if !text.is_empty() => all.push(literal(text)),
                _ => return Err(error(path, "`excludes` must be strings that are not empty")),
            }
        }
        let name = format!("T{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.lark, "{name}: {ANY} & ~/(.|\\n)*({})(.|\\n)*/", all.join("|"));
        Ok(name)
    }

    /// `any`, a terminal of free text, up to `mark`, and the mark, by which the text can be ended.
    fn until_end(&mut self, any: &str, mark: &str) -> String {
        let end = self.marks.bytes(mark);
        if !end.is_empty() && !self.ends.contains(&end) {
            self.ends.push(end);
        }
        self.until(any, mark)
    }

    /// `any`, a terminal of free text, up to `mark`, and the mark.
    fn until(&mut self, any: &str, mark: &str) -> String {
        match self.marks.control_in(mark) {
            // A lexeme ends before a control token in any case.
            Some(start) => format!("{any} {}", self.marks.to_end(&mark[start..])),
            None => self.rule("[lazy]", &format!("{any} {}", quoted(mark))),
        }
    }

    /// The older form.
    fn structures(&mut self, map: &Map<String, Value>) -> Result<String, GrammarError> {
        let mut tags = Vec::new();
        for (i, structure) in list(map, "structures", "#")?.iter().enumerate() {
            let path = format!("#/structures/{i}");
            let map = structure.as_object().ok_or_else(|| error(&path, "a structure is an object"))?;
            let schema = map.get("schema").or_else(|| map.get("schema_"));
            let schema = schema.ok_or_else(|| error(&path, "`schema` is missing"))?;
            let content = json!({ "type": "json_schema", "json_schema": schema });
            let (begin, end) = (text(map, "begin", &path)?, text(map, "end", &path)?);
            let tag = json!({ "type": "tag", "begin": begin, "content": content, "end": end });
            tags.push((tag, path));
        }
        let tags: Vec<(&Value, String)> = tags.iter().map(|(tag, path)| (tag, path.clone())).collect();
        self.triggered(map, &tags, "#", &After::End)
    }

    /// A part of the answer, with the text of `after`.
    fn format(&mut self, format: &Value, path: &str, after: &After) -> Result<String, GrammarError> {
        let map = format.as_object().ok_or_else(|| error(path, "a format is an object with `type`"))?;
        let then = self.marks.to_end(after.text());
        match text(map, "type", path)? {
            "const_string" => {
                let value = text(map, "value", path)?;
                Ok(self.marks.to_end(&format!("{value}{}", after.text())))
            }
            "json_schema" => {
                let schema = map.get("json_schema").ok_or_else(|| error(path, "`json_schema` is missing"))?;
                match map.get("style").and_then(Value::as_str) {
                    None | Some("json") => Ok(format!("{} {then}", self.json(schema, path)?)),
                    Some(style) => Ok(format!("{} {then}", self.xml(style, schema, path)?)),
                }
            }
            "qwen_xml_parameter" => {
                let schema = map.get("json_schema").ok_or_else(|| error(path, "`json_schema` is missing"))?;
                Ok(format!("{} {then}", self.xml("qwen_xml", schema, path)?))
            }
            "regex" => {
                let pattern = text(map, "pattern", path)?;
                self.regex(pattern, path, after)
            }
            "grammar" => {
                let grammar = text(map, "grammar", path)?;
                // Its lexemes must know what comes after it.
                let control = self.marks.control_in(after.text()).unwrap_or(after.text().len());
                let (near, far) = after.text().split_at(control);
                let find = |written: &str| named_tokens::find(self.tokenizer, written);
                let lark = gbnf::to_lark_before(grammar, near, &find)
                    .map_err(|e| error(&format!("{path}/grammar"), &e.reason))?;
                Ok(format!("{} {}", self.rule("", &format!("%lark {{\n{lark}}}")), self.marks.to_end(far)))
            }
            "any_text" => {
                let any = self.any_text(map, path)?;
                match after {
                    After::End => Ok(any),
                    After::Text(end) if !end.is_empty() => Ok(self.until_end(&any, end)),
                    _ => Err(error(path, "`any_text` must be last, or have a fixed text behind it")),
                }
            }
            "sequence" => self.sequence(list(map, "elements", path)?, path, after),
            "or" => {
                let mut all = Vec::new();
                for (i, element) in list(map, "elements", path)?.iter().enumerate() {
                    all.push(self.format(element, &format!("{path}/elements/{i}"), after)?);
                }
                Ok(self.rule("", &all.join(" | ")))
            }
            "tag" => {
                let begin = self.edge(map, "begin", path)?;
                let begin = self.marks.to_end(&begin);
                Ok(format!("{begin} {}", self.after_begin(map, path, after)?))
            }
            "optional" => Ok(format!("({})? {then}", self.repeated(map, path)?)),
            "star" => Ok(format!("({})* {then}", self.repeated(map, path)?)),
            "plus" => Ok(format!("({})+ {then}", self.repeated(map, path)?)),
            "repeat" => {
                let counts = counts(map, path)?;
                Ok(format!("({}){counts} {then}", self.repeated(map, path)?))
            }
            "token" => Ok(format!("{} {then}", self.token(map, path)?)),
            "exclude_token" => Ok(format!("{} {then}", self.other_tokens(map, path, "")?)),
            "any_tokens" => Ok(format!("{}* {then}", self.other_tokens(map, path, after.text())?)),
            "triggered_tags" => {
                let tags = list(map, "tags", path)?.iter().enumerate();
                let tags: Vec<_> = tags.map(|(i, tag)| (tag, format!("{path}/tags/{i}"))).collect();
                self.triggered(map, &tags, path, after)
            }
            "tags_with_separator" => self.separated(map, path, after),
            other => Err(error(
                path,
                &format!(
                    "type `{other}` is not supported: use const_string, json_schema, qwen_xml_parameter, regex, \
                     grammar, any_text, sequence, or, optional, star, plus, repeat, tag, triggered_tags, \
                     tags_with_separator, token, exclude_token or any_tokens"
                ),
            )),
        }
    }

    fn json(&mut self, schema: &Value, path: &str) -> Result<String, GrammarError> {
        let prepared =
            schema::prepare(schema).map_err(|e| error(&format!("{path}/json_schema"), &e.reason))?;
        let places =
            prepared.unenforced.iter().map(|unenforced| format!("{unenforced} of the schema at {path}"));
        self.unenforced.extend(places);
        Ok(self.rule("", &format!("%json {}", prepared.schema)))
    }

    /// A text that `pattern` matches, to the first end behind such a text.
    fn regex(&mut self, pattern: &str, path: &str, after: &After) -> Result<String, GrammarError> {
        if pattern.is_empty() {
            return Err(error(path, "`pattern` is empty"));
        }
        let regex = regex_literal(pattern);
        let control = self.marks.control_in(after.text()).unwrap_or(after.text().len());
        let (near, far) = after.text().split_at(control);
        let far = self.marks.to_end(far);
        match near {
            "" => Ok(format!("{} {far}", self.rule("", &regex))),
            near => Ok(format!("{} {far}", self.rule("[lazy]", &format!("{regex} {}", quoted(near))))),
        }
    }

    fn sequence(&mut self, elements: &[Value], path: &str, after: &After) -> Result<String, GrammarError> {
        let mut all = Vec::new();
        // Whether the element's first text is written already.
        let mut begun = false;
        for (i, element) in elements.iter().enumerate() {
            let path = format!("{path}/elements/{i}");
            let next = elements.get(i + 1);
            let kind =
                |element: &Value, name: &str| element.get("type").and_then(Value::as_str) == Some(name);
            let first = |element: &Value| match () {
                () if kind(element, "const_string") => element.get("value")?.as_str().map(str::to_owned),
                () if kind(element, "tag") => element.get("begin")?.as_str().map(str::to_owned),
                () => None,
            };
            let takes_end = ["any_text", "regex", "grammar"].iter().any(|name| kind(element, name));
            let behind = match next {
                None => after.clone(),
                Some(next) if takes_end => first(next).map_or(After::Other, After::Text),
                Some(_) => After::Other,
            };
            let was_begun = std::mem::replace(&mut begun, next.is_some() && matches!(behind, After::Text(_)));
            match element.as_object() {
                Some(map) if was_begun && kind(element, "tag") => {
                    all.push(self.after_begin(map, &path, &behind)?);
                }
                Some(_) if was_begun => all.push(self.marks.to_end(behind.text())),
                _ => all.push(self.format(element, &path, &behind)?),
            }
        }
        Ok(all.join(" "))
    }

    /// A tag behind its first text.
    fn after_begin(
        &mut self,
        map: &Map<String, Value>,
        path: &str,
        after: &After,
    ) -> Result<String, GrammarError> {
        let content = map.get("content").ok_or_else(|| error(path, "`content` is missing"))?;
        let ends: Vec<String> = match map.get("end") {
            Some(Value::Array(ends)) if !ends.is_empty() && ends.iter().all(Value::is_string) => {
                ends.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            Some(Value::Array(_)) => return Err(error(path, "`end` must be a string or a list of strings")),
            _ => vec![self.edge(map, "end", path)?],
        };
        let mut all = Vec::new();
        for end in ends {
            let content_path = format!("{path}/content");
            all.push(match &*end {
                "" => self.format(content, &content_path, after)?,
                end => {
                    let inner = self.format(content, &content_path, &After::Text(end.to_owned()))?;
                    format!("{inner} {}", self.marks.to_end(after.text()))
                }
            });
        }
        Ok(if all.len() == 1 { all.remove(0) } else { self.rule("", &all.join(" | ")) })
    }
}

/// `{min,max}` of a repetition, whose `max` of -1 is no limit.
fn counts(map: &Map<String, Value>, path: &str) -> Result<String, GrammarError> {
    let count = |key: &str| {
        map.get(key).and_then(Value::as_i64).ok_or_else(|| error(path, &format!("`{key}` must be a number")))
    };
    let (min, max) = (count("min")?, count("max")?);
    let is_small = |n: i64| u64::try_from(n).is_ok_and(|n| n <= MOST_REPETITIONS);
    match max {
        -1 if is_small(min) => Ok(format!("{{{min},}}")),
        max if is_small(min) && is_small(max) && min <= max => Ok(format!("{{{min},{max}}}")),
        _ => Err(error(
            path,
            &format!(
                "`min` and `max` must be 0 to {MOST_REPETITIONS}, in this order, or `max` -1 for no limit"
            ),
        )),
    }
}
