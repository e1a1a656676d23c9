//! Rules of the tree that no compiler checks: which crate may import which, what a file may name, where `unsafe`
//! may stand, what the product may depend on.
//!
//! Every rule is a function from the text of files to [`Finding`]s. `cargo xtask tidy` prints them; a test
//! demands that there are none.

use std::fmt;
use std::io;
use std::path::Path;

mod dependencies;
mod imports;
mod language;
mod manifest;
mod rust;
mod source;
#[cfg(test)]
mod tests;
mod text;
mod unsafety;

/// One place, the rule it is about, and what to do there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root of the tree, with `/`.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// The rule's name.
    pub rule: &'static str,
    /// What to do.
    pub advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { file, line, rule, advice } = self;
        write!(f, "{file}:{line}: {rule}: {advice}")
    }
}

/// All that is wrong with a tree, and what only deserves a look.
#[derive(Debug, Default)]
pub struct Report {
    /// What must be mended, by file and line.
    pub violations: Vec<Finding>,
    /// What is allowed but wants a reason.
    pub notes: Vec<Finding>,
}

/// A text file of the tree.
struct File {
    path: String,
    text: String,
}

/// Checks every rule on the tree under `root`.
///
/// # Errors
/// A folder or a file that cannot be read.
pub fn check(root: &Path) -> io::Result<Report> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    Ok(check_files(&files))
}

/// Removes the lines that are gone from the list of lines older than the rule about language, or makes that list where
/// there is none. Returns its path.
///
/// # Errors
/// A folder or a file that cannot be read, or the list that cannot be written.
pub fn shrink_baseline(root: &Path) -> io::Result<&'static str> {
    let mut files = Vec::new();
    collect(root, "", &mut files)?;
    std::fs::write(root.join(language::BASELINE), language::baseline(&files))?;
    Ok(language::BASELINE)
}

fn check_files(files: &[File]) -> Report {
    let mut report = Report::default();
    let found = &mut report.violations;
    language::check(files, found, &mut report.notes);
    imports::check(files, found);
    dependencies::check(files, found);
    for file in files {
        text::check(file, found);
        let ours = ["crates/", "fuzz/src/", "fuzz/tests/", "xtask/"].iter().any(|f| file.path.starts_with(f));
        if ours && file.path.ends_with(".rs") {
            let rust = rust::Rust::scan(&file.path, &file.text);
            unsafety::check(&rust, found);
            source::check(&rust, found, &mut report.notes);
        }
    }
    report.violations.sort();
    report.violations.dedup();
    report.notes.sort();
    report
}

/// A larger file is a model or a data set.
const MAX_TEXT_BYTES: u64 = 4 << 20;

fn collect(folder: &Path, prefix: &str, files: &mut Vec<File>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A folder, or in a linked worktree a file.
        if name == ".git" {
            continue;
        }
        let path = format!("{prefix}{name}");
        let meta = entry.metadata()?;
        if meta.is_dir() {
            let is_built = name == "target" && !prefix.contains("src/");
            if !is_built {
                collect(&entry.path(), &format!("{path}/"), files)?;
            }
        } else if meta.is_file() && meta.len() <= MAX_TEXT_BYTES {
            let bytes = std::fs::read(entry.path())?;
            match String::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => files.push(File { path, text }),
                _ => {}
            }
        }
    }
    Ok(())
}

/// These rules spell what they forbid.
fn is_own_source(path: &str) -> bool {
    path == "xtask/src/tidy.rs" || path.starts_with("xtask/src/tidy/")
}

/// Is this a file of tests or benchmarks, whole?
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| matches!(part, "tests" | "tests.rs" | "benches"))
}

/// The line of a byte, counted from 1.
fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|&&b| b == b'\n').count()
}
