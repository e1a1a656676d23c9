//! What a file says, as values of flags.

use std::any::TypeId;
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, Command, Id};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{CONFIG, PRINT};

/// A flag's value in the file.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) id: Id,
    /// As the file writes it.
    pub(super) key: String,
    /// As the command line would have them.
    pub(super) values: Vec<String>,
    is_switch: bool,
    /// Names of commands before it: those further inside count more.
    depth: usize,
}

impl Setting {
    /// Is it more than a switch that is off?
    pub(super) fn is_on(&self) -> bool {
        !self.is_switch || self.values != ["false"]
    }
}

/// What is wrong with a file, and where.
#[derive(Debug)]
pub(super) struct Wrong {
    /// In bytes.
    pub(super) offset: usize,
    pub(super) what: String,
}

/// Arguments that a file must not have: what stands by itself, what only shows something, and the file's own name.
pub(super) fn is_refused(arg: &Arg) -> bool {
    use ArgAction::{Help, HelpLong, HelpShort, Version};
    let shows = matches!(arg.get_action(), Help | HelpLong | HelpShort | Version);
    arg.is_positional() || shows || arg.get_id() == CONFIG || arg.get_id() == PRINT
}

/// The settings of a file for the flags of the command at `path` below `root`.
pub(super) fn settings(root: &Command, path: &[&str], text: &str) -> Result<Vec<Setting>, Wrong> {
    // The error's own display has the line of the file, where a secret may stand.
    let table = DeTable::parse(text).map_err(|e| Wrong {
        offset: e.span().map_or(0, |span| span.start.min(text.len())),
        what: e.message().to_owned(),
    })?;
    let target = path.iter().try_fold(root, |command, name| command.find_subcommand(name));
    let target = target.expect("the command line names commands that there are");
    let mut collected = Collected { target, settings: Vec::new() };
    collected.collect(table.get_ref(), root, path, 0)?;
    Ok(collected.settings)
}

/// Settings so far, for one command.
struct Collected<'a> {
    target: &'a Command,
    settings: Vec<Setting>,
}

impl Collected<'_> {
    /// Takes what a table says that is for `around` and the commands below it. `path` leads from there to the target, which is
    /// `depth` names further inside than the root by now.
    fn collect(
        &mut self,
        table: &DeTable<'_>,
        around: &Command,
        path: &[&str],
        depth: usize,
    ) -> Result<(), Wrong> {
        for (key, value) in table {
            if let DeValue::Table(inner) = value.get_ref() {
                match (around.find_subcommand(key.get_ref().as_ref()), path) {
                    (Some(command), [name, path @ ..]) if command.get_name() == *name => {
                        self.collect(inner, command, path, depth + 1)?;
                    }
                    // Another command's own.
                    (Some(_), _) => {}
                    (None, _) => self.collect(inner, around, path, depth)?,
                }
                continue;
            }
            let shown = key.get_ref().escape_debug();
            let wrong = |what: String| Wrong { offset: key.span().start, what: format!("`{shown}`: {what}") };
            let arg = match find(self.target, key.get_ref()) {
                Ok(arg) => arg,
                Err(_) if !path.is_empty() && is_flag_below(around, key.get_ref()) => continue,
                Err(what) => return Err(wrong(what)),
            };
            let id = arg.get_id().clone();
            match self.settings.iter().find(|setting| setting.id == id).map(|setting| setting.depth) {
                Some(found) if found == depth => return Err(wrong("it is set twice".into())),
                Some(found) if found > depth => continue,
                _ => self.settings.retain(|setting| setting.id != id),
            }
            self.settings.push(Setting {
                id,
                key: shown.to_string(),
                values: values(arg, value).map_err(wrong)?,
                is_switch: !arg.get_action().takes_values(),
                depth,
            });
        }
        Ok(())
    }
}

/// Whether a command below `around` has the flag `key`.
fn is_flag_below(around: &Command, key: &str) -> bool {
    let name = key.replace('_', "-");
    let has = |command: &Command| {
        command.get_arguments().any(|arg| !is_refused(arg) && arg.get_long() == Some(name.as_str()))
    };
    around.get_subcommands().any(|command| has(command) || is_flag_below(command, key))
}

fn find<'a>(command: &'a Command, key: &str) -> Result<&'a Arg, String> {
    let name = key.replace('_', "-");
    let is_named = |arg: &&Arg| arg.get_long().unwrap_or(arg.get_id().as_str()) == name;
    let found = command.get_arguments().find(is_named);
    if name == "help" || name == "version" || found.is_some_and(is_refused) {
        return Err("it cannot be set in a file".into());
    }
    found.filter(|arg| arg.get_long().is_some()).ok_or_else(|| {
        let flags = command.get_arguments().filter(|arg| !is_refused(arg)).filter_map(Arg::get_long);
        let mut near: Vec<(usize, &str)> = flags.map(|flag| (distance(&name, flag), flag)).collect();
        near.sort_unstable();
        near.retain(|&(distance, flag)| distance <= flag.len().max(name.len()) / 2);
        let near: Vec<String> = near.iter().take(3).map(|(_, flag)| format!("`{flag}`")).collect();
        match near.is_empty() {
            true => format!("there is no such option, `{} --help` lists them", command.get_name()),
            false => format!("there is no such option, the nearest are {}", near.join(", ")),
        }
    })
}

/// Letters to change, add or drop until `a` is `b` (Levenshtein).
pub(super) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    // row: (b.len() + 1,), from the beginning of `a` so far to each beginning of `b`
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// A value as the command line would have it, once it is known that the flag takes it.
fn values(arg: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, String> {
    let values = match value.get_ref() {
        DeValue::Array(array) if is_repeatable(arg) => {
            array.iter().map(|value| text(arg, value.get_ref())).collect::<Result<_, _>>()?
        }
        value => vec![text(arg, value)?],
    };
    match arg.get_action().takes_values() {
        true => values.iter().try_for_each(|value| try_out(arg, value)).map(|()| values),
        false => Ok(values),
    }
}

pub(super) fn is_repeatable(arg: &Arg) -> bool {
    let takes_many = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    takes_many || arg.get_value_delimiter().is_some() || matches!(arg.get_action(), ArgAction::Append)
}

/// Whether a flag's values are strings, and never numbers.
pub(super) fn takes_words(arg: &Arg) -> bool {
    let parsed = arg.get_value_parser().type_id();
    let words = [TypeId::of::<String>(), TypeId::of::<OsString>(), TypeId::of::<PathBuf>()];
    words.iter().any(|word| parsed == *word)
}

/// One value as text, if it is of a type that the flag may have.
fn text(arg: &Arg, value: &DeValue<'_>) -> Result<String, String> {
    let parsed = arg.get_value_parser().type_id();
    let takes_words = takes_words(arg);
    let expected = match arg.get_action() {
        ArgAction::SetTrue | ArgAction::SetFalse => "true or false",
        ArgAction::Count => "a number",
        _ if takes_words => "a string",
        _ => "a string or a number",
    };
    match (value, arg.get_action()) {
        (DeValue::Boolean(is_given), ArgAction::SetTrue) => Ok(is_given.to_string()),
        (DeValue::Boolean(is_given), ArgAction::SetFalse) => Ok((!is_given).to_string()),
        (DeValue::Boolean(truth), ArgAction::Set) if parsed == TypeId::of::<bool>() => Ok(truth.to_string()),
        (DeValue::Integer(number), ArgAction::Count) => decimal(number),
        (DeValue::String(text), ArgAction::Set | ArgAction::Append) => Ok(text.to_string()),
        (DeValue::Integer(number), ArgAction::Set | ArgAction::Append) if !takes_words => decimal(number),
        (DeValue::Float(number), ArgAction::Set | ArgAction::Append) if !takes_words => {
            Ok(number.as_str().to_owned())
        }
        (found, _) => Err(format!("expected {expected}, found {}", kind(found))),
    }
}

fn decimal(number: &toml::de::DeInteger<'_>) -> Result<String, String> {
    match number.radix() {
        10 => Ok(number.as_str().to_owned()),
        radix => {
            u64::from_str_radix(number.as_str(), radix).map(|n| n.to_string()).map_err(|e| e.to_string())
        }
    }
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "an integer",
        DeValue::Float(_) => "a float",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

/// Has the flag's own parser look at a value: a default that it refuses would be a bug.
fn try_out(arg: &Arg, value: &str) -> Result<(), String> {
    let parser = arg.get_value_parser().clone();
    let mut probe = Arg::new("probe").long("probe").action(ArgAction::Append).value_parser(parser);
    probe = probe.num_args(1).ignore_case(arg.is_ignore_case_set());
    if let Some(delimiter) = arg.get_value_delimiter() {
        probe = probe.value_delimiter(delimiter);
    }
    let command = Command::new("probe").no_binary_name(true).arg(probe);
    let Err(error) = command.try_get_matches_from([format!("--probe={value}")]) else { return Ok(()) };
    if arg.get_id().as_str().contains("key") {
        return Err("its value is refused".into());
    }
    let reason = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(source), _) => format!(": {source}"),
        (None, Some(ContextValue::Strings(valid))) => format!(", expected one of: {}", valid.join(", ")),
        _ => String::new(),
    };
    Err(format!("`{}` is refused{reason}", value.escape_debug()))
}
