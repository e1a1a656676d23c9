//! Who asks: API keys, what each may have at once and in a minute, and whose cache is whose.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use crate::app::App;
use crate::error::ApiError;
use crate::settings::Settings;

/// A key and who has it.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// The secret.
    pub secret: String,
    /// What logs and lists call it.
    pub name: String,
    /// It may also see and end what others do.
    pub is_admin: bool,
    /// Its own, if they are not everybody's.
    pub limits: Option<KeyLimits>,
}

impl fmt::Debug for Key {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Key { name, is_admin, limits, .. } = self;
        write!(f, "Key {{ name: {name:?}, is_admin: {is_admin}, limits: {limits:?} }}")
    }
}

/// What a key may have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// Requests at once.
    pub concurrent: Option<u64>,
    /// Requests per minute.
    pub requests: Option<u64>,
    /// Tokens per minute: those computed of prompts, and completions.
    pub tokens: Option<u64>,
}

/// A file of keys is not as it should be. The message never holds a key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error("cannot read the keys in `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is wrong.
    #[error("`{}` line {line}: {reason}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
}

/// Reads a file with a key per line: the key, and then any of `name=NAME`, `admin`, `concurrent=N`,
/// `requests-per-minute=N` and `tokens-per-minute=N`. Lines that start with `#` say nothing.
///
/// # Errors
/// The file cannot be read, or a line says something else.
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
    let mut key = Key { secret, name: format!("key-{number}"), is_admin: false, limits: None };
    for word in words {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        let mut limits = key.limits.unwrap_or_default();
        let number = || match value.parse::<u64>() {
            Ok(n) if n > 0 => Ok(n),
            _ => Err(format!("`{name}` wants a number from 1 on")),
        };
        match name {
            "admin" if value.is_empty() => {
                key.is_admin = true;
                continue;
            }
            "name" if !value.is_empty() => {
                key.name = value.to_owned();
                continue;
            }
            "concurrent" => limits.concurrent = Some(number()?),
            "requests-per-minute" => limits.requests = Some(number()?),
            "tokens-per-minute" => limits.tokens = Some(number()?),
            _ => {
                return Err("after the key expected `name=NAME`, `admin`, `concurrent=N`, \
                            `requests-per-minute=N` or `tokens-per-minute=N`"
                    .into());
            }
        }
        key.limits = Some(limits);
    }
    Ok(key)
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) is_admin: bool,
    /// The engine shares fairly among tenants. 0 is everybody without a key.
    pub(crate) tenant: u32,
}

/// All keys, and what their owners have had lately.
#[derive(Debug)]
pub(crate) struct Keyring {
    keys: Vec<Key>,
    callers: Vec<Caller>,
    default_limits: KeyLimits,
    /// One per tenant.
    accounts: Mutex<HashMap<u32, Account>>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Account {
    concurrent: u64,
    /// What is left of a minute's worth, which fills up again all the time.
    requests: f64,
    tokens: f64,
    at: Instant,
}

/// A request that counts against its key's limit for as long as this lives.
#[derive(Debug)]
pub(crate) struct Pass {
    app: Arc<App>,
    tenant: u32,
}

impl Keyring {
    pub(crate) fn new(settings: &Settings) -> Keyring {
        let caller = |(i, key): (usize, &Key)| Caller {
            name: key.name.as_str().into(),
            is_admin: key.is_admin,
            tenant: i as u32 + 1,
        };
        Keyring {
            callers: settings.keys.iter().enumerate().map(caller).collect(),
            keys: settings.keys.clone(),
            default_limits: settings.key_limits,
            accounts: Mutex::default(),
            hasher: RandomState::new(),
        }
    }

    /// Is a key needed?
    pub(crate) fn is_needed(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Whoever the headers say it is. Every key is compared, each in a time that does not depend on where it differs.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        if self.keys.is_empty() {
            return Ok(Caller { name: "anyone".into(), is_admin: false, tenant: 0 });
        }
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let own = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        let Some(given) = bearer.or(own) else {
            return Err(ApiError::unauthorized(
                "an API key is needed: `Authorization: Bearer KEY`, or `x-api-key: KEY`",
            ));
        };
        let mut found = None;
        for (key, caller) in self.keys.iter().zip(&self.callers) {
            if bool::from(key.secret.as_bytes().ct_eq(given.as_bytes())) {
                found = Some(caller);
            }
        }
        found.cloned().ok_or_else(|| ApiError::unauthorized("the API key is not known here"))
    }

    /// Lets a request in, if its key's limits do.
    pub(crate) fn admit(app: &Arc<App>, caller: &Caller) -> Result<Pass, ApiError> {
        let keyring = &app.keyring;
        let limits = keyring.limits(caller);
        let mut accounts = keyring.lock();
        let account = accounts.entry(caller.tenant).or_insert_with(|| Account::new(&limits));
        account.fill(&limits, Instant::now());
        let too_many = |what: &str, most: u64, wait: f64| {
            let message = format!("the API key `{}` may have {most} {what}: try again later", caller.name);
            Err(ApiError::overloaded(message, Duration::from_secs_f64(wait.clamp(0.0, 3600.0))))
        };
        if let Some(most) = limits.concurrent.filter(|&most| account.concurrent >= most) {
            return too_many("requests at once", most, 1.0);
        }
        if let Some(most) = limits.requests.filter(|_| account.requests < 1.0) {
            return too_many("requests per minute", most, (1.0 - account.requests) * 60.0 / most as f64);
        }
        if let Some(most) = limits.tokens.filter(|_| account.tokens <= 0.0) {
            return too_many("tokens per minute", most, (1.0 - account.tokens) * 60.0 / most as f64);
        }
        account.concurrent += 1;
        account.requests -= 1.0;
        Ok(Pass { app: Arc::clone(app), tenant: caller.tenant })
    }

    /// Counts tokens that were computed.
    pub(crate) fn spend(&self, caller: &Caller, n_tokens: u64) {
        if let Some(account) = self.lock().get_mut(&caller.tenant) {
            account.tokens -= n_tokens as f64;
        }
    }

    /// Whose cached pages a request may use: those of its own key and its own salt, and nobody can guess the number.
    pub(crate) fn salt(&self, caller: &Caller, cache_salt: Option<&str>, settings: &Settings) -> u64 {
        let tenant = if settings.share_cache { 0 } else { caller.tenant };
        match (tenant, cache_salt) {
            (0, None) => 0,
            whose => self.hasher.hash_one(whose),
        }
    }

    fn limits(&self, caller: &Caller) -> KeyLimits {
        let key = (caller.tenant as usize).checked_sub(1).and_then(|i| self.keys.get(i));
        key.and_then(|key| key.limits).unwrap_or(self.default_limits)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Account>> {
        self.accounts.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Account {
    fn new(limits: &KeyLimits) -> Account {
        Account {
            concurrent: 0,
            requests: limits.requests.unwrap_or(0) as f64,
            tokens: limits.tokens.unwrap_or(0) as f64,
            at: Instant::now(),
        }
    }

    fn fill(&mut self, limits: &KeyLimits, now: Instant) {
        let minutes = (now - self.at).as_secs_f64() / 60.0;
        self.at = now;
        let filled = |left: f64, most: Option<u64>| {
            let most = most.unwrap_or(0) as f64;
            (left + minutes * most).min(most)
        };
        self.requests = filled(self.requests, limits.requests);
        self.tokens = filled(self.tokens, limits.tokens);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if let Some(account) = self.app.keyring.lock().get_mut(&self.tenant) {
            account.concurrent -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_key_file_says_who_and_how_much() {
        let key = |line: &str| super::key(line, 3);
        let plain = key("sk-1").unwrap();
        assert_eq!((plain.name.as_str(), plain.is_admin, plain.limits), ("key-3", false, None));
        let full =
            key("sk-2 name=ann admin concurrent=2 requests-per-minute=60 tokens-per-minute=1000").unwrap();
        assert!(full.is_admin && full.name == "ann");
        let expected = KeyLimits { concurrent: Some(2), requests: Some(60), tokens: Some(1000) };
        assert_eq!(full.limits, Some(expected));
        for bad in ["sk-3 rpm=4", "sk-3 concurrent=0", "sk-3 name=", "sk-3 admin=yes"] {
            let reason = key(bad).unwrap_err();
            assert!(!reason.contains("sk-3"), "{reason}");
        }
        assert!(!format!("{full:?}").contains("sk-2"));
    }

    #[test]
    fn buckets_fill_with_time_and_never_over() {
        let limits = KeyLimits { requests: Some(60), tokens: Some(600), concurrent: None };
        let mut account = Account::new(&limits);
        let start = account.at;
        account.requests = 0.0;
        account.tokens = -300.0;
        account.fill(&limits, start + Duration::from_secs(2));
        assert!((account.requests - 2.0).abs() < 1e-9 && (account.tokens + 280.0).abs() < 1e-9);
        account.fill(&limits, start + Duration::from_secs(3600));
        assert_eq!((account.requests, account.tokens), (60.0, 600.0));
    }
}
