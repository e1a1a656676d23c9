//! Rules for Rust files: names of families, length, backend features, leftovers, white space.

use super::rust::{Rust, words};
use super::{Finding, is_test_file};

pub(super) fn check(rust: &Rust, found: &mut Vec<Finding>, notes: &mut Vec<Finding>) {
    families(rust, found);
    length(rust, found, notes);
    features(rust, found);
    wall_clock(rust, found);
    leftovers(rust, found);
    ignored_tests(rust, found);
    names(rust, found);
    white_space(rust, found);
}

/// Crates that must not know what families there are.
const FAMILY_FREE: [&str; 5] =
    ["inferno-model", "inferno-engine", "inferno-cpu", "inferno-wgpu", "inferno-cuda"];
/// The one module that does, and what it may grow.
const FAMILY_TABLE: [&str; 2] =
    ["crates/inferno-model/src/architecture.rs", "crates/inferno-model/src/architecture/"];
/// How the names of families begin, versions and variants aside.
const FAMILIES: [&str; 6] = ["llama", "qwen", "phi3", "gemma", "mistral", "mixtral"];

fn families(rust: &Rust, found: &mut Vec<Finding>) {
    let is_free = FAMILY_FREE.iter().any(|name| rust.path.starts_with(&format!("crates/{name}/")));
    if !is_free || is_test_file(rust.path) || FAMILY_TABLE.iter().any(|table| rust.path.starts_with(table)) {
        return;
    }
    let tests = rust.test_items();
    for (at, name) in family_names(&rust.uncommented) {
        if !tests.iter().any(|test| test.contains(&at)) {
            let advice =
                format!("describe what differs as data in architecture.rs instead of naming `{name}`");
            found.push(rust.finding(at, "family-name", advice));
        }
    }
}

/// Where a family's name starts a word, or a part of one as in `is_gemma` and `isGemma`.
fn family_names(text: &str) -> Vec<(usize, &'static str)> {
    let lower = text.to_ascii_lowercase();
    let starts_a_word = |at: usize| {
        let mut before = text[..at].chars().rev();
        match before.next() {
            Some(c) if c.is_alphanumeric() => !c.is_uppercase() && text[at..].starts_with(char::is_uppercase),
            _ => true,
        }
    };
    let names = FAMILIES.iter().flat_map(|&name| lower.match_indices(name).map(move |(at, _)| (at, name)));
    names.filter(|&(at, _)| starts_a_word(at)).collect()
}

/// More lines than this want a reason, or fail.
const LONG: usize = 500;
const TOO_LONG: usize = 1000;

fn length(rust: &Rust, found: &mut Vec<Finding>, notes: &mut Vec<Finding>) {
    let n_lines = rust.text.lines().count();
    let is_table = rust.text.lines().take(5).any(|line| line.trim() == "// tidy: table");
    if is_table || is_test_file(rust.path) {
        return;
    }
    if n_lines > TOO_LONG {
        let advice = format!("split {n_lines} lines into modules (a table says `// tidy: table` at its top)");
        found.push(rust.finding(0, "length", advice));
    } else if n_lines >= LONG {
        notes.push(rust.finding(0, "length", format!("{n_lines} lines want a reason")));
    }
}

const BACKEND_FEATURES: [&str; 3] = ["wgpu", "cuda", "cpu"];
const LOADER: &str = "crates/inferno/src/load.rs";

fn features(rust: &Rust, found: &mut Vec<Finding>) {
    if rust.path == LOADER {
        return;
    }
    for (at, word) in words(&rust.code).filter(|w| w.1 == "feature") {
        let value = rust.uncommented[at + word.len()..].trim_start();
        let Some(value) = value.strip_prefix('=').map(str::trim_start) else { continue };
        let name = value.split('"').nth(1).filter(|_| value.starts_with('"'));
        if let Some(name) = name.filter(|name| BACKEND_FEATURES.contains(name)) {
            found.push(rust.finding(at, "feature", format!("choose the backend `{name}` in {LOADER} alone")));
        }
    }
}

/// Where a time of day is meant: of answers, logs, templates and files. Everything else measures time with `Instant`, as the
/// wall clock jumps.
const TIMES_OF_DAY: [&str; 11] = [
    "crates/inferno-format/src/source.rs",
    "crates/inferno-hub/src/cache.rs",
    "crates/inferno-server/src/app.rs",
    "crates/inferno-server/src/clock.rs",
    "crates/inferno-server/src/log.rs",
    "crates/inferno-text/src/template.rs",
    "crates/inferno-text/src/template/",
    "crates/inferno/src/commands/models.rs",
    "crates/inferno/src/commands/models/list.rs",
    "crates/inferno/src/commands/serve/cache_file.rs",
    "xtask/src/peer/today.rs",
];

fn wall_clock(rust: &Rust, found: &mut Vec<Finding>) {
    if is_test_file(rust.path) || TIMES_OF_DAY.iter().any(|file| rust.path.starts_with(file)) {
        return;
    }
    for (at, _) in words(&rust.code).filter(|word| word.1 == "SystemTime") {
        let advice = "measure time with `Instant`, or list this file where a time of day is meant";
        found.push(rust.finding(at, "wall-clock", advice));
    }
}

fn leftovers(rust: &Rust, found: &mut Vec<Finding>) {
    for (at, word) in words(&rust.comments).filter(|w| matches!(w.1, "TODO" | "FIXME")) {
        let reason = rust.comments[at + word.len()..].strip_prefix('(');
        let reason = reason.and_then(|r| r.split([')', '\n']).next());
        // One word would be a person's name.
        if !reason.is_some_and(|r| r.trim().contains(' ')) {
            let advice = format!("write `{word}(what would make it done)`, or do it");
            found.push(rust.finding(at, "todo", advice));
        }
    }
    for (at, word) in words(&rust.code).filter(|w| w.1 == "dbg") {
        if rust.code[at + word.len()..].starts_with('!') {
            found.push(rust.finding(at, "dbg", "remove `dbg!`"));
        }
    }
}

/// What shows that a reason holds a command.
const COMMANDS: [&str; 2] = ["cargo ", ".ci/"];

fn ignored_tests(rust: &Rust, found: &mut Vec<Finding>) {
    for (at, _) in rust.code.match_indices("#[") {
        let end = attribute_end(&rust.code, at);
        let is_ignore = words(&rust.code[at..end]).any(|w| w.1 == "ignore");
        let text = &rust.uncommented[at..end];
        if is_ignore && !COMMANDS.iter().any(|command| text.contains(command)) {
            let advice = "say which command runs it: `#[ignore = \"slow: cargo test -- --ignored\"]`";
            found.push(rust.finding(at, "ignore", advice));
        }
    }
}

fn attribute_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (i, b) in code.bytes().enumerate().skip(start) {
        match b {
            b'[' => depth += 1,
            b']' if depth == 1 => return i + 1,
            b']' => depth -= 1,
            _ => {}
        }
    }
    code.len()
}

fn names(rust: &Rust, found: &mut Vec<Finding>) {
    let parts = rust.path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    for part in parts.filter(|part| matches!(*part, "utils" | "helpers" | "common")) {
        found.push(rust.finding(0, "file-name", format!("name the module for what it does, not `{part}`")));
    }
}

fn white_space(rust: &Rust, found: &mut Vec<Finding>) {
    let mut report = |line, advice: &str| {
        let file = rust.path.to_owned();
        found.push(Finding { file, line, rule: "white-space", advice: advice.to_owned() });
    };
    for (i, line) in rust.text.split('\n').enumerate() {
        let bare = line.strip_suffix('\r').unwrap_or(line);
        if bare.len() < line.len() {
            report(i + 1, "end the line with a line feed alone");
        }
        if bare.trim_end().len() < bare.len() {
            report(i + 1, "remove white space at the line's end");
        }
        if bare.contains('\t') {
            report(i + 1, "write spaces, or `\\t` in a string, instead of a tab");
        }
    }
    if !rust.text.is_empty() && !rust.text.ends_with('\n') {
        report(rust.text.lines().count(), "end the file with a line feed");
    }
}
