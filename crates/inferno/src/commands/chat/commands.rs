//! Commands of a chat: one table, from which parsing, help and completion come.

use std::fmt::Write;

use crate::misspelt::edits;

/// A command.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    pub(super) kind: Kind,
    /// With its slash.
    pub(super) name: &'static str,
    /// Other names of it.
    aliases: &'static [&'static str],
    pub(super) takes: Takes,
    help: &'static str,
}

/// Commands by what they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    System,
    File,
    Regenerate,
    Undo,
    Reset,
    Compact,
    Save,
    Load,
    Set,
    Thinking,
    Stats,
    Model,
    Help,
    Exit,
}

/// Argument of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Nothing,
    /// Any text, or none.
    Text,
    /// A file's name.
    File,
    /// A file's name, or none.
    MaybeFile,
    /// A model's name, or none.
    MaybeModel,
    /// A setting and its value, or neither.
    Setting,
}

impl Takes {
    fn shown(self) -> &'static str {
        match self {
            Takes::Nothing => "",
            Takes::Text => "[TEXT]",
            Takes::File => "FILE",
            Takes::MaybeFile => "[FILE]",
            Takes::MaybeModel => "[MODEL]",
            Takes::Setting => "[NAME VALUE]",
        }
    }
}

macro_rules! command {
    ($kind:ident, [$name:literal $(, $alias:literal)*], $takes:ident, $help:literal) => {
        Command { kind: Kind::$kind, name: $name, aliases: &[$($alias),*], takes: Takes::$takes, help: $help }
    };
}

pub(super) const COMMANDS: &[Command] = &[
    command!(System, ["/system"], Text, "set the system message; without TEXT: remove it"),
    command!(File, ["/file", "/attach"], File, "add the text of FILE to the next message"),
    command!(Regenerate, ["/regenerate", "/regen", "/retry"], Nothing, "answer the last message again"),
    command!(Undo, ["/undo"], Nothing, "remove the last message and its answer"),
    command!(Reset, ["/reset", "/clear"], Nothing, "forget the conversation, keep the system message"),
    command!(Compact, ["/compact", "/summarize"], Nothing, "replace older turns by a summary of the model"),
    command!(Save, ["/save"], MaybeFile, "write the conversation to FILE, as JSON"),
    command!(Load, ["/load", "/open"], File, "continue the conversation of FILE"),
    command!(Set, ["/set"], Setting, "change a setting; without NAME: show all"),
    command!(Thinking, ["/thinking"], Nothing, "print the reasoning of the last answer"),
    command!(Stats, ["/stats", "/usage"], Nothing, "print tokens, cache hits and speeds"),
    command!(Model, ["/model"], MaybeModel, "load another model; without MODEL: name this one"),
    command!(Help, ["/help", "/?"], Nothing, "print this"),
    command!(Exit, ["/exit", "/quit", "/bye"], Nothing, "end (also: Ctrl-D, `exit`)"),
];

/// Meaning of what was entered.
#[derive(Debug, PartialEq)]
pub(super) enum Said<'a> {
    /// Blank.
    Nothing,
    Turn(&'a str),
    /// A command with its argument, without blanks around it.
    Command(Kind, &'a str),
    /// No command, or one with a wrong argument; with the reason.
    Refused(String),
}

impl Said<'_> {
    pub(super) fn of(text: &str) -> Said<'_> {
        if text.trim().is_empty() {
            return Said::Nothing;
        }
        if ["exit", "quit", "bye"].iter().any(|end| text.trim_end().eq_ignore_ascii_case(end)) {
            return Said::Command(Kind::Exit, "");
        }
        if !text.starts_with('/') || text.starts_with("//") {
            return Said::Turn(text);
        }
        let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let Some(command) = named(word) else {
            // A list of paths, or code.
            return if text.trim_end().contains('\n') {
                Said::Turn(text)
            } else {
                Said::Refused(unknown(word))
            };
        };
        let rest = unquoted(rest.trim());
        match (command.takes, rest.is_empty()) {
            (Takes::Nothing, false) => Said::Refused(format!("`{}` takes no argument", command.name)),
            (Takes::File, true) => Said::Refused(format!("`{}` takes the name of a file", command.name)),
            _ => Said::Command(command.kind, rest),
        }
    }
}

/// Three of these around a text of several lines.
const QUOTES: &str = "\"\"\"";

/// A text without the triple quotes around it, and without a newline next to them.
pub(super) fn unquoted(text: &str) -> &str {
    let inner = text.trim().strip_prefix(QUOTES).and_then(|text| text.strip_suffix(QUOTES));
    inner.map_or(text, |inner| {
        let inner = inner.strip_prefix('\n').unwrap_or(inner);
        inner.strip_suffix('\n').unwrap_or(inner)
    })
}

/// Whether triple quotes at the beginning, perhaps behind a command, are not closed yet.
pub(super) fn is_open(text: &str) -> bool {
    let start = match text.split_once(char::is_whitespace) {
        Some((word, rest)) if named(word).is_some_and(|command| command.takes == Takes::Text) => rest,
        _ => text,
    };
    start.trim_start().strip_prefix(QUOTES).is_some_and(|rest| !rest.contains(QUOTES))
}

/// The command of that name or alias.
pub(super) fn named(word: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == word || command.aliases.contains(&word))
}

fn unknown(word: &str) -> String {
    let shown: String = word.chars().take(40).flat_map(char::escape_debug).collect();
    let names = || {
        COMMANDS
            .iter()
            .flat_map(|c| [&[c.name][..], c.aliases].concat().into_iter().map(move |name| (c, name)))
    };
    let begun =
        || names().find(|(_, name)| word.len() > 1 && name.starts_with(word)).map(|(command, _)| command);
    // In short names two edits are another word.
    let most = if word.chars().count() > 5 { 2 } else { 1 };
    let near = names().map(|(command, name)| (edits(word, name), command)).min_by_key(|(n, _)| *n);
    let near = near.filter(|(n, _)| word.len() > 2 && *n <= most).map(|(_, command)| command).or_else(begun);
    let advice = match near {
        Some(command) => format!("did you mean `{}`? ", command.name),
        None => String::new(),
    };
    format!(
        "unknown command `{shown}`; {advice}`/help` lists the commands, a space in front makes it a message"
    )
}

/// Text of `/help`.
pub(super) fn help() -> String {
    let mut text = String::new();
    for command in COMMANDS {
        let usage = format!("{} {}", command.name, command.takes.shown());
        // A string takes any text.
        let _ = writeln!(text, "{usage:<20} {}", command.help);
    }
    text + "Enter sends; Alt-Enter begins a new line, as Enter does between `\"\"\"` and `\"\"\"`.\n\
            Ctrl-C stops an answer or clears the line, Ctrl-R searches, Tab completes.\n\
            Text that begins with a space or `//` is a message."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_a_turn_a_command_or_nothing() {
        use Kind::*;
        for (line, said) in [
            ("Hello /exit", Said::Turn("Hello /exit")),
            (" /exit", Said::Turn(" /exit")),
            ("// a comment", Said::Turn("// a comment")),
            ("/etc/hosts\n/etc/passwd", Said::Turn("/etc/hosts\n/etc/passwd")),
            ("", Said::Nothing),
            (" \t", Said::Nothing),
            ("/exit ", Said::Command(Exit, "")),
            ("exit", Said::Command(Exit, "")),
            ("Bye ", Said::Command(Exit, "")),
            (" quit", Said::Turn(" quit")),
            ("exit the building", Said::Turn("exit the building")),
            ("/quit", Said::Command(Exit, "")),
            ("/system  Be kind. ", Said::Command(System, "Be kind.")),
            ("/system \"\"\"\nBe kind.\nAlways.\n\"\"\"", Said::Command(System, "Be kind.\nAlways.")),
            ("/system", Said::Command(System, "")),
            ("/regen", Said::Command(Regenerate, "")),
            ("/save a b.json ", Said::Command(Save, "a b.json")),
            ("/save", Said::Command(Save, "")),
            ("/set top-k  5", Said::Command(Set, "top-k  5")),
        ] {
            assert_eq!(Said::of(line), said, "{line}");
        }
        for (line, part) in [
            ("/systems x", "did you mean `/system`?"),
            ("/rgenerate", "did you mean `/regenerate`?"),
            ("/comp", "did you mean `/compact`?"),
            ("/qiut", "did you mean `/exit`?"),
            ("/", "`/`; `/help` lists"),
            ("/frobnicate", "`/frobnicate`; `/help` lists"),
            ("/exit now", "`/exit` takes no argument"),
            ("/load", "`/load` takes the name of a file"),
        ] {
            assert!(
                matches!(Said::of(line), Said::Refused(why) if why.contains(part)),
                "{line}: {:?}",
                Said::of(line)
            );
        }
    }

    #[test]
    fn names_are_unique_and_help_has_them_all_in_80_columns() {
        let all: Vec<&str> = COMMANDS.iter().flat_map(|c| [&[c.name][..], c.aliases].concat()).collect();
        assert!(all.iter().all(|name| all.iter().filter(|other| *other == name).count() == 1), "{all:?}");
        let help = help();
        assert!(COMMANDS.iter().all(|command| help.contains(command.name)), "{help}");
        assert!(help.lines().all(|line| line.len() <= 80), "{help}");
    }

    #[test]
    fn triple_quotes_hold_several_lines_together() {
        for (text, open) in [
            ("\"\"\"", true),
            (" \"\"\"\na\n", true),
            ("\"\"\"\na\"\"\"", false),
            ("say \"\"\"", false),
            ("/system \"\"\"a", true),
            ("/file \"\"\"a", false),
            ("/system \"\"\"a\"\"\"", false),
        ] {
            assert_eq!(is_open(text), open, "{text}");
        }
        assert_eq!(unquoted("\"\"\"\na\n b\n\"\"\" "), "a\n b");
        assert_eq!(unquoted("a \"\"\"b\"\"\""), "a \"\"\"b\"\"\"");
    }
}
