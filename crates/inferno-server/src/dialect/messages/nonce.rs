//! A line at the top of system prompts that differs in every request: Claude Code's billing header. As a prefix cache ends
//! where prompts differ, it would find none of them.

/// Name at the start of the line.
pub(super) const NAME: &str = "x-anthropic-billing-header";

/// Takes such lines off the start of a system prompt's texts; true if there was one.
pub(super) fn strip(texts: &mut Vec<String>) -> bool {
    let mut found = false;
    while let Some(first) = texts.first_mut() {
        let Some(rest) = without_line(first) else { break };
        found = true;
        if rest.is_empty() {
            texts.remove(0);
        } else {
            *first = rest.to_owned();
        }
    }
    found
}

/// The text behind the line; `None` if it does not begin with one.
fn without_line(text: &str) -> Option<&str> {
    let (name, rest) = text.split_at_checked(NAME.len())?;
    if !(name.eq_ignore_ascii_case(NAME) && rest.starts_with(':')) {
        return None;
    }
    let rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    Some(rest.trim_start_matches(['\r', '\n']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_this_name_are_taken_off_the_start_alone() {
        let check = |texts: &[&str], expected: &[&str]| {
            let mut found: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            assert_eq!(strip(&mut found), texts != expected, "{texts:?}");
            assert_eq!(found, expected);
        };
        let header = "x-anthropic-billing-header: cc_version=2.1; cch=9ab31;";
        check(&[header, "Be brief."], &["Be brief."]);
        check(&[header], &[]);
        check(&[&format!("{header}\r\n\nBe brief.\nx")], &["Be brief.\nx"]);
        check(&[&format!("{header}\n"), &header.to_uppercase(), "x"], &["x"]);
        for kept in [
            "x-anthropic-billing-headers: x",
            "x-anthropic-billing-header",
            "",
            "Say x-anthropic-billing-header: x",
        ] {
            check(&[kept, header], &[kept, header]);
        }
        check(&[], &[]);
    }
}
