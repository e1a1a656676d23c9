//! Kinds of lines in Markdown, told by their beginnings.

/// Kind of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A paragraph, an item of a list or a quotation. Its rows but the first are indented as far as its mark is wide.
    Text,
    Heading,
    /// Code or a row of a table: not wrapped.
    Verbatim,
    /// The first or the last line of a block of code.
    Fence,
}

/// Delimiter of a block of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    mark: char,
    len: usize,
}

impl Fence {
    /// Of a line's mark.
    pub(super) fn of(mark: &str) -> Fence {
        let mark = mark.trim_start();
        Fence { mark: mark.chars().next().unwrap_or('`'), len: mark.len() }
    }
}

/// Longest indentation of a line with a mark.
const MOST_INDENT: usize = 24;
/// Most backticks or tildes of a fence that are waited for.
const MOST_MARKS: usize = 32;
/// Most digits of an item's number.
const MOST_DIGITS: usize = 9;

/// Kind of the line that begins with `head`, and the bytes of its mark with the blanks around it. `None` if more characters may
/// change it, unless the line `is_complete`.
pub(super) fn classify(head: &str, fence: Option<&Fence>, is_complete: bool) -> Option<(Kind, usize)> {
    let rest = head.trim_start_matches(' ');
    let indent = head.len() - rest.len();
    if indent > MOST_INDENT {
        return Some((if fence.is_some() { Kind::Verbatim } else { Kind::Text }, indent));
    }
    let found = match fence {
        Some(fence) => in_code(rest, fence),
        None => in_text(rest),
    };
    let plain = if fence.is_some() { Found::Is(Kind::Verbatim, 0) } else { Found::Is(Kind::Text, 0) };
    match if is_complete && found == Found::Open { complete(rest, fence, plain) } else { found } {
        Found::Open => None,
        Found::Is(kind, n) => Some((kind, indent + n)),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// With the length of the mark behind the indentation.
    Is(Kind, usize),
    /// More characters are needed.
    Open,
}

/// Length of the run of `mark` at the beginning.
fn run(text: &str, mark: char) -> usize {
    text.len() - text.trim_start_matches(mark).len()
}

/// The line ends where it could have gone on.
fn complete(rest: &str, fence: Option<&Fence>, plain: Found) -> Found {
    let n = run(rest, fence.map_or('`', |fence| fence.mark));
    match fence {
        Some(fence) if n >= fence.len && rest[n..].trim_end().is_empty() => Found::Is(Kind::Fence, n),
        None if n >= 3 && n == rest.len() => Found::Is(Kind::Fence, n),
        None if run(rest, '~') >= 3 && run(rest, '~') == rest.len() => Found::Is(Kind::Fence, rest.len()),
        _ => plain,
    }
}

fn in_code(rest: &str, fence: &Fence) -> Found {
    let n = run(rest, fence.mark);
    // Only blanks may follow what ends a block.
    let is_end = rest[n..].trim_end().is_empty();
    if rest.is_empty() || (is_end && rest.len() < fence.len + 64) {
        Found::Open
    } else {
        Found::Is(Kind::Verbatim, 0)
    }
}

fn in_text(rest: &str) -> Found {
    let text = Found::Is(Kind::Text, 0);
    let Some(first) = rest.chars().next() else { return Found::Open };
    match first {
        '`' | '~' => match run(rest, first) {
            n if n == rest.len() && n < MOST_MARKS => Found::Open,
            n if n >= 3 => Found::Is(Kind::Fence, n),
            _ => text,
        },
        '#' => match run(rest, '#') {
            n if n == rest.len() && n <= 6 => Found::Open,
            n if n <= 6 && rest[n..].starts_with(' ') => Found::Is(Kind::Heading, n + 1),
            _ => text,
        },
        '-' | '*' | '+' | '>' => match rest[1..].chars().next() {
            None => Found::Open,
            Some(' ') => Found::Is(Kind::Text, 2),
            Some(_) => text,
        },
        '|' => Found::Is(Kind::Verbatim, 0),
        '0'..='9' => {
            let n = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let mut behind = rest[n..].chars();
            match (behind.next(), behind.next()) {
                _ if n > MOST_DIGITS => text,
                (None, _) | (Some('.' | ')'), None) => Found::Open,
                (Some('.' | ')'), Some(' ')) => Found::Is(Kind::Text, n + 2),
                _ => text,
            }
        }
        _ => text,
    }
}
