//! vLLM's structural tags, in both forms, as Lark.
//!
//! Free text before a tag is a lazy lexeme that ends with the trigger, so no trigger can be written without its tag.

use std::fmt::Write;

use inferno_text::Tokenizer;
use serde_json::{Map, Value, json};

use crate::compiler::regex_literal;
use crate::gbnf;
use crate::marks::{Marks, quoted};
use crate::schema;
use crate::source::GrammarError;

/// Any text; control tokens are none.
const ANY: &str = "/(.|\\n)*/";

/// A structural tag as Lark, with the keywords of its schemas that are not enforced.
///
/// # Errors
/// The tag is malformed, or has a part that cannot be kept: with its place.
pub(crate) fn to_lark(tag: &Value, tokenizer: &Tokenizer) -> Result<(String, Vec<String>), GrammarError> {
    let mut writer = Writer {
        marks: Marks::of_vocabulary(tokenizer),
        lark: String::new(),
        n_rules: 0,
        unenforced: Vec::new(),
    };
    let map = tag.as_object().ok_or_else(|| error("#", "a structural tag is an object"))?;
    let start = if let Some(format) = map.get("format") {
        writer.format(format, "#/format", &After::End)?
    } else if map.contains_key("structures") {
        writer.structures(map)?
    } else {
        return Err(error("#", "a structural tag has `format`, or `structures` with `triggers`"));
    };
    Ok((format!("start: {start}\n{}", writer.lark), writer.unenforced))
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

struct Writer {
    marks: Marks,
    lark: String,
    n_rules: usize,
    unenforced: Vec<String>,
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

impl Writer {
    fn rule(&mut self, attributes: &str, body: &str) -> String {
        let name = format!("r{}", self.n_rules);
        self.n_rules += 1;
        let _ = writeln!(self.lark, "{name}{attributes}: {body}");
        name
    }

    /// Any text up to `mark`, and the mark.
    fn until(&mut self, mark: &str) -> String {
        match self.marks.control_in(mark) {
            // A lexeme ends before a control token in any case.
            Some(start) => format!("{ANY} {}", self.marks.to_end(&mark[start..])),
            None => self.rule("[lazy]", &format!("{ANY} {}", quoted(mark))),
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
                Ok(format!("{} {then}", self.json(schema, path)?))
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
                let lark = gbnf::to_lark_before(grammar, near)
                    .map_err(|e| error(&format!("{path}/grammar"), &e.reason))?;
                Ok(format!("{} {}", self.rule("", &format!("%lark {{\n{lark}}}")), self.marks.to_end(far)))
            }
            "any_text" => {
                if map.get("excludes").and_then(Value::as_array).is_some_and(|texts| !texts.is_empty()) {
                    return Err(error(path, "`excludes` is not supported: end the text by a tag"));
                }
                match after {
                    After::End => Ok(ANY.to_owned()),
                    After::Text(end) if !end.is_empty() => Ok(self.until(end)),
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
                let begin = self.marks.to_end(text(map, "begin", path)?);
                Ok(format!("{begin} {}", self.after_begin(map, path, after)?))
            }
            "triggered_tags" => {
                let tags = list(map, "tags", path)?.iter().enumerate();
                let tags: Vec<_> = tags.map(|(i, tag)| (tag, format!("{path}/tags/{i}"))).collect();
                self.triggered(map, &tags, path, after)
            }
            "tags_with_separator" => self.separated(map, path, after),
            other => Err(error(
                path,
                &format!(
                    "type `{other}` is not supported: use const_string, json_schema, regex, \
                grammar, any_text, sequence, or, tag, triggered_tags or tags_with_separator"
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
        let ends: Vec<&str> = match map.get("end") {
            Some(Value::String(end)) => vec![end],
            Some(Value::Array(ends)) if !ends.is_empty() && ends.iter().all(Value::is_string) => {
                ends.iter().filter_map(Value::as_str).collect()
            }
            _ => return Err(error(path, "`end` must be a string or a list of strings")),
        };
        let mut all = Vec::new();
        for end in ends {
            let content_path = format!("{path}/content");
            all.push(match end {
                "" => self.format(content, &content_path, after)?,
                end => {
                    let inner = self.format(content, &content_path, &After::Text(end.to_owned()))?;
                    format!("{inner} {}", self.marks.to_end(after.text()))
                }
            });
        }
        Ok(if all.len() == 1 { all.remove(0) } else { self.rule("", &all.join(" | ")) })
    }

    /// Free text in which a trigger begins a tag.
    fn triggered(
        &mut self,
        map: &Map<String, Value>,
        tags: &[(&Value, String)],
        path: &str,
        after: &After,
    ) -> Result<String, GrammarError> {
        let triggers = triggers(map, path)?;
        let (at_least_one, once) = (flag(map, "at_least_one", path)?, flag(map, "stop_after_first", path)?);
        if map.get("excludes").and_then(Value::as_array).is_some_and(|texts| !texts.is_empty()) {
            return Err(error(path, "`excludes` is not supported"));
        }
        let last = match (once, after) {
            (true, after) => after.clone(),
            (false, _) => After::Other,
        };
        let (mut direct, mut behind) = (Vec::new(), vec![Vec::new(); triggers.len()]);
        for (tag, path) in tags {
            let map = tag.as_object().ok_or_else(|| error(path, "a tag is an object"))?;
            let begin = text(map, "begin", path)?;
            let Some(i) = triggers.iter().position(|trigger| begin.starts_with(trigger)) else {
                return Err(error(path, "`begin` starts with none of the triggers: add one"));
            };
            let rest = self.after_begin(map, path, &last)?;
            let rest = self.rule("", &rest);
            direct.push(format!("{} {rest}", self.marks.to_end(begin)));
            behind[i].push(format!("{} {rest}", self.marks.to_end(&begin[triggers[i].len()..])));
        }
        let mut found = Vec::new();
        for (trigger, behind) in triggers.iter().zip(&behind) {
            if behind.is_empty() {
                return Err(error(path, &format!("trigger {trigger:?} begins no tag: remove it")));
            }
            let until = self.until(trigger);
            let tags = self.rule("", &behind.join(" | "));
            found.push(format!("{until} {tags}"));
        }
        let found = self.rule("", &found.join(" | "));
        let direct = self.rule("", &direct.join(" | "));
        let rest = match after {
            After::End => ANY.to_owned(),
            After::Text(end) if !end.is_empty() => self.until(end),
            _ if at_least_one && once => String::new(),
            _ => return Err(error(path, "text with tags must be last, or have a fixed text behind it")),
        };
        Ok(match (at_least_one, once) {
            (true, true) => direct,
            (true, false) => format!("{direct} {found}* {rest}"),
            (false, true) => self.rule("", &format!("{found} | {rest}")),
            (false, false) => format!("{found}* {rest}"),
        })
    }

    fn separated(
        &mut self,
        map: &Map<String, Value>,
        path: &str,
        after: &After,
    ) -> Result<String, GrammarError> {
        let separator = self.marks.to_end(text(map, "separator", path)?);
        let (at_least_one, once) = (flag(map, "at_least_one", path)?, flag(map, "stop_after_first", path)?);
        let mut all = Vec::new();
        for (i, tag) in list(map, "tags", path)?.iter().enumerate() {
            all.push(self.format(tag, &format!("{path}/tags/{i}"), &After::Other)?);
        }
        let tag = self.rule("", &all.join(" | "));
        let tags = if once { tag } else { format!("{tag} ({separator} {tag})*") };
        let then = self.marks.to_end(after.text());
        Ok(if at_least_one { format!("{tags} {then}") } else { format!("({tags})? {then}") })
    }
}

/// The triggers of which none begins another; such are never reached.
fn triggers(map: &Map<String, Value>, path: &str) -> Result<Vec<String>, GrammarError> {
    let mut all = Vec::new();
    for trigger in list(map, "triggers", path)? {
        match trigger.as_str() {
            Some(text) if !text.is_empty() => all.push(text.to_owned()),
            _ => return Err(error(path, "`triggers` must be strings that are not empty")),
        }
    }
    all.sort_by_key(String::len);
    let mut kept: Vec<String> = Vec::new();
    for trigger in all {
        if kept.iter().any(|other| trigger.starts_with(other.as_str())) {
            continue;
        }
        if let Some(other) = kept.iter().find(|other| trigger.contains(other.as_str())) {
            return Err(error(path, &format!("trigger {trigger:?} contains trigger {other:?}: remove one")));
        }
        kept.push(trigger);
    }
    Ok(kept)
}
