//! A subcommand's settings as a file: those that are set, and as comments all others with their defaults.

use std::fmt::Write;

use clap::{Arg, ArgMatches, Command};

use super::settings::{is_refused, is_repeatable, takes_words};
use super::{PRINT, innermost};

/// Columns of a comment.
const WIDTH: usize = 100;

/// Defaults that depend on other flags.
type Chosen = fn(&[&str], &ArgMatches) -> Vec<(&'static str, String)>;

/// The file, if the command line asks for it.
///
/// `command` has the defaults of its flags, and none of a file's values; `chosen` is
/// [`ChosenDefaults::chosen`](super::ChosenDefaults::chosen).
pub(super) fn asked(command: &Command, matches: &ArgMatches, chosen: Chosen) -> Option<String> {
    let (path, given) = innermost(matches);
    let is_asked = given.try_get_one::<bool>(PRINT).ok().flatten().copied().unwrap_or(false);
    let inner = path.iter().try_fold(command, |command, name| command.find_subcommand(name))?;
    is_asked.then(|| text(inner, &path, given, &chosen(&path, given)))
}

fn text(command: &Command, path: &[&str], given: &ArgMatches, chosen: &[(&str, String)]) -> String {
    let mut text = String::new();
    let section = path.join(".");
    comment(
        &format!(
            "Settings of `inferno {}`. A flag counts more than its environment variable, that more than this file, and the \
             file more than the default. What stands before all tables is for all commands.",
            path.join(" ")
        ),
        &mut text,
    );
    let _ = writeln!(text, "\n[{section}]");
    // Settings that stand under no heading come first: a table goes on to the end of the file or to the next one.
    let mut headings: Vec<Option<&str>> = vec![None];
    for arg in command.get_arguments().filter(|arg| !is_refused(arg)) {
        if !headings.contains(&arg.get_help_heading()) {
            headings.push(arg.get_help_heading());
        }
    }
    for heading in headings {
        let own = |arg: &&Arg| !is_refused(arg) && arg.get_help_heading() == heading;
        if let Some(heading) = heading {
            let _ = writeln!(text, "\n[{section}.{}]", table(heading));
        }
        for arg in command.get_arguments().filter(own) {
            text.push('\n');
            let chosen = chosen.iter().find(|(name, _)| arg.get_id() == name).map(|(_, value)| value);
            setting(arg, given, chosen, &mut text);
        }
    }
    text
}

/// The first word of a heading.
fn table(heading: &str) -> String {
    let word = heading.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    word.to_ascii_lowercase()
}

fn setting(arg: &Arg, given: &ArgMatches, chosen: Option<&String>, text: &mut String) {
    let id = arg.get_id().as_str();
    let Some(key) = arg.get_long() else { return };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    comment(&help, text);
    let is_secret = arg.is_hide_env_values_set() && id.ends_with("key");
    let values: Vec<String> = match arg.get_action().takes_values() {
        true => given
            .get_raw(id)
            .map(|values| values.map(|value| value.to_string_lossy().into_owned()).collect())
            .unwrap_or_default(),
        false => vec![given.get_flag(id).to_string()],
    };
    let default: Vec<String> = match arg.get_action().takes_values() {
        true => arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect(),
        false => vec!["false".into()],
    };
    // A value of a file is clap's default too, so that only a comparison tells.
    let is_default = values == default || chosen.is_some_and(|chosen| values == std::slice::from_ref(chosen));
    let mark = if is_default { "#" } else { "" };
    let _ = match (values.first(), chosen) {
        (None, Some(chosen)) => writeln!(text, "#{key} = {}", value(arg, std::slice::from_ref(chosen))),
        (None, None) => {
            let names = arg.get_value_names().unwrap_or_default();
            writeln!(text, "# No default: {key} = {}", names.first().map_or("VALUE", |name| name.as_str()))
        }
        (Some(_), _) if is_secret => writeln!(text, "# {key} is set; its value is a secret and not shown"),
        (Some(_), _) => writeln!(text, "{mark}{key} = {}", value(arg, &values)),
    };
}

/// Values as TOML.
fn value(arg: &Arg, values: &[String]) -> String {
    let one = |value: &String| -> String {
        let is_number = !takes_words(arg) && value.parse::<f64>().is_ok_and(f64::is_finite);
        match !arg.get_action().takes_values() || is_number {
            true => value.clone(),
            false => quoted(value),
        }
    };
    match is_repeatable(arg) {
        true => format!("[{}]", values.iter().map(one).collect::<Vec<_>>().join(", ")),
        false => values.first().map(one).unwrap_or_default(),
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", c as u32);
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Words as lines of comment.
fn comment(words: &str, text: &mut String) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        let _ = write!(line, " {word}");
    }
    let _ = writeln!(text, "{line}");
}
