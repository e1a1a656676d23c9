use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use unicode_width::UnicodeWidthChar;

use super::*;
use crate::terminal::visible;

/// All of `text` at once.
fn shown(text: &str, width: Option<usize>, base: Option<Style>) -> String {
    let mut screen = Screen::new(width, base);
    let mut shown = screen.push(text);
    shown += &screen.finish();
    shown
}

fn rows(text: &str, width: usize) -> Vec<String> {
    shown(text, Some(width), None).split('\n').map(str::to_owned).collect()
}

/// Without sequences that set a style, which are the only ones.
fn unstyled(text: &str) -> String {
    let mut parts = text.split("\x1b[0");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (codes, rest) = part.split_once('m').expect("a sequence ends");
        assert!(codes.chars().all(|c| c == ';' || c.is_ascii_digit()), "{codes:?}");
        plain += rest;
    }
    plain
}

fn without_blanks(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).collect()
}

#[test]
fn words_are_wrapped_and_lines_kept() {
    assert_eq!(rows("one two three\n\nfour", 8), ["one two", "three", "", "four"]);
    assert_eq!(rows("12345678 9", 8), ["12345678", "9"]);
    assert_eq!(rows("a  b", 8), ["a  b"]);
    // Text without blanks.
    assert_eq!(rows("你好你好你好", 8), ["你好你好", "你好"]);
}

#[test]
fn a_word_longer_than_a_row_is_left_to_the_terminal_unless_it_is_cut() {
    assert_eq!(rows("see 0123456789abc end", 8), ["see", "0123456789abc", "end"]);
    assert_eq!(rows("see 0123456789 b", 8), ["see", "0123456789 b"]);
    let mut screen = Screen::new(Some(8), None).with_cut_words();
    let text = screen.push("see 0123456789abc end") + &screen.finish();
    assert_eq!(text, "see\n01234567\n89abc\nend");
}

#[test]
fn rows_of_lists_and_quotations_are_indented() {
    assert_eq!(
        rows("- one two three\n  10. four five", 12),
        ["- one two", "  three", "  10. four", "      five"]
    );
    assert_eq!(rows("> one two three", 11), ["> one two", "  three"]);
    assert_eq!(rows("-one two three", 11), ["-one two", "three"]);
}

#[test]
fn code_and_tables_are_not_wrapped() {
    let code = "```rust\nlet x = \"a b c d e f\";\n```\nafter it all";
    assert_eq!(rows(code, 10), ["```rust", "let x = \"a b c d e f\";", "```", "after it", "all"]);
    assert_eq!(rows("| a b c | d e f |", 10), ["| a b c | d e f |"]);
}

#[test]
fn markdown_is_styled_and_its_marks_stay() {
    let base = Some(Style::default());
    for (text, styled) in [
        ("a **b c** d", "a \x1b[0;2m**\x1b[0;1mb c\x1b[0;2m** \x1b[0md"),
        ("`a * b`", "\x1b[0;2m`\x1b[0;36ma * b\x1b[0;2m`\x1b[0m"),
        ("# A\nb", "\x1b[0;1;2m#\x1b[0;1m A\n\x1b[0mb"),
        ("- a", "\x1b[0;2m-\x1b[0m a"),
        ("```\na\n```\nb", "\x1b[0;2m```\n\x1b[0;36ma\n\x1b[0;2m```\n\x1b[0mb"),
        ("2 ** 3 and a*b*c", "2 ** 3 and a*b*c"),
        ("**open\nb", "\x1b[0;2m**\x1b[0;1mopen\n\x1b[0mb"),
    ] {
        assert_eq!(shown(text, Some(80), base), styled, "{text}");
    }
    assert_eq!(shown("a **b**", Some(80), Some(Style::DIM)), "\x1b[0;2ma **\x1b[0;1;2mb\x1b[0;2m**\x1b[0m");
}

#[test]
fn a_word_is_held_back_until_its_end() {
    let mut screen = Screen::new(Some(10), None);
    assert_eq!(screen.push("one tw"), "one");
    assert_eq!(screen.push("o three"), " two");
    assert_eq!(screen.finish(), "\nthree");
    // A word without an end is not.
    let mut screen = Screen::new(Some(10), None);
    assert_eq!(screen.push(&"x".repeat(1000)).len(), 1000);
}

fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
    let all = vec![
        "a",
        "word",
        "**",
        "*",
        "`",
        "```",
        "~~~",
        "\n",
        "\n\n",
        " ",
        "  ",
        "# ",
        "- ",
        "1. ",
        "> ",
        "|",
        "\x1b[31m",
        "\u{9b}2J",
        "\r\n",
        "\r",
        "\t",
        "你好",
        "👩\u{200d}👩",
        "e\u{301}",
        "\u{202e}",
        "\x07",
        "averylongwordwithoutanend",
    ];
    proptest::collection::vec(proptest::sample::select(all), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(17),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_character_is_lost_and_none_is_an_order_to_the_terminal(pieces in pieces(), width in 2..30usize, has_styles: bool) {
        let text = pieces.concat();
        let base = has_styles.then(Style::default);
        let all = shown(&text, Some(width), base);
        let mut screen = Screen::new(Some(width), base);
        let mut parts: String = pieces.iter().map(|piece| screen.push(piece)).collect();
        parts += &screen.finish();
        prop_assert_eq!(&parts, &all);
        let plain = unstyled(&all);
        prop_assert_eq!(visible(&plain), plain.as_str());
        prop_assert_eq!(without_blanks(&plain), without_blanks(&visible(&text)));
        prop_assert_eq!(unstyled(&shown(&text, None, base)), visible(&text));
    }

    #[test]
    fn no_row_is_too_long_where_words_are_cut(pieces in pieces(), width in 8..30usize) {
        let mut screen = Screen::new(Some(width), None).with_cut_words();
        let text = screen.push(&pieces.concat().replace('\t', " ")) + &screen.finish();
        for row in text.split('\n') {
            let n_columns: usize = row.chars().map(|c| c.width().unwrap_or(0)).sum();
            prop_assert!(n_columns <= width, "{row:?}");
        }
    }
}
