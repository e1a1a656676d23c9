//! Bodies that no server may break on: NUL bytes, and 12 MiB of text.

use super::rules::refused;
use crate::exchange::Request;
use crate::probe::{Probe, Verdict};

/// Bytes of a huge body: more than a million words.
const HUGE_BYTES: usize = 12 << 20;

/// A valid request, whose prompt is replaced to make others.
pub(super) struct Valid<'a> {
    pub(super) request: Request,
    /// Text of the prompt, which is nowhere else in the body.
    pub(super) prompt: &'a str,
    /// Shape of the dialect's errors.
    pub(super) error: &'a str,
}

impl Valid<'_> {
    /// The request with another prompt, as it stands between the quotes of JSON.
    fn about(&self, text: &str) -> Request {
        let body = self.request.body.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
        Request { body: Some(body.replace(self.prompt, text).into_bytes()), ..self.request.clone() }
    }
}

/// A NUL byte is no JSON, and is refused. Written as `\u0000` it is a character of the prompt, and is answered or refused.
pub(super) fn nul(probe: &Probe<'_>, valid: &Valid<'_>) -> Verdict {
    refused(probe.ask(valid.about("Tell\0me"))?.offered()?, &[400, 422], valid.error)?;
    let answer = probe.ask(valid.about("Tell\\u0000me"))?;
    match answer.status {
        200..=299 => answer.complete(),
        _ => refused(&answer, &[400, 422], valid.error),
    }
}

/// A huge body is refused for its size or for the length of its prompt.
pub(super) fn huge(probe: &Probe<'_>, valid: &Valid<'_>) -> Verdict {
    let word = "dragon ";
    // As curl does: the server may refuse a body before it is sent.
    let request = valid.about(&word.repeat(HUGE_BYTES / word.len())).with("expect", "100-continue");
    refused(probe.ask(request)?.offered()?, &[400, 413, 422], valid.error)
}
