//! Borders of a prompt: the positions at which other prompts are likely to part from it. Models with recurrent layers keep their
//! state there.

use inferno_text::{Rendered, RenderedPart};
use serde_json::Value;

/// Bytes of a message's text that are looked for in the prompt.
const NEEDLE: usize = 48;

/// Positions before the first and the last message of a user: where tools and system prompt end, and where the last turn
/// begins. `tokens` are those of `rendered`.
///
/// A template's control tokens are the same ones in `tokens`, as texts never have them. So a border is right behind one, and
/// templates without control tokens have none.
pub(super) fn borders(messages: &[Value], rendered: &Rendered, tokens: &[u32]) -> Vec<usize> {
    let Some([first, last]) = users(messages, &rendered.parts) else { return Vec::new() };
    let mut borders = Vec::new();
    let mut position = 0;
    for (i, part) in rendered.parts.iter().enumerate() {
        if (i == first || i == last) && position > 0 && !borders.contains(&position) {
            borders.push(position);
        }
        let &RenderedPart::Token(id) = part else { continue };
        let Some(n) = tokens[position..].iter().position(|&token| token == id) else { break };
        position += n + 1;
    }
    borders
}

/// The parts with the first and the last user's text, each looked for behind the messages before it.
fn users(messages: &[Value], parts: &[RenderedPart]) -> Option<[usize; 2]> {
    let (mut found, mut at) = (None, (0, 0));
    for message in messages {
        let Some(place) = text(&message["content"]).and_then(|text| find(parts, at, needle(text))) else {
            continue;
        };
        at = place;
        if message["role"] == "user" {
            let [first, _] = found.unwrap_or([place.0; 2]);
            found = Some([first, place.0]);
        }
    }
    found
}

fn text(content: &Value) -> Option<&str> {
    match content {
        Value::String(text) => Some(text),
        Value::Array(parts) => parts.iter().find_map(|part| part["text"].as_str()),
        _ => None,
    }
}

/// The start of a text without the white space around it, which templates leave out.
fn needle(text: &str) -> &str {
    let text = text.trim();
    let end = (0..=NEEDLE.min(text.len())).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

/// The first place of `needle` from part and byte `at` on: its part, and the byte behind it.
fn find(parts: &[RenderedPart], at: (usize, usize), needle: &str) -> Option<(usize, usize)> {
    let (first, start) = at;
    parts.iter().enumerate().skip(first).find_map(|(i, part)| {
        let RenderedPart::Text(text) = part else { return None };
        let start = if i == first { start } else { 0 };
        text[start..].find(needle).map(|place| (i, start + place + needle.len()))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(parts: &[Result<u32, &str>]) -> Rendered {
        let part = |part: &Result<u32, &str>| match *part {
            Ok(id) => RenderedPart::Token(id),
            Err(text) => RenderedPart::Text(text.to_owned()),
        };
        Rendered { parts: parts.iter().map(part).collect() }
    }

    #[test]
    fn borders_are_before_the_first_and_the_last_message_of_a_user() {
        let message = |role: &str, content: &str| json!({ "role": role, "content": content });
        let messages = [
            message("system", "Say Hi."),
            message("user", "Hi "),
            message("assistant", "x"),
            message("user", "Hi"),
        ];
        let prompt = rendered(&[
            Ok(1),
            Err("system\nSay Hi."),
            Ok(2),
            Err("\n"),
            Ok(1),
            Err("user\nHi"),
            Ok(2),
            Ok(1),
            Err("assistant\nx"),
            Ok(2),
            Ok(1),
            Err("user\nHi"),
            Ok(2),
            Ok(1),
            Err("assistant\n"),
        ]);
        let tokens = [1, 50, 51, 52, 2, 60, 1, 70, 71, 2, 1, 80, 81, 82, 2, 1, 70, 71, 2, 1, 80];
        assert_eq!(borders(&messages, &prompt, &tokens), [7, 16]);
        assert_eq!(borders(&messages[..2], &prompt, &tokens), [7]);
        let parts = json!([{ "type": "text", "text": "Hi" }]);
        assert_eq!(borders(&[json!({ "role": "user", "content": parts })], &prompt, &tokens), [1]);
        assert_eq!(borders(&messages[..1], &prompt, &tokens), [0_usize; 0], "no user message");
        let plain = rendered(&[Err("Say Hi. User: Hi")]);
        assert_eq!(borders(&messages, &plain, &[5, 6]), [0_usize; 0], "without control tokens");
    }
}
