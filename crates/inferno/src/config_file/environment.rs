//! Environment variables of flags: values that a flag refuses, and names that no flag has.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Error};

use super::settings::distance;

/// Names that mean something without being a flag's: for a hub's mirror, for tests of this program, and those that Kubernetes gives to all
/// programs beside a service called `inferno`.
const OTHERS: [&str; 8] =
    ["HUB_HOSTS", "DATA", "REQUIRE", "TEST_", "SEEDS", "FIRST_SEED", "PORT_", "SERVICE_"];
pub(super) const PREFIX: &str = "INFERNO_";

/// Of `names` those that look like a flag's variable and are none, with the flag's that is nearest.
pub(crate) fn unknown_variables(names: impl IntoIterator<Item = String>) -> Vec<(String, Option<String>)> {
    let mut known = BTreeSet::new();
    collect(&super::command::<crate::cli::Cli>(), &mut known);
    let mut unknown: Vec<(String, Option<String>)> = Vec::new();
    for name in names {
        let Some(own) = name.strip_prefix(PREFIX) else { continue };
        if known.contains(&name) || OTHERS.iter().any(|other| own.starts_with(other)) {
            continue;
        }
        let near = known.iter().map(|known| (distance(&name, known), known)).min();
        let near = near.filter(|(distance, known)| *distance <= (known.len() - PREFIX.len()) / 2);
        unknown.push((name, near.map(|(_, known)| known.clone())));
    }
    unknown.sort();
    unknown
}

/// Warns on stderr of variables that look like this program's and are none. A server has them in its log.
pub(crate) fn note_unknown_variables(command: &crate::cli::Command) {
    if matches!(command, crate::cli::Command::Serve(_)) {
        return;
    }
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    for (name, near) in unknown_variables(names) {
        let near = near.map_or(String::new(), |near| format!(", is it `{near}`?"));
        crate::commands::note(&format!("warning: the environment variable `{name}` sets nothing{near}"));
    }
}

fn collect(command: &Command, names: &mut BTreeSet<String>) {
    let variables = command.get_arguments().filter_map(Arg::get_env);
    names.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, names));
}

/// The variable of the flag `--long`.
pub(super) fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.replace('-', "_").to_ascii_uppercase())
}

/// `command` without the variables of flags that a flag on the command line excludes.
pub(super) fn without_excluded(command: Command, path: &[&str], given: &ArgMatches) -> Command {
    let Some(inner) = path.iter().try_fold(&command, |command, name| command.find_subcommand(name)) else {
        return command;
    };
    let from = |source: ValueSource| {
        inner.get_arguments().filter(move |arg| given.value_source(arg.get_id().as_str()) == Some(source))
    };
    let excluded = from(ValueSource::EnvVariable).filter(|of_variable| {
        from(ValueSource::CommandLine).any(|flag| {
            let (a, b) = (flag.get_id(), of_variable.get_id());
            super::excludes(inner, a, b) || super::excludes(inner, b, a)
        })
    });
    let excluded: Vec<String> = excluded.map(|arg| arg.get_id().as_str().to_owned()).collect();
    excluded.iter().fold(command, |command, id| without_variable(command, path, id))
}

/// Names the environment variable in an error that clap words as the flag's. `parsed` is the command that the error comes
/// from, and `fresh` the same before it has parsed anything.
pub(super) fn named(
    error: Error,
    parsed: &Command,
    fresh: Command,
    (path, args): (&[&str], &[OsString]),
) -> Error {
    let (ErrorKind::InvalidValue | ErrorKind::ValueValidation) = error.kind() else { return error };
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(inner) = path.iter().try_fold(parsed, |command, name| command.find_subcommand(name)) else {
        return error;
    };
    let flag = inner.get_arguments().find(|arg| arg.to_string() == *shown && arg.get_env().is_some());
    let Some((id, Some(variable))) = flag.map(|arg| (arg.get_id().clone(), arg.get_env())) else {
        return error;
    };
    let variable = variable.to_string_lossy().into_owned();
    let is_shown = !id.as_str().contains("key");
    // If the same command line is right without the variable, it is the variable that is wrong.
    let command = without_variable(fresh, path, id.as_str());
    let is_same = match command.try_get_matches_from(args) {
        Ok(_) => false,
        Err(other) => other.get(ContextKind::InvalidArg) == error.get(ContextKind::InvalidArg),
    };
    if is_same {
        return error;
    }
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) if is_shown => {
            format!(" has the value '{}', which", value.escape_debug())
        }
        _ => " has a value that".into(),
    };
    let reason = match std::error::Error::source(&error) {
        Some(source) if is_shown => format!(": {source}"),
        _ => match error.get(ContextKind::ValidValue) {
            Some(ContextValue::Strings(valid)) => format!(", expected one of: {}", valid.join(", ")),
            _ => String::new(),
        },
    };
    let message = format!("the environment variable `{variable}`{value} `{shown}` does not take{reason}\n");
    Error::raw(ErrorKind::ValueValidation, message)
}

fn without_variable(command: Command, path: &[&str], id: &str) -> Command {
    match path {
        [name, path @ ..] => command.mut_subcommand(name, |inner| without_variable(inner, path, id)),
        [] => command.mut_arg(id, |arg| arg.env(Resettable::<clap::builder::OsStr>::Reset)),
    }
}
