use super::*;
use proptest::prelude::*;

/// [`Marker::mark`] in so many words.
fn mark(reserved: &[String], literals: &[String], words: &HashSet<String>, text: &str) -> String {
    let starts_at = |text: &str| {
        reserved.iter().any(|reserved| {
            let (mut a, mut b) = (reserved.chars(), text.chars());
            let first = a.next();
            let (second, other) = (a.next(), b.next());
            let is_word = first.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let next = b.next();
            other == first && (!is_word || second.is_none() || next.is_none() || next == second)
        })
    };
    let is_safe = |literal: &&String| {
        let suffixes = || literal.char_indices().map(|(i, _)| &literal[i..]);
        let begins =
            |s: &str| starts_at(s) && reserved.iter().any(|r| r.starts_with(s) || s.starts_with(r.as_str()));
        literal.chars().nth(1).is_some() && suffixes().any(starts_at) && !suffixes().any(begins)
    };
    let is_tail = |trimmed: &str| {
        reserved.iter().filter(|r| r.ends_with(|c: char| !c.is_alphanumeric())).any(|r| {
            let tails = r.char_indices().skip(1).map(|(i, _)| &r[i..]);
            tails.filter(|tail| tail.chars().nth(1).is_some()).any(|tail| trimmed.starts_with(tail))
        })
    };
    let trimmed = text.trim_start();
    let inside = trimmed.trim_end();
    let is_inside = !words.contains(&inside.to_lowercase())
        && reserved.iter().any(|r| r[r.chars().next().unwrap().len_utf8()..].contains(inside));
    let part = (is_tail(trimmed) || is_inside).then(|| text.len() - trimmed.len());
    let mut marked = String::new();
    let mut pos = 0;
    while let Some(c) = text[pos..].chars().next() {
        let rest = &text[pos..];
        let found = literals.iter().filter(is_safe).filter(|l| rest.starts_with(l.as_str()));
        if starts_at(rest)
            && part != Some(pos)
            && let Some(literal) = found.max_by_key(|l| l.len())
        {
            marked.push_str(literal);
            pos += literal.len();
            continue;
        }
        marked.push(c);
        if starts_at(rest) || part == Some(pos) {
            marked.push(MARK);
        }
        pos += c.len_utf8();
    }
    marked
}

#[test]
fn marks_stand_where_they_should() {
    let some = || proptest::collection::hash_set("[<|a>é_ ]{1,5}", 0..6);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) };
    proptest!(config, |(reserved in some(), literals in some(), words in some(), text in "[<|a>é_ ]{0,24}")| {
        let reserved: Vec<String> = reserved.into_iter().collect();
        let literals: Vec<String> = literals.into_iter().collect();
        let index = Reserved::new(reserved.iter().map(String::as_str));
        let marked = Marker::new(&index, &literals, &words).mark(&text);
        prop_assert_eq!(marked, mark(&reserved, &literals, &words, &text));
    });
}

#[test]
fn where_constants_are_too_many_or_too_long_a_message_is_marked_throughout() {
    let reserved = Reserved::new(["<|x|>"].into_iter());
    let words = HashSet::new();
    let tags = |n: usize| (0..n).map(|i| format!("<t{i}>")).collect::<Vec<String>>();
    let marked = |literals: &[String]| Marker::new(&reserved, literals, &words).mark("<t1>");
    assert_eq!(marked(&tags(MOST_SAFE)), "<t1>");
    assert_eq!(marked(&tags(MOST_SAFE + 1)), "<\u{fdd0}t1>");
    let long = ["<".to_owned() + &"t".repeat(LONGEST_SAFE)];
    assert!(Marker::new(&reserved, &long, &words).mark(&long[0]).contains(MARK));
}
