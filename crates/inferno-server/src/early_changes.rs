//! Prompts whose early part differs in every request: a time or an id in a system prompt, behind which nothing of the prefix
//! cache can be used.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use inferno_engine::Miss;

/// Shorter prompts are computed quickly enough.
const MIN_TOKENS: usize = 512;
/// A change is early in the first of this number of equal parts of a prompt.
const PARTS: usize = 4;
/// Tokens that may belong to the change.
const CHANGED: usize = 64;
/// Tokens behind the change that are compared between prompts.
const SAME: usize = 48;
/// Changes in a row that are worth a warning.
const REPEATS: u32 = 4;

/// Early changes in each caller's prompts.
#[derive(Debug, Default)]
pub(crate) struct EarlyChanges {
    tenants: Mutex<HashMap<u32, Last>>,
}

/// The last prompt with an early change.
#[derive(Debug, Default)]
struct Last {
    /// (SAME,) Tokens behind the change.
    behind: Vec<u32>,
    n_repeats: u32,
    is_told: bool,
}

impl EarlyChanges {
    /// Notes where the prefix cache ended for a prompt of `tenant`; the token if a warning is due, once per tenant: several
    /// prompts in a row differed early, and the same tokens followed.
    pub(crate) fn note(&self, tenant: u32, prompt: &[u32], miss: Miss) -> Option<usize> {
        let Miss::DiffersAt(at) = miss else { return None };
        let behind = prompt.get(at + CHANGED..at + CHANGED + SAME)?;
        if prompt.len() < MIN_TOKENS || at > prompt.len() / PARTS {
            return None;
        }
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let last = tenants.entry(tenant).or_default();
        let is_repeat = prompt[at..].windows(SAME).take(2 * CHANGED).any(|tokens| tokens == last.behind);
        last.behind.clear();
        last.behind.extend_from_slice(behind);
        last.n_repeats = if is_repeat { last.n_repeats + 1 } else { 0 };
        if last.n_repeats < REPEATS || last.is_told {
            return None;
        }
        last.is_told = true;
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A prompt with a nonce of some tokens behind 20 others.
    fn prompt(nonce: u32, len: usize) -> Vec<u32> {
        let nonce = (0..=nonce % 5).map(|i| 10_000 + nonce * 8 + i);
        (0..20).chain(nonce).chain(100..100 + len as u32).collect()
    }

    #[test]
    fn a_change_that_repeats_is_told_once_for_each_tenant() {
        let changes = EarlyChanges::default();
        for tenant in [0, 7] {
            let told: Vec<u32> = (0..12)
                .filter(|&i| changes.note(tenant, &prompt(i, 600), Miss::DiffersAt(20)).is_some())
                .collect();
            assert_eq!(told, [4]);
        }
    }

    #[test]
    fn other_prompts_are_no_reason_to_warn() {
        let changes = EarlyChanges::default();
        for i in 0..12 {
            // Short; cached; different behind the change, too; different late.
            assert_eq!(changes.note(1, &prompt(i, 400), Miss::DiffersAt(20)), None);
            assert_eq!(changes.note(2, &prompt(0, 600), Miss::NothingFollows), None);
            let other: Vec<u32> = prompt(i, 600).iter().map(|token| token + 1000 * i).collect();
            assert_eq!(changes.note(3, &other, Miss::DiffersAt(20)), None);
            assert_eq!(changes.note(4, &prompt(i, 600), Miss::DiffersAt(300)), None);
            assert_eq!(changes.note(5, &prompt(i, 600), Miss::DiffersAt(620)), None);
        }
    }
}
