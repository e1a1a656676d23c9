//! What stands in a line.

use std::io::{self, BufRead, Read};

use crate::commands::MAX_PROMPT_BYTES;

/// A line of stdin.
#[derive(Debug, PartialEq)]
pub(super) enum Line {
    /// Without its end.
    Text(String),
    /// It is not taken, and this is why.
    Unfit(String),
    End,
}

/// What a line means.
#[derive(Debug, PartialEq)]
pub(super) enum Said<'a> {
    Turn(&'a str),
    System(&'a str),
    Reset,
    Help,
    Exit,
    /// A command that there is not.
    Unknown(&'a str),
    /// A blank line.
    Nothing,
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

impl Said<'_> {
    pub(super) fn of(line: &str) -> Said<'_> {
        let is_command = line.starts_with('/');
        let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        match (word, rest.trim()) {
            _ if line.trim().is_empty() => Said::Nothing,
            _ if !is_command => Said::Turn(line),
            ("/system", text) => Said::System(text),
            ("/reset", "") => Said::Reset,
            ("/help", "") => Said::Help,
            ("/exit", "") => Said::Exit,
            ("/reset" | "/help" | "/exit", _) => Said::Unknown(line.trim_end()),
            _ => Said::Unknown(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_turn_a_command_or_nothing() {
        for (line, said) in [
            ("Hello /exit", Said::Turn("Hello /exit")),
            (" /exit", Said::Turn(" /exit")),
            ("", Said::Nothing),
            (" \t", Said::Nothing),
            ("/exit ", Said::Exit),
            ("/reset", Said::Reset),
            ("/help", Said::Help),
            ("/system  Be kind. ", Said::System("Be kind.")),
            ("/system", Said::System("")),
            ("/systems x", Said::Unknown("/systems")),
            ("/exit now", Said::Unknown("/exit now")),
            ("/", Said::Unknown("/")),
        ] {
            assert_eq!(Said::of(line), said, "{line}");
        }
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
