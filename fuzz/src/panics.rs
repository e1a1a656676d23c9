//! Panics on any thread, those that some code catches included.

use std::sync::{Mutex, Once, PoisonError};

/// Panics inside these crates are caught by `inferno-grammar`, which makes errors of them.
const TOLERATED: [&str; 3] = ["/llguidance-", "/derivre-", "/toktrie-"];

static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Notes all panics of this process from now on, and calls `then` after each.
pub fn watch_panics(then: fn()) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map(ToString::to_string).unwrap_or_default();
            if TOLERATED.iter().any(|name| place.contains(name)) {
                return;
            }
            before(panic);
            FOUND.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
            then();
        }));
    });
}

/// Panics since the last call.
pub fn caught_panics() -> Vec<String> {
    std::mem::take(&mut *FOUND.lock().unwrap_or_else(PoisonError::into_inner))
}
