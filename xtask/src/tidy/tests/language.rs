use super::{check, check_file};
use crate::tidy::{File, check_files, language};

const RS: &str = "crates/inferno/src/run.rs";
const MD: &str = "docs/server.md";

#[test]
fn idioms_are_found_in_comments_messages_and_documents() {
    for idiom in [
        "so many",
        "anew",
        "but for",
        "those who",
        "that one",
        "nobody",
        "of lately",
        "whoever",
        "as if it were",
    ] {
        check_file(RS, &format!("// Rows, {idiom}.\n"), &["1: language"]);
        check_file(RS, &format!("const MESSAGE: &str = \"rows, {idiom}\";\n"), &["1: language"]);
        check_file(MD, &format!("# Rows\n\nRows, {}.\n", idiom.to_uppercase()), &["3: language"]);
        check_file("crates/inferno-wgpu/src/x.wgsl", &format!("fn f() {{}} // {idiom}\n"), &["1: language"]);
        check_file("Cargo.toml", &format!("# {idiom}\n"), &["1: language"]);
        check_file(".ci/run", &format!("echo {idiom}\n"), &["1: language"]);
        check_file("oracles/x/run.sh", &format!("echo \"{idiom}\"\n"), &["1: language"]);
    }
    check_file(RS, "// One so many, another so many.\n", &["1: language"]);
}

#[test]
fn an_idiom_is_found_across_a_wrapped_line_and_reported_where_it_begins() {
    check_file(RS, "/// Rows, so\n/// many of them.\nfn f() {}\n", &["1: language"]);
    check_file(MD, "Rows, but\nfor one.\n", &["1: language"]);
    check_file(MD, "Rows, so\n\nmany of them.\n", &[]);
}

#[test]
fn code_names_quotations_and_tests_are_not_prose() {
    check_file(RS, "fn nobody_waits() {}\nlet nobody = so_many;\n", &[]);
    check_file(RS, "// Not `so many`, and not \"anew\".\n", &[]);
    check_file(MD, "Not `so many`, and not \"anew\".\n", &[]);
    check_file("crates/inferno/tests/it/run.rs", "const PROMPT: &str = \"nobody knows that one\";\n", &[]);
    check_file(RS, "#[cfg(test)]\nmod tests { const PROMPT: &str = \"nobody\"; }\n", &[]);
    check_file("crates/inferno/tests/it/run.rs", "// Nobody knows.\n", &["1: language"]);
    check_file("crates/inferno/models/ember/stories.py", "PLOT = 'nobody came'\n", &[]);
    check_file("STYLE.md", "no so many, no anew\n", &[]);
    let blocks = "```text\nnobody came\n```\n```sh\nrun # nobody\n```\nAnew.\n";
    check_file(MD, blocks, &["5: language", "7: language"]);
    check_file("testdata/story.txt", "nobody came\n", &[]);
    check_file(MD, "In the many-core case, also many. Butter for one; whosoever asks; that is one.\n", &[]);
}

#[test]
fn a_doc_comment_begins_with_no_pronoun_and_no_question() {
    for word in ["What", "Who", "Whose", "Which", "Why", "How", "That", "Those", "These", "It", "They"] {
        check_file(RS, &format!("/// {word} rows are.\nfn f() {{}}\n"), &["1: language"]);
        check_file(RS, &format!("//! {word} rows are.\n\nfn f() {{}}\n"), &["1: language"]);
        check_file("crates/inferno/tests/it/run.rs", &format!("    /// {word} rows\n"), &["1: language"]);
    }
    check_file(RS, "/// Number of rows.\n/// It is at most 8.\nfn f() {}\n", &[]);
    check_file(RS, "/// Whatever the row holds, as `What` says.\nfn f() {}\n", &[]);
    check_file(RS, "// What a row holds.\n//// What a row holds.\nconst X: &str = \"\n/// What\n\";\n", &[]);
    check_file(RS, "/// Rows.\nfn f() {}\n\n/// Whose rows.\nfn g() {}\n", &["4: language"]);
    check_file(RS, "//! Rows.\n/// Whose rows.\nfn g() {}\n", &["2: language"]);
}

/// The baseline of these files.
fn baseline(files: &[(&str, &str)]) -> String {
    let file = |f: &(&str, &str)| File { path: f.0.to_owned(), text: f.1.to_owned() };
    language::baseline(&files.iter().map(file).collect::<Vec<_>>())
}

#[test]
fn listed_lines_pass_where_they_stay_or_move_and_fail_where_they_change_or_multiply() {
    let listed = baseline(&[(RS, "// Rows, so many.\nfn f() {}\n"), (MD, "Nobody waits.\n")]);
    let list = (language::BASELINE, listed.as_str());
    check(&[list, (RS, "fn f() {}\n    // Rows, so many.\n"), (MD, "Nobody waits.\n")], &[]);
    check(&[list, ("crates/inferno/src/other.rs", "// Rows, so many.\n")], &[]);
    check(&[list, (RS, "// The rows, so many.\n")], &[&format!("{RS}:1: language")]);
    check(&[list, (RS, "// Rows, so many.\n// Rows, so many.\n")], &[&format!("{RS}:2: language")]);
    check(&[list, (RS, "// Rows, anew.\n")], &[&format!("{RS}:1: language")]);
    check(&[(RS, "// Rows, so many.\n")], &[&format!("{RS}:1: language")]);
}

#[test]
fn the_baseline_shrinks_and_never_grows() {
    let old = [(RS, "// Rows, so many.\n"), (MD, "Nobody waits.\n")];
    let listed = baseline(&old);
    assert_eq!(listed.lines().filter(|line| !line.starts_with('#')).count(), 2, "{listed}");
    assert_eq!(baseline(&[(language::BASELINE, &listed), old[0], old[1]]), listed);
    let after = baseline(&[
        (language::BASELINE, &listed),
        (RS, "// Rows, so many.\n// Rows, anew.\n"),
        (MD, "Fine.\n"),
    ]);
    let entries: Vec<&str> = after.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(matches!(entries[..], [entry] if entry.ends_with(RS) && listed.contains(entry)), "{after}");
    let empty = baseline(&[(language::BASELINE, ""), old[0]]);
    assert!(empty.lines().all(|line| line.starts_with('#')), "{empty}");
}

#[test]
fn a_baseline_with_lines_that_are_gone_is_noted_and_one_that_cannot_be_read_fails() {
    let listed = baseline(&[(MD, "Nobody waits.\n")]);
    let report = check_files(&[File { path: language::BASELINE.into(), text: listed }]);
    assert!(report.violations.is_empty() && report.notes.len() == 1, "{report:?}");
    for broken in
        ["<<<<<<< main\n", "0123456789abcdef\n", "0123456789abcdeg a.rs\n", "+123456789abcdef a.rs\n"]
    {
        check_file(language::BASELINE, broken, &["1: language"]);
    }
}
