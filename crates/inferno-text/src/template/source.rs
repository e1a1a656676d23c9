//! Reading a template's source, as far as the engine does not.

/// The string constants between `{{` and `}}` or `{%` and `%}`, longest first, each once.
pub(super) fn string_literals(source: &str) -> Vec<String> {
    let mut literals = Vec::new();
    for (_, code) in tags(source) {
        let mut chars = code.chars();
        while let Some(c) = chars.next() {
            if c == '"' || c == '\'' {
                literals.push(literal(&mut chars, c));
            }
        }
    }
    literals.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    literals.dedup();
    literals
}

/// The names of attributes that the code asks for (`message.content`), in no order.
pub(super) fn attributes(source: &str) -> Vec<&str> {
    let mut names = Vec::new();
    for (_, code) in tags(source) {
        let mut chars = code.chars();
        while let Some(c) = chars.next() {
            let rest = chars.as_str();
            match c {
                '"' | '\'' => drop(literal(&mut chars, c)),
                '.' => {
                    let is_name = |c: char| c.is_alphanumeric() || c == '_';
                    names.push(&rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]);
                }
                _ => {}
            }
        }
    }
    names
}

/// The inside of each tag and where it starts. Comments are passed over.
fn tags(source: &str) -> Vec<(usize, &str)> {
    let mut tags = Vec::new();
    let mut pos = 0;
    while let Some(open) = source[pos..].find('{') {
        let start = pos + open + 1;
        let close = match source.as_bytes().get(start) {
            Some(b'#') => "#}",
            Some(b'%') => "%}",
            Some(b'{') => "}}",
            _ => {
                pos = start;
                continue;
            }
        };
        let end = end_of_tag(source, start + 1, close);
        if close != "#}" {
            tags.push((start + 1, &source[start + 1..end]));
        }
        pos = end;
    }
    tags
}

/// Where `close` is next, outside string constants.
fn end_of_tag(source: &str, start: usize, close: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (i, c) in source[start..].char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(q) if q == c => quote = None,
            Some(_) => {}
            None if source[start + i..].starts_with(close) => return start + i,
            None if close != "#}" && (c == '"' || c == '\'') => quote = Some(c),
            None => {}
        }
    }
    source.len()
}

/// The constant whose opening quote was just read.
fn literal(chars: &mut std::str::Chars<'_>, quote: char) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some('r') => text.push('\r'),
                Some(other) => text.push(other),
                None => {}
            },
            c if c == quote => break,
            c => text.push(c),
        }
    }
    text
}
