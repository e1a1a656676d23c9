//! API keys: their roles, names and limits, and the file that lists them.

use std::fmt;
use std::path::{Path, PathBuf};

mod ring;
#[cfg(test)]
pub(crate) mod tests;

pub(crate) use ring::{Caller, Keyring, Pass};
pub use ring::{KeyChanges, random_key};

/// An API key and its owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The secret.
    pub secret: String,
    /// Owner's name in logs and lists.
    pub name: String,
    /// Whether the operator chose the name. Keys of one chosen name belong to one owner: they share limits and cached
    /// prefixes, and the owner stays the same when the key file is read again. Other keys are known by their secrets.
    pub is_named: bool,
    /// Routes that it opens.
    pub role: Role,
    /// Limits of its own, in place of [`Settings::key_limits`](crate::Settings::key_limits).
    pub limits: Option<KeyLimits>,
}

/// Routes that a key opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Everything except operators' routes and `/metrics`.
    User,
    /// Everything.
    Admin,
    /// `/metrics` alone.
    Scrape,
}

impl fmt::Debug for Key {
    /// Leaves the secret out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { name, role, limits, .. } = self;
        write!(f, "Key {{ name: {name:?}, role: {role:?}, limits: {limits:?} }}")
    }
}

/// Limits of a key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests at once.
    pub concurrent: Option<u64>,
    /// Requests per minute.
    pub requests: Option<u64>,
    /// Tokens per minute: those computed of prompts, and completions.
    pub tokens: Option<u64>,
}

/// Faults of keys and of the file that lists them. No message holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error("cannot read the keys in `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("`{}` line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// Expectation that it does not meet.
        reason: String,
    },
    /// The keys do not go together.
    #[error("{0}")]
    Set(String),
}

/// Reads a file with a key per line: the key, and then any of `name=NAME`, `admin` or `scrape`, `concurrent=N`,
/// `requests-per-minute=N` and `tokens-per-minute=N`. Empty lines and lines that start with `#` are skipped.
///
/// # Errors
/// The file cannot be read, or a line has another form.
pub fn read_keys(path: &Path) -> Result<Vec<Key>, KeyError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| KeyError::Read { path: path.to_owned(), source })?;
    let lines = text.lines().enumerate().filter(|(_, line)| {
        let line = line.trim();
        !line.is_empty() && !line.starts_with('#')
    });
    lines
        .map(|(i, line)| {
            key(line, i + 1).map_err(|reason| KeyError::Line { path: path.to_owned(), line: i + 1, reason })
        })
        .collect()
}

fn key(line: &str, number: usize) -> Result<Key, String> {
    let mut words = line.split_whitespace();
    let secret = words.next().unwrap_or_default().to_owned();
    let mut key =
        Key { secret, name: format!("key-{number}"), is_named: false, role: Role::User, limits: None };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let mut limits = key.limits.unwrap_or_default();
        let number = || match value.parse::<u64>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("`{name}` wants a number from 1 on")),
        };
        match name {
            "admin" | "scrape" if value.is_empty() => {
                if key.role != Role::User {
                    return Err("a key has one role, `admin` or `scrape`".into());
                }
                key.role = if name == "admin" { Role::Admin } else { Role::Scrape };
                continue;
            }
            "name" if !value.is_empty() => {
                key.name = value.to_owned();
                key.is_named = true;
                continue;
            }
            "concurrent" => limits.concurrent = Some(number()?),
            "requests-per-minute" => limits.requests = Some(number()?),
            "tokens-per-minute" => limits.tokens = Some(number()?),
            _ => {
                return Err("after the key expected `name=NAME`, `admin` or `scrape`, `concurrent=N`, \
                            `requests-per-minute=N` or `tokens-per-minute=N`"
                    .into());
            }
        }
        key.limits = Some(limits);
    }
    if key.role == Role::Scrape && key.limits.is_some() {
        return Err("a `scrape` key reads `/metrics` alone and has no limits".into());
    }
    Ok(key)
}

/// Checks that secrets are usable and differ, and that keys of one chosen name have the same limits.
///
/// # Errors
/// [`KeyError::Set`] names the keys at fault.
pub fn check_keys(keys: &[Key]) -> Result<(), KeyError> {
    for (i, key) in keys.iter().enumerate() {
        let is_sound = !key.secret.is_empty() && key.secret.bytes().all(|b| b.is_ascii_graphic());
        if !is_sound {
            let message =
                format!("key `{}` must be visible ASCII without spaces, of one character or more", key.name);
            return Err(KeyError::Set(message));
        }
        for other in &keys[..i] {
            if other.secret == key.secret {
                let message = format!("the keys `{}` and `{}` are the same", other.name, key.name);
                return Err(KeyError::Set(message));
            }
            let is_same_owner = key.is_named && other.is_named && key.name == other.name;
            if is_same_owner && key.limits != other.limits {
                let message = format!(
                    "the keys named `{}` have different limits, expected the same: keys of one name share them",
                    key.name
                );
                return Err(KeyError::Set(message));
            }
        }
    }
    Ok(())
}
