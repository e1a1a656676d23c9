//! Rules for text files of any kind.

use super::rust::Rust;
use super::{File, Finding, is_own_source};

pub(super) fn check(file: &File, found: &mut Vec<Finding>) {
    if is_own_source(&file.path) {
        return;
    }
    machine_paths(file, found);
    if is_build_input(&file.path) {
        target_cpu(file, found);
    }
}

/// Folders of somebody's machine.
const MACHINE_FOLDERS: [&str; 3] = ["/work/", "/root/", "/home/"];

fn machine_paths(file: &File, found: &mut Vec<Finding>) {
    for (i, line) in file.text.lines().enumerate() {
        for folder in MACHINE_FOLDERS {
            // Behind any of these it is the middle of a longer path or of an address.
            let starts_a_path = |at: usize| {
                let before = line[..at].chars().next_back();
                !before.is_some_and(|c| c.is_alphanumeric() || "._-~/})*".contains(c))
            };
            if line.match_indices(folder).any(|(at, _)| starts_a_path(at)) {
                let advice = format!("write a path that holds on every machine instead of `{folder}..`");
                found.push(Finding { file: file.path.clone(), line: i + 1, rule: "machine-path", advice });
            }
        }
    }
}

/// Can this file decide how the program is compiled?
fn is_build_input(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let in_settings = [".cargo/", ".ci/", ".github/"].iter().any(|folder| path.starts_with(folder));
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    in_settings
        || matches!(extension, None | Some("rs" | "toml" | "sh" | "bash" | "py" | "yml" | "yaml" | "mk"))
}

fn target_cpu(file: &File, found: &mut Vec<Finding>) {
    let rust = file.path.ends_with(".rs").then(|| Rust::scan(&file.path, &file.text));
    let text = rust.as_ref().map_or(file.text.as_str(), |rust| &rust.uncommented);
    for (i, line) in text.lines().enumerate() {
        if line.contains("target-cpu") && (rust.is_some() || !line.trim_start().starts_with('#')) {
            let advice = "choose instructions at run time: a plain `cargo install` must be fast".to_owned();
            found.push(Finding { file: file.path.clone(), line: i + 1, rule: "target-cpu", advice });
        }
    }
}
