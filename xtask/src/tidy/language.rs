//! The English of the field: idioms and openings of doc comments that STYLE.md rules out, in lines that are new or changed.
//!
//! Lines that had an offence when the rule was introduced are listed in a baseline file, as hashes of their text. A
//! listed line passes while it stays as it is, wherever it moves; a changed line is a new one. The comparison needs no
//! version control, so it is the same in a clone of any depth and in an unpacked archive.

use std::collections::HashMap;

use super::rust::{Rust, words};
use super::{File, Finding, is_own_source, is_test_file, line_of};

/// Lines from before this rule: a hash and a path each, sorted by path.
pub(super) const BASELINE: &str = "xtask/language-baseline.txt";

/// Words in sequence, and the advice for the line that has them.
type Idiom = (&'static [&'static str], &'static str);

const IDIOMS: [Idiom; 15] = [
    (&["so", "many"], "name the number: `n_rows`, `up to 8 requests`"),
    (&["anew"], "write `again` or `from scratch`"),
    (&["but", "for"], "write `except for`"),
    (&["those", "who"], "name them: `clients that`, `requests that`"),
    (&["who", "waits"], "name the subject: `the waiting request`"),
    (&["who", "wants"], "name the subject: `a client that needs`"),
    (&["who", "asks"], "name the subject: `the client`, `the caller`"),
    (&["who", "minds"], "name the case: `where precision matters`"),
    (&["of", "lately"], "write `recent`"),
    (&["that", "one"], "repeat the noun"),
    (&["it", "were"], "write `if it is` or `as if it was`"),
    (&["were", "it"], "write `if it is` or `if it was`"),
    (&["were", "they"], "write `if they are` or `if they were`"),
    (&["nobody"], "name the subject: `no client`, `no thread`"),
    (&["whoever"], "name the subject: `the client that`, `the caller that`"),
];

/// Words a doc comment does not begin with.
const OPENINGS: [&str; 12] =
    ["What", "Who", "Whose", "Whom", "Which", "Why", "How", "That", "Those", "These", "It", "They"];

/// A finding, and the hash by which the baseline knows its line.
type Offence = (Finding, u64);

pub(super) fn check(files: &[File], found: &mut Vec<Finding>, notes: &mut Vec<Finding>) {
    let baseline = files.iter().find(|file| file.path == BASELINE);
    let mut excused = HashMap::<u64, usize>::new();
    for (i, line) in baseline.map_or("", |file| &file.text).lines().enumerate() {
        match entry(line) {
            Ok(Some(hash)) => *excused.entry(hash).or_default() += 1,
            Ok(None) => {}
            Err(()) => {
                found.push(finding(BASELINE, i + 1, "write 16 hexadecimal digits and a path, or a comment"))
            }
        }
    }
    for (offence, hash) in offences(files) {
        match excused.get_mut(&hash) {
            Some(n) if *n > 0 => *n -= 1,
            _ => found.push(offence),
        }
    }
    let n_stale: usize = excused.values().sum();
    if n_stale > 0 {
        let advice = format!("{n_stale} listed lines are gone: `cargo xtask tidy --baseline` removes them");
        notes.push(finding(BASELINE, 1, &advice));
    }
}

/// The baseline of these files: what the present one lists and what still stands. Without a present one, all that stands.
pub(super) fn baseline(files: &[File]) -> String {
    let before = files.iter().find(|file| file.path == BASELINE);
    let mut listed = HashMap::<u64, usize>::new();
    for hash in before.map_or("", |file| &file.text).lines().filter_map(|line| entry(line).ok().flatten()) {
        *listed.entry(hash).or_default() += 1;
    }
    let mut kept = Vec::new();
    for (offence, hash) in offences(files) {
        let is_kept = match listed.get_mut(&hash) {
            Some(n) if *n > 0 => {
                *n -= 1;
                true
            }
            _ => before.is_none(),
        };
        if is_kept {
            kept.push(format!("{hash:016x} {}\n", offence.file));
        }
    }
    kept.sort_by(|a, b| a[17..].cmp(&b[17..]).then_with(|| a.cmp(b)));
    format!(
        "# Lines with idioms that are older than the rule against them (STYLE.md, \"The English of the field\").\n\
         # This list only shrinks: `cargo xtask tidy --baseline` removes lines that are gone and adds none.\n{}",
        kept.concat()
    )
}

/// The hash of a line of the baseline; `None` for a comment.
fn entry(line: &str) -> Result<Option<u64>, ()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (hash, path) = line.split_once(' ').ok_or(())?;
    let is_hash = hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    if is_hash && !path.is_empty() {
        u64::from_str_radix(hash, 16).map(Some).map_err(|_| ())
    } else {
        Err(())
    }
}

fn finding(file: &str, line: usize, advice: &str) -> Finding {
    Finding { file: file.to_owned(), line, rule: "language", advice: advice.to_owned() }
}

/// Every offence of the tree, listed or not.
fn offences(files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    for file in files.iter().filter(|file| is_prose(&file.path)) {
        let lines: Vec<&str> = file.text.lines().collect();
        let mut add = |line: usize, advice: String| {
            all.push((finding(&file.path, line, &advice), hash(lines[line - 1].trim())));
        };
        if file.path.ends_with(".rs") {
            let rust = Rust::scan(&file.path, &file.text);
            openings(&rust, &mut add);
            idioms(&rust_prose(&rust), &mut add);
        } else {
            let is_document = file.path.ends_with(".md");
            let quotes: &[char] = if is_document { &['`', '"'] } else { &['`'] };
            idioms(&unquoted(&without_transcripts(&file.text), quotes), &mut add);
        }
    }
    all
}

/// Files whose text people read. The style guide and these rules name what they rule out; the files beside the built-in
/// model are sentences for it to learn.
fn is_prose(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let is_script = path.starts_with(".ci/") || matches!(extension, Some("sh" | "py"));
    let is_text = matches!(extension, Some("rs" | "md" | "wgsl" | "toml"));
    let is_exempt =
        path == "STYLE.md" || is_own_source(path) || path.starts_with("crates/inferno/models/") && is_script;
    (is_text || is_script) && !is_exempt
}

/// Comments, and literals outside of tests; quotations in comments are left out.
fn rust_prose(rust: &Rust<'_>) -> String {
    let (is_test, tests) = (is_test_file(rust.path), rust.test_items());
    let literals = rust.uncommented.bytes().zip(rust.code.bytes()).enumerate().map(|(i, (with, without))| {
        let is_literal = with != without && !is_test && !tests.iter().any(|test| test.contains(&i));
        if is_literal || with == b'\n' { with } else { b' ' }
    });
    let comments = unquoted(&rust.comments, &['`', '"']);
    let both: Vec<u8> = literals
        .zip(comments.bytes())
        .map(|(literal, comment)| if comment == b' ' { literal } else { comment })
        .collect();
    String::from_utf8_lossy(&both).into_owned()
}

/// The text with the lines of ```` ```text ```` blocks, which show what a program prints, replaced by empty ones.
fn without_transcripts(text: &str) -> String {
    let mut inside = false;
    let lines = text.split('\n').map(|line| {
        let is_fence = line.trim_start().starts_with("```");
        inside = if is_fence { !inside && line.trim() == "```text" } else { inside };
        if inside { "" } else { line }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text with what stands between two equal quotes on a line replaced by as many bytes.
fn unquoted(text: &str, quotes: &[char]) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let mut at = 0;
        while let Some(open) = line[at..].find(quotes).map(|i| at + i) {
            let quote = line.as_bytes()[open];
            let Some(len) = line[open + 1..].bytes().position(|b| b == quote) else {
                at = open + 1;
                continue;
            };
            bytes[start + open..start + open + len + 2].fill(b'_');
            at = open + len + 2;
        }
        start += line.len();
    }
    String::from_utf8(bytes).expect("whole characters are replaced by ASCII")
}

fn idioms(text: &str, add: &mut impl FnMut(usize, String)) {
    let all: Vec<(usize, &str)> = words(text).collect();
    for (i, &(at, _)) in all.iter().enumerate() {
        for (idiom, advice) in IDIOMS {
            let Some(found) = all.get(i..i + idiom.len()) else { continue };
            let is_same =
                found.iter().zip(idiom).all(|(word, expected)| word.1.eq_ignore_ascii_case(expected));
            let is_joined =
                found.windows(2).all(|pair| is_gap(&text[pair[0].0 + pair[0].1.len()..pair[1].0]));
            if is_same && is_joined {
                add(line_of(text, at), format!("`{}`: {advice}", idiom.join(" ")));
            }
        }
    }
}

/// Is this what stands between two words of a sentence? A wrapped line goes on behind a comment's marker.
fn is_gap(between: &str) -> bool {
    between.chars().all(|c| c.is_whitespace() || "/!#\\*".contains(c)) && between.matches('\n').count() <= 1
}

fn openings(rust: &Rust<'_>, add: &mut impl FnMut(usize, String)) {
    let mut before = "";
    for (i, line) in rust.comments.lines().enumerate() {
        let line = line.trim();
        let marker = ["///", "//!"].into_iter().find(|marker| line.starts_with(marker)).unwrap_or("");
        let begins = !marker.is_empty() && marker != before && !line.starts_with("////");
        if begins && let Some((_, word)) = words(line).next().filter(|word| OPENINGS.contains(&word.1)) {
            let advice = format!("a doc comment begins with a noun phrase or a verb, not with `{word}`");
            add(i + 1, advice);
        }
        before = marker;
    }
}

/// FNV-1a, the same in every version of the compiler.
fn hash(line: &str) -> u64 {
    line.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}
