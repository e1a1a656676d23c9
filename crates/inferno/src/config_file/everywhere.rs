//! The arguments of every command: a configuration file, and an environment variable for each flag.

use std::path::PathBuf;

use clap::builder::FalseyValueParser;
use clap::{Arg, ArgAction, Command, CommandFactory};

use super::environment::{PREFIX, variable};
use super::settings::is_refused;
use super::{CONFIG, PRINT};

/// The command line with the arguments that its derived form leaves to this module. Flags that have a variable keep it.
pub(crate) fn command<C: CommandFactory>() -> Command {
    equipped(C::command(), true)
}

fn equipped(command: Command, is_root: bool) -> Command {
    let has_flags = !is_root && command.get_arguments().any(|arg| !is_refused(arg));
    let has_config = command.get_arguments().any(|arg| arg.get_id() == CONFIG);
    let command = match has_flags && !has_config {
        true => command.arg(config()).arg(print_config()),
        false => command,
    };
    command
        .mut_args(|arg| if is_refused(&arg) { arg } else { with_variable(arg) })
        .mut_subcommands(|inner| equipped(inner, false))
}

fn config() -> Arg {
    Arg::new(CONFIG)
        .long("config")
        .value_name("FILE")
        .env(format!("{PREFIX}CONFIG"))
        .hide_env(true)
        .help_heading("Configuration")
        .value_parser(clap::value_parser!(PathBuf))
        .help(
            "TOML file with values for flags, by their names; what is in a table with the name of a command is for that command \
             alone. Default: `inferno/config.toml` in the folder for configurations, if it is there",
        )
}

fn print_config() -> Arg {
    Arg::new(PRINT)
        .long("print-config")
        .action(ArgAction::SetTrue)
        .help_heading("Configuration")
        .help(
            "Print all settings as a file for `--config` and exit: those that are set with their values, the others as \
             comments with their defaults",
        )
}

/// Gives a flag the variable of its name, if it has none.
fn with_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_long().filter(|_| arg.get_env().is_none()).map(variable) else { return arg };
    let arg = match arg.get_action() {
        ArgAction::SetTrue => arg.value_parser(FalseyValueParser::new()),
        _ => arg,
    };
    arg.env(name).hide_env(true)
}

/// The user's own file: `inferno/config.toml` in `$XDG_CONFIG_HOME`, `%APPDATA%` or `~/.config`. `None` if the environment says
/// nothing of a home.
pub(crate) fn default_path() -> Option<PathBuf> {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || folder("HOME").map(|home| home.join(".config"));
    let folder = folder("XDG_CONFIG_HOME").or_else(|| folder("APPDATA")).or_else(home)?;
    Some(folder.join("inferno").join("config.toml"))
}
