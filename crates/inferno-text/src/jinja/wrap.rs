//! Filters that lay out text: `indent`, `truncate`, `wordwrap`.

use super::arguments::{int, size};
use super::error::{Result, error};
use super::run::Run;
use super::splitting::lines;
use super::text::{Text, TextBuilder};
use super::unicode::{is_line_end, is_space};
use super::value::Value;

pub(super) fn indent(
    run: &mut Run,
    text: &Text,
    width: Option<&Value>,
    first: bool,
    blank: bool,
) -> Result<Value> {
    let indent = match width {
        None => Text::own("    "),
        Some(Value::Str(text)) => text.clone(),
        Some(n) => {
            let n = size(int(n, "indent")?);
            run.makes(n)?;
            Text::own(" ".repeat(n))
        }
    };
    let mut all = lines(text.as_str(), false);
    // A line end is put behind the text before it is cut.
    if text.is_empty() || text.as_str().ends_with(is_line_end) {
        all.push(&text.as_str()[text.n_bytes()..]);
    }
    run.items(all.len())?;
    run.makes(text.n_bytes().saturating_add(all.len().saturating_mul(indent.n_bytes())))?;
    let mut out = TextBuilder::default();
    for (i, line) in all.iter().enumerate() {
        if i > 0 {
            out.own("\n");
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_text(&indent);
        }
        out.push_text(&text.slice_of(line));
    }
    Ok(Value::Str(out.finish()))
}

pub(super) fn truncate(
    run: &mut Run,
    text: &Text,
    length: i128,
    kill_words: bool,
    end: &Text,
    leeway: i128,
) -> Result<Value> {
    let n_end = end.n_chars() as i128;
    if length < n_end {
        return Err(error(format!("expected length >= {n_end}, got {length}")));
    }
    if leeway < 0 {
        return Err(error(format!("expected leeway >= 0, got {leeway}")));
    }
    if text.n_chars() as i128 <= length.saturating_add(leeway) {
        return Ok(Value::Str(text.clone()));
    }
    let mut cut = text.byte_of(size(length - n_end));
    if !kill_words {
        cut = text.as_str()[..cut].rfind(' ').unwrap_or(cut);
    }
    let mut out = TextBuilder::default();
    out.push_range(text, 0..cut);
    out.push_text(end);
    run.made(out.finish())
}

/// `textwrap.wrap` of each line.
pub(super) fn wrap(
    run: &mut Run,
    text: &Text,
    width: usize,
    break_long: bool,
    with: &Text,
    hyphens: bool,
) -> Result<Value> {
    if width == 0 {
        return Err(error("invalid width 0 (must be > 0)"));
    }
    let mut out = TextBuilder::default();
    for (i, line) in lines(text.as_str(), false).into_iter().enumerate() {
        if i > 0 {
            out.push_text(with);
        }
        for (j, part) in wrapped(line, width, break_long, hyphens).into_iter().enumerate() {
            run.step()?;
            if j > 0 {
                out.push_text(with);
            }
            out.push_text(&text.slice_of(part));
        }
    }
    run.made(out.finish())
}

fn wrapped(line: &str, width: usize, break_long: bool, hyphens: bool) -> Vec<&str> {
    let mut chunks = chunks(line, hyphens);
    chunks.reverse();
    let n = |text: &str| text.chars().count();
    let mut lines: Vec<&str> = Vec::new();
    while let Some(&next) = chunks.last() {
        if next.trim().is_empty() && !lines.is_empty() {
            chunks.pop();
        }
        // Chunks follow each other in the line, so that a line is a range.
        let mut start: Option<usize> = None;
        let (mut end, mut len) = (0, 0);
        let mut last: &str = "";
        let at = |chunk: &str| chunk.as_ptr() as usize - line.as_ptr() as usize;
        while let Some(&chunk) = chunks.last().filter(|chunk| len + n(chunk) <= width) {
            start.get_or_insert(at(chunk));
            end = at(chunk) + chunk.len();
            len += n(chunk);
            last = chunk;
            chunks.pop();
        }
        if let Some(chunk) = chunks.last_mut().filter(|chunk| n(chunk) > width) {
            if break_long {
                let left = width - len;
                let byte = |idx: usize| chunk.char_indices().nth(idx).map_or(chunk.len(), |(at, _)| at);
                let mut cut = byte(left);
                if hyphens
                    && let Some(hyphen) = chunk[..cut].rfind('-').filter(|&at| at > 0)
                    && chunk[..hyphen].contains(|c| c != '-')
                {
                    cut = hyphen + 1;
                }
                if cut > 0 {
                    start.get_or_insert(at(chunk));
                    last = &chunk[..cut];
                    end = at(chunk) + cut;
                    *chunk = &chunk[cut..];
                }
            } else if start.is_none() {
                start = Some(at(chunk));
                end = at(chunk) + chunk.len();
                last = chunk;
                chunks.pop();
            }
        }
        let Some(start) = start else { continue };
        if !last.is_empty() && last.trim().is_empty() {
            end -= last.len();
        }
        if end > start {
            lines.push(&line[start..end]);
        }
    }
    lines
}

/// Words and the white space between, cut behind hyphens too.
fn chunks(line: &str, hyphens: bool) -> Vec<&str> {
    let mut chunks = Vec::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let blank = is_space(c);
        let end = rest.find(|c| is_space(c) != blank).unwrap_or(rest.len());
        let (chunk, after) = rest.split_at(end);
        rest = after;
        if blank || !hyphens {
            chunks.push(chunk);
            continue;
        }
        let chars: Vec<(usize, char)> = chunk.char_indices().collect();
        let is_letter = |i: usize| chars.get(i).is_some_and(|&(_, c)| c.is_alphabetic() || c == '_');
        let is_word =
            |i: usize| chars.get(i).is_some_and(|&(_, c)| c.is_alphanumeric() || "_!\"'&.,?".contains(c));
        let is_hyphen = |i: usize| chars.get(i).is_some_and(|&(_, c)| c == '-');
        let mut from = 0;
        let mut i = 1;
        while i < chars.len() {
            let dashes = (i..chars.len()).take_while(|&i| is_hyphen(i)).count();
            let behind = chars.get(i + dashes).is_some_and(|&(_, c)| c.is_alphanumeric() || c == '_');
            if dashes >= 2 && is_word(i - 1) && behind {
                chunks.extend([&chunk[from..chars[i].0], &chunk[chars[i].0..chars[i + dashes].0]]);
                from = chars[i + dashes].0;
                i += dashes;
            } else if is_hyphen(i)
                && i >= 2
                && is_letter(i - 1)
                && (is_letter(i - 2) || i >= 3 && is_hyphen(i - 2) && is_letter(i - 3))
                && is_letter(i + 1)
                && (is_letter(i + 2) || is_hyphen(i + 2) && is_letter(i + 3))
            {
                chunks.push(&chunk[from..chars[i].0 + 1]);
                from = chars[i].0 + 1;
            }
            i += 1;
        }
        chunks.push(&chunk[from..]);
    }
    chunks.retain(|chunk| !chunk.is_empty());
    chunks
}
