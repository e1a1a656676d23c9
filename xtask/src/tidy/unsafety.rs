//! Where `unsafe` may stand, and what must stand above it.

use super::Finding;
use super::rust::{Rust, words};

/// The crates that talk to hardware.
const BACKENDS: [&str; 3] = ["inferno-cpu", "inferno-wgpu", "inferno-cuda"];

const RULE: &str = "unsafe";

pub(super) fn check(rust: &Rust, found: &mut Vec<Finding>) {
    let (folder, inside) = match rust.path.strip_prefix("crates/") {
        Some(path) => path.split_once('/').unwrap_or((path, "")),
        None => rust.path.split_once('/').unwrap_or((rust.path, "")),
    };
    let is_backend = BACKENDS.contains(&folder);
    let is_crate_root = matches!(inside, "src/lib.rs" | "src/main.rs") || inside.starts_with("src/bin/");
    if is_crate_root && !is_backend && !rust.code.contains("#![forbid(unsafe_code)]") {
        found.push(rust.finding(0, RULE, "add `#![forbid(unsafe_code)]`"));
    }
    for (at, _) in words(&rust.code).filter(|w| w.1 == "unsafe") {
        if !is_backend && !inside.starts_with("tests/") {
            found.push(rust.finding(at, RULE, "move it to a backend crate, or do without"));
        }
        if !is_documented(rust, at) {
            found.push(rust.finding(at, RULE, "say right above in `// SAFETY: ..` why it holds here"));
        }
    }
}

fn is_documented(rust: &Rust, at: usize) -> bool {
    let item = rust.code[at + "unsafe".len()..].trim_start();
    let function = item.strip_prefix("extern").unwrap_or(item).trim_start().strip_prefix("fn");
    // A type `unsafe fn(..)` promises nothing, and the methods of a trait promise what the trait says.
    let is_pointer = function.is_some_and(|rest| rest.trim_start().starts_with('('));
    let is_method = function.is_some() && is_in_trait_impl(rust, at);
    let marks: &[&str] =
        if function.is_some() || item.starts_with("trait") { &["SAFETY:", "# Safety"] } else { &["SAFETY:"] };
    is_pointer || is_method || comment_above(rust, at, marks)
}

fn is_in_trait_impl(rust: &Rust, at: usize) -> bool {
    let impls = words(&rust.code[..at]).filter(|w| w.1 == "impl");
    impls.into_iter().any(|(start, _)| {
        let header = &rust.code[start..rust.code[start..].find('{').map_or(start, |open| start + open)];
        words(header).any(|w| w.1 == "for") && rust.item_end(start) > at
    })
}

/// Climbs from the line of `at` over comments, attributes and the statement's own first lines.
fn comment_above(rust: &Rust, at: usize, marks: &[&str]) -> bool {
    let line = rust.text[..at].matches('\n').count();
    let lines = rust.text.lines().zip(rust.code.lines()).zip(rust.comments.lines()).take(line);
    for ((text, code), comment) in lines.collect::<Vec<_>>().into_iter().rev() {
        let code = code.trim();
        let is_comment = code.is_empty() && !text.trim().is_empty();
        if is_comment && marks.iter().any(|mark| comment.contains(mark)) {
            return true;
        }
        let goes_on = !code.is_empty() && !code.ends_with([';', '{', '}', ',']);
        if !is_comment && !goes_on {
            return false;
        }
    }
    false
}
