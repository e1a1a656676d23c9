//! Completion of commands and their arguments.

use std::path::{MAIN_SEPARATOR, Path};

use super::commands::{COMMANDS, Takes, named};
use super::keep::expanded;
use super::settings;
use crate::commands::models;

/// Most candidates that are offered.
const MOST: usize = 200;

/// Where the last word of `line` begins, and what it may become: text to show, and text to insert.
pub(super) fn candidates(line: &str) -> (usize, Vec<(String, String)>) {
    if !line.starts_with('/') || line.contains('\n') {
        return (line.len(), Vec::new());
    }
    let Some((word, argument)) = line.split_once(' ') else {
        let fits = COMMANDS.iter().filter(|command| command.name.starts_with(line));
        let space = |takes| if takes == Takes::Nothing { "" } else { " " };
        return (0, fits.map(|command| same(command.name, space(command.takes))).collect());
    };
    let start = line.len() - argument.len();
    match named(word).map(|command| command.takes) {
        Some(Takes::File | Takes::MaybeFile) => (start, paths(argument)),
        Some(Takes::MaybeModel) => {
            let names = beginning_with(argument, models::names(), "");
            (start, names.into_iter().chain(paths(argument)).collect())
        }
        Some(Takes::Setting) => match argument.split_once(' ') {
            None => (start, beginning_with(argument, settings::names(), " ")),
            Some(("thinking", value)) => {
                let all = settings::THINKING.iter().map(|(name, _)| (*name).to_owned());
                (line.len() - value.len(), beginning_with(value, all, ""))
            }
            Some(_) => (line.len(), Vec::new()),
        },
        _ => (line.len(), Vec::new()),
    }
}

fn same(name: &str, behind: &str) -> (String, String) {
    (name.to_owned(), format!("{name}{behind}"))
}

fn beginning_with(start: &str, all: impl IntoIterator<Item = String>, behind: &str) -> Vec<(String, String)> {
    all.into_iter().filter(|name| name.starts_with(start)).map(|name| same(&name, behind)).collect()
}

/// Files and folders whose path begins with `start`; the replacement begins with it too.
fn paths(start: &str) -> Vec<(String, String)> {
    let is_separator = |c: char| c == '/' || c == MAIN_SEPARATOR;
    let (folder, name) = start.split_at(start.rfind(is_separator).map_or(0, |at| at + 1));
    let looked_at = if folder.is_empty() { Path::new(".").to_owned() } else { expanded(folder) };
    let Ok(entries) = std::fs::read_dir(looked_at) else { return Vec::new() };
    let mut found: Vec<(String, String)> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.file_name().into_string().ok()?;
            let is_wanted = found.starts_with(name) && (name.starts_with('.') || !found.starts_with('.'));
            // Names that a terminal would act on cannot be typed either.
            let is_plain = !found.chars().any(char::is_control);
            let behind = if entry.path().is_dir() { "/" } else { "" };
            (is_wanted && is_plain).then(|| (format!("{found}{behind}"), format!("{folder}{found}{behind}")))
        })
        .take(MOST)
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inserts(line: &str) -> (usize, Vec<String>) {
        let (start, found) = candidates(line);
        (start, found.into_iter().map(|(_, insert)| insert).collect())
    }

    #[test]
    fn commands_settings_and_paths_are_completed() {
        assert_eq!(inserts("/sa"), (0, vec!["/save ".into()]));
        assert_eq!(inserts("/re"), (0, vec!["/regenerate".into(), "/reset".into()]));
        assert_eq!(inserts("hello"), (5, vec![]));
        assert_eq!(inserts("/set temp"), (5, vec!["temperature ".into()]));
        assert_eq!(inserts("/set thinking f"), (14, vec!["fold".into()]));
        let (start, models) = inserts("/model qwen3:0");
        assert_eq!((start, models.first().map(String::as_str)), (7, Some("qwen3:0.6b")));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        std::fs::create_dir(folder.path().join("notes")).unwrap();
        for name in ["note a.md", ".note"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        let line = format!("/file {path}/no");
        assert_eq!(inserts(&line), (6, vec![format!("{path}/note a.md"), format!("{path}/notes/")]));
    }
}
