//! Tags within free text, and in a row.

use serde_json::{Map, Value};

use super::{After, Writer, error, flag, list, text};
use crate::source::GrammarError;

impl Writer<'_> {
    /// Free text in which a trigger begins a tag.
    pub(super) fn triggered(
        &mut self,
        map: &Map<String, Value>,
        tags: &[(&Value, String)],
        path: &str,
        after: &After,
    ) -> Result<String, GrammarError> {
        let triggers = triggers(map, path)?;
        let (at_least_one, once) = (flag(map, "at_least_one", path)?, flag(map, "stop_after_first", path)?);
        let any = self.any_text(map, path)?;
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
            let until = self.until(&any, trigger);
            let tags = self.rule("", &behind.join(" | "));
            found.push(format!("{until} {tags}"));
        }
        let found = self.rule("", &found.join(" | "));
        let direct = self.rule("", &direct.join(" | "));
        let rest = match after {
            After::End => any,
            After::Text(end) if !end.is_empty() => self.until_end(&any, end),
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

    /// Tags with a text between them.
    pub(super) fn separated(
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
