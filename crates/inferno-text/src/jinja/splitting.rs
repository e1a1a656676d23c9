//! Strings cut into parts: `split`, `rsplit`, `splitlines`.

use super::error::{Result, error};
use super::operators;
use super::run::Run;
use super::text::Text;
use super::unicode::{self, is_space};
use super::value::Value;

/// `str.split`, or `rsplit`.
pub(super) fn split(
    run: &mut Run,
    this: &Text,
    sep: Option<&Text>,
    most: usize,
    from_right: bool,
) -> Result<Value> {
    let s = this.as_str();
    let parts: Vec<&str> = match (sep, from_right) {
        (Some(sep), _) if sep.is_empty() => return Err(error("empty separator")),
        (Some(sep), false) => s.splitn(most.saturating_add(1), sep.as_str()).collect(),
        (Some(sep), true) => {
            let mut parts: Vec<&str> = s.rsplitn(most.saturating_add(1), sep.as_str()).collect();
            parts.reverse();
            parts
        }
        (None, false) => {
            let mut parts = Vec::new();
            let mut rest = s.trim_start_matches(is_space);
            while !rest.is_empty() {
                let end = if parts.len() == most { None } else { rest.find(is_space) };
                let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
                parts.push(word);
                rest = after.trim_start_matches(is_space);
            }
            parts
        }
        (None, true) => {
            let mut parts = Vec::new();
            let mut rest = s.trim_end_matches(is_space);
            while !rest.is_empty() {
                let found = if parts.len() == most { None } else { rest.rfind(is_space) };
                let start = found.map_or(0, |at| at + rest[at..].chars().next().map_or(0, char::len_utf8));
                parts.push(&rest[start..]);
                rest = rest[..start].trim_end_matches(is_space);
            }
            parts.reverse();
            parts
        }
    };
    list(run, this, &parts)
}

/// Lines, with their ends if `keep`.
pub(super) fn lines(text: &str, keep: bool) -> Vec<&str> {
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let Some((at, c)) = rest.char_indices().find(|&(_, c)| unicode::is_line_end(c)) else {
            lines.push(rest);
            break;
        };
        let end = at + if rest[at..].starts_with("\r\n") { 2 } else { c.len_utf8() };
        lines.push(&rest[..if keep { end } else { at }]);
        rest = &rest[end..];
    }
    lines
}

/// Parts of `this` as a list.
pub(super) fn list(run: &mut Run, this: &Text, parts: &[&str]) -> Result<Value> {
    operators::items(run, parts.len())?;
    run.makes(this.n_bytes())?;
    Value::list(parts.iter().map(|part| Value::Str(this.slice_of(part))).collect())
}
