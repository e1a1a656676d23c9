//! Kept responses as lines of JSON, for a server of another process.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Kept, State, Store};
use crate::keys::Keyring;

/// A response.
#[derive(Serialize, Deserialize)]
struct Line {
    id: String,
    /// Name of the key that it belongs to; `None` without keys.
    owner: Option<String>,
    /// See [`Kept`].
    n_past: usize,
    n_input: usize,
    is_background: bool,
    has_output: bool,
    items: Vec<Value>,
    response: Value,
}

impl Store {
    /// Writes all responses that are not computed any more, oldest first, and returns their number. Those of keys without a
    /// name are left out: another process does not know whose they are.
    ///
    /// # Errors
    /// `out` takes no more.
    pub(crate) fn save(&self, keyring: &Keyring, out: &mut impl Write) -> io::Result<usize> {
        let all: Vec<(String, Kept)> = {
            let inside = self.lock();
            let kept = |id: &String| Some((id.clone(), inside.all.get(id)?.kept.clone()));
            inside.ages.values().filter_map(kept).collect()
        };
        let mut n = 0;
        for (id, Kept { tenant, body, items, n_past, n_input, state, .. }) in all {
            let (is_background, has_output) = match state {
                State::Running(_) => continue,
                State::BackgroundDone => (true, true),
                State::Done => (false, true),
                State::Unfinished => (true, false),
            };
            let Some(owner) = keyring.owner_name(tenant) else { continue };
            let response = serde_json::from_slice(&body)?;
            let items = items.into_iter().map(Arc::unwrap_or_clone).collect();
            let line = Line { id, owner, n_past, n_input, is_background, has_output, items, response };
            serde_json::to_writer(&mut *out, &line)?;
            out.write_all(b"\n")?;
            n += 1;
        }
        Ok(n)
    }

    /// Keeps the responses that [`save`](Self::save) has written, and returns their number.
    ///
    /// # Errors
    /// `input` cannot be read, or a line is no response.
    pub(crate) fn load(&self, keyring: &Keyring, input: impl BufRead) -> io::Result<usize> {
        let mut n = 0;
        for (i, line) in input.lines().enumerate() {
            let invalid = |reason: String| {
                io::Error::new(io::ErrorKind::InvalidData, format!("line {}: {reason}", i + 1))
            };
            let line: Line = serde_json::from_str(&line?).map_err(|error| invalid(error.to_string()))?;
            let Line { id, owner, n_past, n_input, is_background, has_output, items, response } = line;
            if n_past.saturating_add(n_input) > items.len() {
                return Err(invalid(format!(
                    "{} items, expected {n_past} and {n_input} or more",
                    items.len()
                )));
            }
            let state = match (is_background, has_output) {
                (_, false) => State::Unfinished,
                (true, true) => State::BackgroundDone,
                (false, true) => State::Done,
            };
            let (tenant, body) = (keyring.tenant_of(owner.as_deref()), Bytes::from(response.to_string()));
            let items = items.into_iter().map(Arc::new).collect();
            self.keep(&id, Kept { tenant, body, items, n_past, n_input, log: None, state });
            n += 1;
        }
        Ok(n)
    }
}
