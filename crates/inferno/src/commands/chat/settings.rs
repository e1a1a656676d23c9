//! `/set`: how answers are made, changed while talking.

use clap::{Args, Command, FromArgMatches};

use crate::cli::{Sampling, Seed, max_tokens, seed};
use crate::sampling::Wishes;
use crate::session::Session;

/// All settings by name.
pub(super) fn all(session: &Session) -> String {
    let max_tokens = session.max_tokens.map_or(-1, |n| n as i64);
    format!("{}, max-tokens {max_tokens}, seed {}", Wishes::from(&session.sampling).describe(), session.seed)
}

/// Changes one setting, named like its flag; what to say of it.
pub(super) fn set(session: &mut Session, name: &str, value: &str) -> Result<String, String> {
    let name = name.trim_start_matches('-').replace('_', "-");
    match &*name {
        "max-tokens" => session.max_tokens = usize::try_from(max_tokens(value)?).ok(),
        "seed" => match seed(value)? {
            Seed::Of(seed) => session.seed = seed,
            Seed::Any => return Err("expected a number".into()),
        },
        _ => session.sampling = sampling(&name, value)?.or(&Wishes::from(&session.sampling)).resolve(),
    }
    Ok(all(session))
}

/// The flag's own parser says what values there are.
fn sampling(name: &str, value: &str) -> Result<Wishes, String> {
    let command = Sampling::augment_args(Command::new("set").no_binary_name(true).disable_help_flag(true));
    let is_setting = |arg: &clap::Arg| arg.get_long() == Some(name) && arg.get_action().takes_values();
    if !command.get_arguments().any(is_setting) {
        return Err("expected one of temperature, top-k, top-p, min-p, repeat-penalty, repeat-last-n, presence-penalty, \
                    frequency-penalty, max-tokens and seed, and a value (all samplers of `inferno chat --help` may be set)"
            .into());
    }
    // The environment is for the start alone.
    let command = command.mut_args(|arg| arg.env(None::<&str>));
    let matches = command.try_get_matches_from([format!("--{name}={value}")]);
    let sampling = matches.and_then(|matches| Sampling::from_arg_matches(&matches)).map_err(|e| {
        let reason = std::error::Error::source(&e).map_or("no value".into(), |reason| reason.to_string());
        format!("`{name}` cannot be `{}`: {reason}", value.escape_debug())
    })?;
    Ok(sampling.wishes())
}
