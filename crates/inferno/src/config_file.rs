//! A TOML file that gives flags other defaults, for all commands: a flag counts more than its environment variable, that more
//! than the file, and the file more than the default.
//!
//! A key is the long name of a flag, with `-` or `_`. A table with the name of a command is for that command alone (`[run]`,
//! `[bench.serve]`), and counts more than what stands outside; other tables are headings and mean nothing. What is for no command
//! alone is for all that have such a flag. A value is what stands behind the flag, or `true`; a flag that may be repeated takes an
//! array.
//!
//! [`command`] gives every command its `--config` and `--print-config`, and every flag its environment variable.

mod environment;
mod everywhere;
mod print;
mod settings;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, Error, Id, Parser};

pub(crate) use environment::{note_unknown_variables, unknown_variables};
pub(crate) use everywhere::{command, default_path};
use settings::{Setting, settings};

/// The argument that names the file.
const CONFIG: &str = "config";
/// The argument that prints such a file.
const PRINT: &str = "print_config";

/// A command line of which some flags have a default that depends on others, or on the environment.
pub(crate) trait ChosenDefaults: Parser {
    /// Names and values of such flags of the subcommand at `path` that are not given.
    fn chosen(_path: &[&str], _given: &ArgMatches) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

/// Parses the command line, and the file that it or the environment names, or the user's own. `--print-config` prints one and ends
/// the program.
///
/// # Errors
/// The command line, the environment or the file is wrong; or help is asked for. [`Error::exit`] tells the user.
pub(crate) fn parse<C: ChosenDefaults>(args: impl IntoIterator<Item = OsString>) -> Result<C, Error> {
    let args: Vec<OsString> = args.into_iter().collect();
    // What is wrong, or only missing as the file has it, is left to the second pass.
    let first = command::<C>().ignore_errors(true).try_get_matches_from(&args)?;
    let (path, given) = innermost(&first);
    let file = match given.try_get_one::<PathBuf>(CONFIG) {
        Ok(Some(file)) => Some(file.clone()),
        Ok(None) => default_path().filter(|path| path.exists()),
        // A command without flags.
        Err(_) => None,
    };
    let make = || {
        let command = environment::without_excluded(command::<C>(), &path, given);
        match &file {
            Some(file) => with_file(command, &path, given, file),
            None => Ok(command),
        }
    };
    let mut command = make()?;
    let mut matches = match command.try_get_matches_from_mut(&args) {
        Ok(matches) => matches,
        Err(error) => return Err(environment::named(error, &command, make()?, (&path, &args))),
    };
    if let Some(text) = print::asked(&everywhere::command::<C>(), &matches, C::chosen) {
        // The reader may be gone.
        let _ = std::io::stdout().write_all(text.as_bytes());
        std::process::exit(0);
    }
    C::from_arg_matches_mut(&mut matches).map_err(|e| e.format(&mut command))
}

/// The subcommands that were named, and what the last of them was given.
fn innermost(mut matches: &ArgMatches) -> (Vec<&str>, &ArgMatches) {
    let mut path = Vec::new();
    while let Some((name, inner)) = matches.subcommand() {
        path.push(name);
        matches = inner;
    }
    (path, matches)
}

/// `command` with the file's defaults for the subcommand at `path`.
fn with_file(command: Command, path: &[&str], given: &ArgMatches, file: &Path) -> Result<Command, Error> {
    let wrong = |what: String| {
        Error::raw(
            ErrorKind::ValueValidation,
            format!("`{}`{what}\n", file.display().to_string().escape_debug()),
        )
    };
    let bytes = std::fs::read(file).map_err(|e| wrong(format!(": cannot read: {e}")))?;
    let text = std::str::from_utf8(&bytes)
        .map_err(|e| wrong(format!(": expected UTF-8, which ends at byte {}", e.valid_up_to())))?;
    let subcommand = path.iter().try_fold(&command, |command, name| command.find_subcommand(name));
    let subcommand = subcommand.expect("the first pass has found the subcommands");
    let mut settings = settings(&command, path, text)
        .map_err(|e| wrong(format!(" line {}: {}", 1 + text[..e.offset].matches('\n').count(), e.what)))?;

    let excludes = |a: &Id, b: &Id| excludes(subcommand, a, b) || excludes(subcommand, b, a);
    for (i, a) in settings.iter().enumerate() {
        if let Some(b) = settings[..i].iter().find(|b| a.is_on() && b.is_on() && excludes(&a.id, &b.id)) {
            return Err(wrong(format!(": `{}` cannot be together with `{}`", a.key, b.key)));
        }
    }
    // Whoever gives a flag does not want what excludes it: that the file has it is no reason to refuse.
    let is_given = |arg: &Arg| {
        let source = given.value_source(arg.get_id().as_str());
        matches!(source, Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    settings.retain(|setting| {
        !setting.is_on()
            || !subcommand.get_arguments().any(|arg| is_given(arg) && excludes(&setting.id, arg.get_id()))
    });
    Ok(with_defaults(command, path, settings))
}

/// Does `a` say that it conflicts with `b`?
fn excludes(command: &Command, a: &Id, b: &Id) -> bool {
    let arg = command.get_arguments().find(|arg| arg.get_id() == a);
    arg.is_some_and(|arg| command.get_arg_conflicts_with(arg).iter().any(|other| other.get_id() == b))
}

fn with_defaults(command: Command, path: &[&str], settings: Vec<Setting>) -> Command {
    match path {
        [name, path @ ..] => command.mut_subcommand(name, |inner| with_defaults(inner, path, settings)),
        [] => settings.into_iter().fold(command, |command, setting| {
            command.mut_arg(setting.id, |arg| {
                // A default may be a secret: no help text shows it.
                let takes_values = arg.get_action().takes_values();
                arg.required(false).hide_default_value(takes_values).default_values(setting.values)
            })
        }),
    }
}

/// Asserts that all of a command's flags can be set by the environment too.
#[cfg(test)]
#[track_caller]
pub(crate) fn every_flag_has_an_environment_variable(command: &Command) {
    let flags = command.get_arguments().filter(|arg| !settings::is_refused(arg));
    let without: Vec<&str> =
        flags.filter(|arg| arg.get_env().is_none()).map(|arg| arg.get_id().as_str()).collect();
    assert!(without.is_empty(), "flags without an environment variable: {}", without.join(", "));
}

#[cfg(test)]
mod tests;
