//! Lines of stdin where it is a pipe, or a terminal on which nothing can be edited.

use std::io::{self, BufRead, Read};

use crate::commands::MAX_PROMPT_BYTES;

/// Input of the user.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Without its end.
    Text(String),
    /// A message, whatever it begins with.
    Message(String),
    /// Refused, with the reason.
    Unfit(String),
    /// Ctrl-C, and whether there was nothing to clear.
    Cleared(bool),
    End,
}

/// Bytes of a line that a terminal passes on: the rest of a longer line is lost before the program sees it.
const TERMINAL_BYTES: usize = if cfg!(target_os = "macos") { 1023 } else { 4095 };

/// Says that a line from a terminal may have been cut by it.
pub(super) fn uncut(line: Line) -> Line {
    match line {
        Line::Text(text) if text.len() >= TERMINAL_BYTES => Line::Unfit(format!(
            "the terminal passes on {TERMINAL_BYTES} bytes of a line at most, and the rest of this one may be lost: put long \
             text into a file (`/file FILE`)"
        )),
        line => line,
    }
}

/// Reads up to the end of a line, but does not hold more than a prompt may have.
pub(super) fn read_line(input: &mut impl BufRead) -> io::Result<Line> {
    let mut bytes = Vec::new();
    input.by_ref().take(MAX_PROMPT_BYTES + 1).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(Line::End);
    }
    let line = bytes.strip_suffix(b"\n");
    if line.is_none() && bytes.len() as u64 > MAX_PROMPT_BYTES {
        let n_bytes = bytes.len() + input.skip_until(b'\n')?;
        return Ok(Line::Unfit(format!("the line has {n_bytes} bytes, at most {MAX_PROMPT_BYTES} are read")));
    }
    let line = line.unwrap_or(&bytes);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(match std::str::from_utf8(line) {
        Ok(text) => Line::Text(text.to_owned()),
        Err(e) => Line::Unfit(format!("the line is not UTF-8 at byte {}", e.valid_up_to())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_as_long_as_a_terminal_takes_is_not_believed() {
        let line = |n| uncut(Line::Text("x".repeat(n)));
        assert!(matches!(line(TERMINAL_BYTES - 1), Line::Text(_)));
        assert!(matches!(line(TERMINAL_BYTES), Line::Unfit(why) if why.contains("`/file FILE`")));
    }

    #[test]
    fn lines_end_with_any_newline_or_with_the_input() {
        let mut input = &b"a\nb\r\n\nc"[..];
        for expected in ["a", "b", "", "c"] {
            assert_eq!(read_line(&mut input).unwrap(), Line::Text(expected.into()));
        }
        assert_eq!(read_line(&mut input).unwrap(), Line::End);
    }

    #[test]
    fn the_line_after_an_unfit_one_is_read() {
        let long = vec![b'x'; MAX_PROMPT_BYTES as usize + 5];
        let input = [&long[..], b"\na\xff\nb\n", &long[5..], b"\n"].concat();
        let mut input = &input[..];
        let unfit = |why: &str| Line::Unfit(why.into());
        let expected = unfit("the line has 16777222 bytes, at most 16777216 are read");
        assert_eq!(read_line(&mut input).unwrap(), expected);
        assert_eq!(read_line(&mut input).unwrap(), unfit("the line is not UTF-8 at byte 1"));
        assert_eq!(read_line(&mut input).unwrap(), Line::Text("b".into()));
        assert!(matches!(read_line(&mut input).unwrap(), Line::Text(x) if x.len() == long.len() - 5));
    }
}
