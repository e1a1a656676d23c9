//! Requests' keys: whose they are, what their owners have had lately, and whose cache is whose.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::HeaderMap;
use hyper::header::AUTHORIZATION;
use subtle::ConstantTimeEq;

use super::{Key, KeyLimits, Role};
use crate::app::App;
use crate::error::ApiError;
use crate::settings::Settings;

/// The owner of a request's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: Arc<str>,
    pub(crate) role: Role,
    /// The engine shares fairly among tenants. 0 is everybody without a key.
    pub(crate) tenant: u32,
    /// The same for the same owner with the same [`Settings::salt_key`]; 0 is everybody without a key.
    owner: u64,
    limits: KeyLimits,
}

/// All keys, and what their owners have had lately.
#[derive(Debug)]
pub(crate) struct Keyring {
    ring: RwLock<Arc<Ring>>,
    default_limits: KeyLimits,
    /// Tenants that have ever had a key, so that a name keeps its account and its cache when keys are read again.
    owners: Mutex<HashMap<Owner, u32>>,
    /// One per tenant.
    accounts: Mutex<HashMap<u32, Account>>,
    salt_key: [u8; 16],
}

/// The keys that count now.
#[derive(Debug)]
struct Ring {
    keys: Vec<Key>,
    callers: Vec<Caller>,
}

/// Identity of an owner between two readings of the keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Owner {
    Name(String),
    /// Hash of a secret whose key has no name of its own.
    Secret(u64),
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

/// Differences between the keys of a server and those that replace them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyChanges {
    /// Keys from now on.
    pub n_keys: usize,
    /// Keys that were not there before.
    pub n_added: usize,
    /// Keys that are not there any more.
    pub n_removed: usize,
}

impl Keyring {
    pub(crate) fn new(settings: &Settings) -> Keyring {
        let empty = Ring { keys: Vec::new(), callers: Vec::new() };
        let keyring = Keyring {
            ring: RwLock::new(Arc::new(empty)),
            default_limits: settings.key_limits,
            owners: Mutex::default(),
            accounts: Mutex::default(),
            salt_key: settings.salt_key.unwrap_or_else(random_key),
        };
        keyring.replace(settings.keys.clone());
        keyring
    }

    /// Replaces all keys. Requests that run go on; an owner whose name or secret is still there keeps account and cache.
    pub(crate) fn replace(&self, keys: Vec<Key>) -> KeyChanges {
        let callers = keys.iter().map(|key| self.caller_of(key)).collect();
        let before = self.ring();
        let is_in = |key: &Key, keys: &[Key]| keys.iter().any(|other| other.secret == key.secret);
        let changes = KeyChanges {
            n_keys: keys.len(),
            n_added: keys.iter().filter(|key| !is_in(key, &before.keys)).count(),
            n_removed: before.keys.iter().filter(|key| !is_in(key, &keys)).count(),
        };
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Ring { keys, callers });
        changes
    }

    fn caller_of(&self, key: &Key) -> Caller {
        let owner = match key.is_named {
            true => Owner::Name(key.name.clone()),
            false => Owner::Secret(self.hash(&key.secret)),
        };
        let owner_hash = self.hash(&owner);
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        // 0 is everybody without a key.
        let next = owners.len() as u32 + 1;
        let tenant = *owners.entry(owner).or_insert(next);
        let limits = key.limits.unwrap_or(self.default_limits);
        Caller { name: key.name.as_str().into(), role: key.role, tenant, owner: owner_hash, limits }
    }

    /// The name by which another process knows a tenant: `Some(None)` is everybody without a key, `None` the owner of a key
    /// without a name.
    pub(crate) fn owner_name(&self, tenant: u32) -> Option<Option<String>> {
        if tenant == 0 {
            return Some(None);
        }
        let owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        owners.iter().find_map(|(owner, of)| match owner {
            Owner::Name(name) if *of == tenant => Some(Some(name.clone())),
            _ => None,
        })
    }

    /// The tenant of that name.
    pub(crate) fn tenant_of(&self, name: Option<&str>) -> u32 {
        let Some(name) = name else { return 0 };
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        let next = owners.len() as u32 + 1;
        *owners.entry(Owner::Name(name.to_owned())).or_insert(next)
    }

    fn ring(&self) -> Arc<Ring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether requests need a key.
    pub(crate) fn is_needed(&self) -> bool {
        self.ring().callers.iter().any(|caller| caller.role != Role::Scrape)
    }

    /// Whether there is any key, be it for `/metrics` alone.
    pub(crate) fn has_keys(&self) -> bool {
        !self.ring().keys.is_empty()
    }

    pub(crate) fn n_keys(&self) -> usize {
        self.ring().keys.len()
    }

    /// The owner of the key in the headers. Every key is compared, each in a time that does not depend on where it differs.
    pub(crate) fn caller(&self, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let bearer = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, key) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
        });
        let own = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        if let (Some(bearer), Some(own)) = (bearer, own)
            && bearer != own
        {
            return Err(ApiError::bad_request(
                "`authorization` and `x-api-key` hold different keys, expected one of the headers",
            ));
        }
        let (ring, given) = (self.ring(), bearer.or(own));
        let mut found = None;
        for (key, caller) in ring.keys.iter().zip(&ring.callers) {
            if given.is_some_and(|given| bool::from(key.secret.as_bytes().ct_eq(given.as_bytes()))) {
                found = Some(caller);
            }
        }
        match (found, given) {
            (Some(caller), _) => Ok(caller.clone()),
            (None, _) if !self.is_needed() => {
                let (name, limits) = ("anyone".into(), self.default_limits);
                Ok(Caller { name, role: Role::User, tenant: 0, owner: 0, limits })
            }
            (None, None) => Err(ApiError::unauthorized(
                "an API key is needed: `Authorization: Bearer KEY`, or `x-api-key: KEY`",
            )),
            (None, Some(_)) => Err(ApiError::unauthorized("the API key is not known here")),
        }
    }

    /// Lets a request in, if its key's limits do.
    pub(crate) fn admit(app: &Arc<App>, caller: &Caller) -> Result<Pass, ApiError> {
        let limits = caller.limits;
        let mut accounts = app.keyring.lock();
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
        let owner = if settings.share_cache { 0 } else { caller.owner };
        match (owner, cache_salt) {
            (0, None) => 0,
            whose => self.hash(whose),
        }
    }

    fn hash(&self, of: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.salt_key.hash(&mut hasher);
        of.hash(&mut hasher);
        hasher.finish()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A key for [`Settings::salt_key`] that is another one every time.
pub fn random_key() -> [u8; 16] {
    let mut key = [0; 16];
    for part in key.as_chunks_mut::<8>().0 {
        *part = RandomState::new().build_hasher().finish().to_le_bytes();
    }
    key
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

    fn ring(lines: &[&str]) -> Vec<Key> {
        lines.iter().enumerate().map(|(i, line)| super::super::key(line, i + 1).unwrap()).collect()
    }

    fn tenant(keyring: &Keyring, secret: &str) -> Option<u32> {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", secret.parse().unwrap());
        keyring.caller(&headers).ok().map(|caller| caller.tenant)
    }

    #[test]
    fn owners_stay_who_they_are_when_keys_are_replaced() {
        let keys = ring(&["sk-a", "sk-b name=ann", "sk-c"]);
        let keyring = Keyring::new(&Settings { keys, ..Settings::default() });
        let [a, ann, c] = ["sk-a", "sk-b", "sk-c"].map(|secret| tenant(&keyring, secret).unwrap());
        // `sk-c` moves up a line, where `sk-a` was, and ann has a second key.
        let changes = keyring.replace(ring(&["sk-c", "sk-b name=ann", "sk-n name=ann", "sk-d name=dan"]));
        assert_eq!(changes, KeyChanges { n_keys: 4, n_added: 2, n_removed: 1 });
        assert_eq!(tenant(&keyring, "sk-a"), None);
        assert_eq!(tenant(&keyring, "sk-c"), Some(c));
        assert_eq!((tenant(&keyring, "sk-b"), tenant(&keyring, "sk-n")), (Some(ann), Some(ann)));
        assert!(![a, ann, c].contains(&tenant(&keyring, "sk-d").unwrap()));
        keyring.replace(ring(&["sk-a"]));
        assert_eq!(tenant(&keyring, "sk-a"), Some(a));
    }
}
