//! The direction of imports between the crates of the workspace.

use super::manifest::{Manifest, Use};
use super::{File, Finding};

/// Which crates a crate builds upon; it may import those, and whatever those may import.
/// The drawing is in ARCHITECTURE.md, section 2.
const BUILDS_UPON: [(&str, &[&str]); 15] = [
    ("inferno-format", &[]),
    ("inferno-text", &["inferno-format"]),
    ("inferno-model", &["inferno-format"]),
    ("inferno-cpu", &["inferno-model"]),
    ("inferno-wgpu", &["inferno-model"]),
    ("inferno-cuda", &["inferno-model"]),
    ("inferno-engine", &["inferno-model"]),
    ("inferno-grammar", &["inferno-engine", "inferno-text"]),
    ("inferno-reply", &["inferno-engine", "inferno-text"]),
    ("inferno-server", &["inferno-grammar", "inferno-reply"]),
    ("inferno-hub", &[]),
    ("inferno-conformance", &[]),
    (
        "inferno-llm",
        &[
            "inferno-server",
            "inferno-hub",
            "inferno-conformance",
            "inferno-cpu",
            "inferno-wgpu",
            "inferno-cuda",
        ],
    ),
    ("inferno-fuzz", &["inferno-server", "inferno-cpu", "inferno-hub"]),
    // The tests of every crate may import it, so it imports none.
    ("xtask", &[]),
];

pub(super) fn check(files: &[File], found: &mut Vec<Finding>) {
    let workspace = files.iter().find(|f| f.path == "Cargo.toml");
    let workspace = workspace.map(|f| Manifest::parse(&f.text)).unwrap_or_default();
    for file in files.iter().filter(|f| is_member(&f.path)) {
        check_manifest(file, &workspace, found);
    }
}

/// Is this the manifest of a crate of the workspace?
pub(super) fn is_member(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    matches!(parts[..], ["crates", _, "Cargo.toml"] | ["fuzz" | "xtask", "Cargo.toml"])
}

fn check_manifest(file: &File, workspace: &Manifest, found: &mut Vec<Finding>) {
    let mut report = |line, advice| {
        found.push(Finding { file: file.path.clone(), line, rule: "imports", advice });
    };
    let manifest = Manifest::parse(&file.text);
    let name = manifest.package.as_deref().unwrap_or("a package without a name");
    if !is_known(name) {
        return report(1, format!("add `{name}` to the table in xtask/src/tidy/imports.rs, or remove it"));
    }
    for dependency in &manifest.dependencies {
        let package = Manifest::package_of(dependency, workspace);
        let ours = is_known(package) || package.starts_with("inferno");
        let in_tests = dependency.used_by == Use::Dev && (package == "xtask" || package == name);
        if ours && !in_tests && !may_import(name, package) {
            report(dependency.line, format!("remove `{package}`, which `{name}` may not import"));
        }
    }
}

fn is_known(name: &str) -> bool {
    BUILDS_UPON.iter().any(|row| row.0 == name)
}

fn may_import(importer: &str, imported: &str) -> bool {
    let row = BUILDS_UPON.iter().find(|row| row.0 == importer);
    row.is_some_and(|row| row.1.iter().any(|&below| below == imported || may_import(below, imported)))
}
