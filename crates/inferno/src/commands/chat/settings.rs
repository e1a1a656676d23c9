//! `/set`: how answers are made and shown, changed while talking.

use clap::{Args, Command, FromArgMatches};

use crate::answer::Thinking;
use crate::cli::{Sampling, Seed, max_tokens, seed};
use crate::misspelt::edits;
use crate::sampling::Wishes;
use crate::session::{Session, any_seed};

/// Values of the setting `thinking`.
pub(super) const THINKING: [(&str, Thinking); 3] =
    [("show", Thinking::Show), ("fold", Thinking::Fold), ("hide", Thinking::Hide)];

/// Changes that outlive the model they were made with.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) thinking: Thinking,
    sampling: Wishes,
    max_tokens: Option<Option<usize>>,
    seed: Option<u64>,
}

impl Settings {
    pub(super) fn new() -> Settings {
        Settings { thinking: Thinking::Fold, sampling: Wishes::default(), max_tokens: None, seed: None }
    }

    /// Makes a new session answer with these settings.
    pub(super) fn apply(&self, session: &mut Session) {
        session.sampling = self.sampling.or(&Wishes::from(&session.sampling)).resolve();
        session.max_tokens = self.max_tokens.unwrap_or(session.max_tokens);
        session.seed = self.seed.unwrap_or(session.seed);
    }

    /// All settings by name.
    pub(super) fn all(&self, session: &Session) -> String {
        let sampling = Wishes::from(&session.sampling).describe();
        let max_tokens = session.max_tokens.map_or(-1, |n| n as i64);
        let thinking =
            THINKING.iter().find(|(_, value)| *value == self.thinking).map_or("", |(name, _)| name);
        format!("{sampling}, max-tokens {max_tokens}, seed {}, thinking {thinking}", session.seed)
    }

    /// Changes the setting of `text`, its name and its value, or changes none if that is empty; what to say of it.
    ///
    /// # Errors
    /// The name is unknown or the value out of range; the reason.
    pub(super) fn set(&mut self, session: &mut Session, text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Ok(self.all(session));
        }
        let (name, value) = text.split_once([' ', '=']).unwrap_or((text, ""));
        let name = name.trim_start_matches('-').replace('_', "-");
        let value = value.trim();
        match &*name {
            "max-tokens" => {
                let n = max_tokens(value).map_err(|why| refused(&name, value, why))?;
                self.max_tokens = Some(usize::try_from(n).ok());
            }
            "seed" => {
                self.seed = Some(match seed(value).map_err(|why| refused(&name, value, why))? {
                    Seed::Of(seed) => seed,
                    Seed::Any => any_seed(),
                });
            }
            "thinking" => {
                let found = THINKING.iter().find(|(name, _)| *name == value);
                let (_, thinking) =
                    found.ok_or_else(|| refused(&name, value, "expected show, fold or hide"))?;
                self.thinking = *thinking;
            }
            _ => self.sampling = sampling(&name, value)?.or(&self.sampling),
        }
        self.apply(session);
        let value = if name == "seed" { session.seed.to_string() } else { value.to_owned() };
        Ok(format!("{name} is now {value}"))
    }
}

/// Names of all settings.
pub(super) fn names() -> impl Iterator<Item = String> {
    let sampling = command()
        .get_arguments()
        .filter(|arg| arg.get_action().takes_values())
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect::<Vec<_>>();
    sampling.into_iter().chain(["max-tokens", "seed", "thinking"].map(str::to_owned))
}

/// The flags of sampling, without those of the environment, which is for the start alone.
fn command() -> Command {
    let command = Sampling::augment_args(Command::new("set").no_binary_name(true).disable_help_flag(true));
    command.mut_args(|arg| arg.env(None::<&str>))
}

/// The flag's own parser says what values there are.
fn sampling(name: &str, value: &str) -> Result<Wishes, String> {
    if !names().any(|known| known == name) {
        let near = names().map(|known| (edits(name, &known), known)).min();
        let advice = match near {
            Some((0..=2, near)) => format!("did you mean `{near}`?"),
            _ => "`/set` shows all settings, `inferno chat --help` explains them".into(),
        };
        return Err(format!("unknown setting `{}`; {advice}", name.escape_debug()));
    }
    if value.is_empty() {
        return Err(format!("`/set {name}` takes a value"));
    }
    let matches = command().try_get_matches_from([format!("--{name}={value}")]);
    let sampling = matches.and_then(|matches| Sampling::from_arg_matches(&matches)).map_err(|e| {
        let reason = std::error::Error::source(&e).map_or("no value".into(), |reason| reason.to_string());
        refused(name, value, &reason)
    })?;
    Ok(sampling.wishes())
}

fn refused(name: &str, value: &str, why: &str) -> String {
    format!("`{name}` cannot be `{}`: {why}", value.escape_debug())
}
