//! What an answer looks like on the wire: OpenAI's objects, with a few members more that their clients ignore.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use inferno_engine::Miss;
use inferno_text::Tokenizer;
use serde::Serialize;

use crate::app::App;
use crate::generation::{Generation, Totals};

mod logprobs;
mod prompt_logprobs;
pub(crate) use logprobs::{ChatLogprobs, LEAST_LOGPROB, Names, TextLogprobs};
pub(crate) use prompt_logprobs::PromptLogprobs;

/// What stands in every object of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Label {
    pub(crate) id: String,
    pub(crate) created: u64,
    pub(crate) model: String,
    pub(crate) fingerprint: String,
}

impl Label {
    /// A new answer's.
    pub(crate) fn new(app: &App, prefix: &str) -> Label {
        Label {
            id: app.new_id(prefix),
            created: app.now(),
            model: app.card.id().to_owned(),
            fingerprint: app.card.fingerprint.clone(),
        }
    }
}

/// An object around choices: a whole answer, or a chunk of one.
#[derive(Debug, Serialize)]
pub(crate) struct Object<'a, C> {
    pub(crate) id: &'a str,
    pub(crate) object: &'static str,
    pub(crate) created: u64,
    pub(crate) model: &'a str,
    pub(crate) system_fingerprint: &'a str,
    /// Of a chat, as vLLM has them: left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_token_ids: Option<Option<&'a [u32]>>,
    pub(crate) choices: &'a [C],
    /// Of a chat, as vLLM has them, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_logprobs: Option<PromptLogprobs<'a>>,
    /// Left out, null, or there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Option<UsageBody>>,
    #[serde(flatten)]
    pub(crate) more: More,
}

/// Members that OpenAI does not have.
#[derive(Debug, Default, Serialize)]
pub(crate) struct More {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prefix_cache: Option<PrefixCache>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) prompt_progress: Option<PromptProgress>,
    /// Keywords of a schema that are not enforced, by name and place, and tokens that were cut off a prompt.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct UsageBody {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
    completion_tokens_details: CompletionDetails,
}

#[derive(Debug, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

#[derive(Debug, Serialize)]
struct CompletionDetails {
    reasoning_tokens: usize,
    accepted_prediction_tokens: usize,
    rejected_prediction_tokens: usize,
}

/// llama.cpp's names, the time in the queue, and the time that drafts have saved.
#[derive(Debug, Serialize)]
pub(crate) struct Timings {
    queue_ms: f64,
    cache_n: usize,
    prompt_n: usize,
    prompt_ms: f64,
    prompt_per_token_ms: f64,
    prompt_per_second: f64,
    predicted_n: usize,
    predicted_ms: f64,
    predicted_per_token_ms: f64,
    predicted_per_second: f64,
    draft_n: usize,
    draft_n_accepted: usize,
    /// Estimated from the times of steps; below 0 if they cost more than they saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    draft_saved_ms: Option<f64>,
}

/// Why no more of the prompt was cached. It tells of the caller's own prompt only.
#[derive(Debug, Serialize)]
pub(crate) struct PrefixCache {
    cached_tokens: usize,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_index: Option<usize>,
    /// The caller's own text from there on, a little of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// llama.cpp's names.
#[derive(Debug, Serialize)]
pub(crate) struct PromptProgress {
    pub(crate) total: usize,
    pub(crate) cache: usize,
    pub(crate) processed: usize,
    pub(crate) time_ms: u64,
}

impl UsageBody {
    pub(crate) fn new(totals: &Totals) -> UsageBody {
        UsageBody {
            prompt_tokens: totals.n_prompt,
            completion_tokens: totals.n_completion,
            total_tokens: totals.n_prompt + totals.n_completion,
            prompt_tokens_details: PromptDetails { cached_tokens: totals.n_cached },
            completion_tokens_details: CompletionDetails {
                reasoning_tokens: totals.n_reasoning,
                // Of predictions that clients send. Our own guesses are in the timings.
                accepted_prediction_tokens: 0,
                rejected_prediction_tokens: 0,
            },
        }
    }
}

impl Timings {
    /// The times so far of a request whose prompt is computed up to `n_done` tokens, those that were cached among them.
    pub(crate) fn of_prompt(answer: &Generation, n_done: usize) -> Timings {
        let totals = answer.totals_so_far();
        let n_prompt = n_done.max(totals.n_cached);
        // Nothing has taken any time before the first row.
        let prefill = if n_prompt > totals.n_cached { totals.prefill } else { Default::default() };
        Timings::new(&Totals { n_prompt, prefill, decode: Default::default(), ..totals })
    }

    pub(crate) fn new(totals: &Totals) -> Timings {
        let ms = |time: std::time::Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        // Of the times as they are told, so that computing them from those gives the same.
        let rate = |n: usize, ms: f64| if ms > 0.0 { n as f64 / ms * 1e3 } else { 0.0 };
        let each = |n: usize, ms: f64| if n > 0 { ms / n as f64 } else { 0.0 };
        let (prompt_ms, predicted_ms) = (ms(totals.prefill), ms(totals.decode));
        let n_computed = totals.n_prompt - totals.n_cached;
        // The first token of a completion comes with the prompt.
        let n_decoded = totals.n_completion.saturating_sub(1);
        Timings {
            queue_ms: ms(totals.queued),
            cache_n: totals.n_cached,
            prompt_n: n_computed,
            prompt_ms,
            prompt_per_token_ms: each(n_computed, prompt_ms),
            prompt_per_second: rate(n_computed, prompt_ms),
            predicted_n: totals.n_completion,
            predicted_ms,
            predicted_per_token_ms: each(n_decoded, predicted_ms),
            predicted_per_second: rate(n_decoded, predicted_ms),
            draft_n: totals.n_drafted,
            draft_n_accepted: totals.n_accepted,
            draft_saved_ms: (totals.n_drafted > 0).then(|| totals.saved_by_drafts as f64 / 1e3),
        }
    }
}

/// Tokens of the prompt that are shown where it left what is cached.
const SHOWN_AT_MISS: usize = 8;

impl PrefixCache {
    pub(crate) fn new(generation: &Generation, tokenizer: &Tokenizer) -> Option<PrefixCache> {
        let (cached_tokens, miss) = generation.cached()?;
        let (reason, token_index) = match miss {
            Miss::Whole => ("whole", None),
            Miss::Empty => ("nothing_cached", None),
            Miss::NothingFollows => ("end_of_cached", None),
            Miss::DiffersAt(at) => ("differs", Some(at)),
            Miss::Pending(_) => ("being_computed", None),
            Miss::WindowEvicted => ("window_evicted", None),
            Miss::NoSnapshot => ("no_state_snapshot", None),
        };
        let prompt = generation.prompt_tokens(0);
        let text = token_index.and_then(|at| {
            let tokens = &prompt[at.min(prompt.len())..(at + SHOWN_AT_MISS).min(prompt.len())];
            tokenizer.decode(tokens).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        });
        Some(PrefixCache { cached_tokens, reason, token_index, text })
    }
}

/// What is told at the end of an answer.
pub(crate) fn closing(generation: &Generation) -> More {
    More {
        timings: Some(Timings::new(&generation.totals())),
        prefix_cache: PrefixCache::new(generation, &generation.app().text.tokenizer),
        prompt_progress: None,
        warnings: generation.warnings(),
    }
}

/// A response of JSON.
pub(crate) fn json_response(status: StatusCode, value: &impl Serialize) -> Response {
    json_bytes(status, serde_json::to_vec(value).expect("what is answered is JSON"))
}

/// A response of bytes that are JSON.
pub(crate) fn json_bytes(status: StatusCode, bytes: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A response of JSON, and all is well.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json_response(StatusCode::OK, value)
}
