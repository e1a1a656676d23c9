//! `/completion` and `/infill`: llama-server's own.
//!
//! - A request for several completions is answered with an array.
//! - The last event of a stream has everything but the text; there is no `[DONE]`.
//! - Errors have the status as their `code`.

use std::borrow::Cow;
use std::marker::PhantomData;

use inferno_reply::{Delta, Ending, FinishReason, Shown, StopReason};
use serde_json::{Map, Value, json};

use super::openai::wants;
use super::{Dialect, PromptNews, Reads, Whole, event};
use crate::app::App;
use crate::completion::Completion;
use crate::error::ApiError;
use crate::generation::Generation;
use crate::lines::Indentation;
use crate::wire::{Label, PromptProgress, Timings};

mod probs;
mod request;
mod settings;

pub(crate) use request::{Asked, Infills, Plain, Route};
pub(crate) use settings::{defaults, generation_settings};

/// Writes completions in llama-server's shape.
#[derive(Debug)]
pub(crate) struct NativeDialect<R> {
    id: String,
    model: String,
    asked: Asked,
    /// One entry per choice.
    told: Vec<Told>,
    route: PhantomData<R>,
}

/// The part of a choice that is told.
#[derive(Debug, Clone)]
struct Told {
    n_tokens: usize,
    has_new_line: bool,
    indentation: Indentation,
    /// A line with too little indentation has come.
    is_cut: bool,
}

impl Told {
    fn new(asked: &Asked) -> Told {
        let indentation = Indentation::new(asked.lines.map_or(0, |lines| lines.n_indent));
        Told { n_tokens: 0, has_new_line: false, indentation, is_cut: false }
    }

    /// The part of `text` that is told.
    fn take<'a>(&mut self, text: &'a str) -> &'a str {
        if self.is_cut {
            return "";
        }
        let end = self.indentation.push(text.as_bytes());
        self.is_cut = end.is_some();
        let text = end.map_or(text, |end| text.get(..end).unwrap_or(text));
        self.has_new_line |= text.contains('\n');
        text
    }
}

impl<R: Route> NativeDialect<R> {
    fn told(&mut self, choice: usize) -> &mut Told {
        if self.told.len() <= choice {
            self.told.resize(choice + 1, Told::new(&self.asked));
        }
        &mut self.told[choice]
    }

    /// Members that each event has.
    fn partial(&self, answer: &Generation, choice: usize) -> Map<String, Value> {
        let n_tokens = self.told.get(choice).map_or(0, |told| told.n_tokens);
        members([
            ("index", choice.into()),
            ("content", "".into()),
            ("tokens", Vec::<u32>::new().into()),
            ("stop", false.into()),
            ("id_slot", self.asked.id_slot.into()),
            ("tokens_predicted", n_tokens.into()),
            ("tokens_evaluated", answer.prompt_tokens(choice / answer.n()).len().into()),
        ])
    }

    fn partial_event(
        &mut self,
        answer: &Generation,
        choice: usize,
        (text, tokens): (&str, &[&Shown]),
        out: &mut Vec<u8>,
    ) {
        let told = self.told(choice);
        told.n_tokens += tokens.len();
        let text = told.take(text);
        let mut members = self.partial(answer, choice);
        members.insert("content".into(), text.into());
        members.insert("tokens".into(), ids(tokens).into());
        if wants(answer).timings_per_token {
            members.insert("timings".into(), timings(answer, choice));
        }
        if self.asked.n_probs > 0 {
            members.insert("completion_probabilities".into(), probs::of(answer, tokens, &self.asked));
        }
        event(&members, out);
    }

    /// The members of the end of a choice, with all of it in `text` and `tokens` unless it was streamed.
    fn last(
        &self,
        answer: &Generation,
        choice: usize,
        (text, tokens): (&str, &[&Shown]),
        ending: &Ending,
    ) -> Value {
        let app = answer.app();
        let prompt = answer.prompt_tokens(choice / answer.n());
        let n_made = answer.n_tokens(choice);
        let told = &self.told[choice];
        let stopping_word = match &ending.stop {
            Some(StopReason::String(word)) => word.as_str(),
            _ => "",
        };
        let stop_type = match (&ending.stop, ending.reason) {
            (Some(StopReason::String(_)), _) => "word",
            (_, FinishReason::Length) => "limit",
            _ => "eos",
        };
        let options = answer.options();
        let is_full = ending.reason == FinishReason::Length && prompt.len() + n_made >= app.text.context_len;
        let truncated = is_full && options.max_tokens.is_none_or(|most| n_made < most);
        let shown = app.text.tokenizer.decode(prompt).expect("a prompt's tokens are the vocabulary's");
        let tokens = if self.asked.return_tokens { ids(tokens) } else { Vec::new() };
        let mut all = members([
            ("index", choice.into()),
            ("content", text.into()),
            ("tokens", tokens.into()),
            ("id_slot", self.asked.id_slot.into()),
            ("stop", true.into()),
            ("model", self.model.as_str().into()),
            ("tokens_predicted", n_made.into()),
            ("tokens_evaluated", prompt.len().into()),
            ("generation_settings", generation_settings(app, options, &self.asked)),
            ("prompt", String::from_utf8_lossy(&shown).into()),
            ("has_new_line", told.has_new_line.into()),
            ("truncated", truncated.into()),
            ("stop_type", stop_type.into()),
            ("stopping_word", stopping_word.into()),
            // The last token is not computed.
            ("tokens_cached", (prompt.len() + n_made.saturating_sub(1)).into()),
            ("timings", timings(answer, choice)),
        ]);
        let mut warnings: Vec<String> = self.asked.warnings();
        warnings.extend(answer.warnings());
        if !warnings.is_empty() {
            all.insert("warnings".into(), warnings.into());
        }
        if ending.closed_early {
            all.insert("closed_early".into(), true.into());
        }
        Value::Object(all)
    }

    /// The fields that are wanted of `all`: a path leads into objects, and is the member's new name.
    fn wanted(&self, all: Value) -> Value {
        if self.asked.response_fields.is_empty() {
            return all;
        }
        let field = |path: &String| {
            let value = path.split('/').try_fold(&all, |value, name| value.get(name))?;
            Some((path.clone(), value.clone()))
        };
        Value::Object(self.asked.response_fields.iter().filter_map(field).collect())
    }
}

fn members<const N: usize>(all: [(&str, Value); N]) -> Map<String, Value> {
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn ids(tokens: &[&Shown]) -> Vec<u32> {
    tokens.iter().map(|token| token.span.token).collect()
}

fn timings(answer: &Generation, choice: usize) -> Value {
    serde_json::to_value(Timings::new(&answer.totals_of(choice))).expect("times are JSON")
}

/// The text of all parts, and their tokens.
fn joined(delta: &Delta) -> (Cow<'_, str>, Vec<&Shown>) {
    let text = match &*delta.parts {
        [part] => Cow::Borrowed(&*part.text),
        parts => parts.iter().map(|part| &*part.text).collect(),
    };
    (text, delta.parts.iter().flat_map(|part| &part.tokens).collect())
}

/// `text` cut up for its tokens, of which each is told alone: the last part of a character brings it.
fn pieces<'a>(text: &'a str, tokens: &[&Shown]) -> Vec<&'a str> {
    let mut rest = text;
    let mut pieces: Vec<&str> = Vec::with_capacity(tokens.len());
    for (i, token) in tokens.iter().enumerate() {
        let n_chars = match tokens.get(i + 1) {
            Some(next) => next.span.chars.start.saturating_sub(token.span.chars.start),
            None => usize::MAX,
        };
        let end = rest.char_indices().nth(n_chars).map_or(rest.len(), |(end, _)| end);
        let (piece, others) = rest.split_at(end);
        pieces.push(piece);
        rest = others;
    }
    pieces
}

impl<R: Route> Dialect for NativeDialect<R> {
    fn id(&self) -> &str {
        &self.id
    }

    fn begin(&mut self, _answer: &Generation, _out: &mut Vec<u8>) {}

    fn wants_progress(&self, answer: &Generation) -> bool {
        wants(answer).return_progress
    }

    fn prompt(&mut self, answer: &Generation, news: &PromptNews, out: &mut Vec<u8>) {
        let &PromptNews::Progress { prompt_idx, n_done } = news else { return };
        if !wants(answer).return_progress {
            return;
        }
        let progress = PromptProgress {
            total: answer.prompt_tokens(prompt_idx).len(),
            cache: answer.cached().map_or(0, |cached| cached.0),
            processed: n_done,
            time_ms: answer.elapsed().as_millis() as u64,
        };
        let mut members = self.partial(answer, prompt_idx * answer.n());
        members.insert("prompt_progress".into(), json!(progress));
        if wants(answer).timings_per_token {
            members.insert("timings".into(), json!(Timings::of_prompt(answer, n_done)));
        }
        event(&members, out);
    }

    fn piece(
        &mut self,
        answer: &Generation,
        choice: usize,
        delta: &Delta,
        ending: Option<&Ending>,
        out: &mut Vec<u8>,
    ) {
        let (text, tokens) = joined(delta);
        if self.asked.n_probs > 0 && tokens.len() > 1 {
            for (piece, token) in pieces(&text, &tokens).into_iter().zip(&tokens) {
                self.partial_event(answer, choice, (piece, &[token]), out);
            }
        } else if !text.is_empty() || !tokens.is_empty() {
            self.partial_event(answer, choice, (&text, &tokens), out);
        }
        if let Some(ending) = ending {
            self.told(choice);
            let last = self.last(answer, choice, ("", &[]), ending);
            event(&self.wanted(last), out);
        }
    }

    fn end(&mut self, _answer: &Generation, _out: &mut Vec<u8>) {}

    fn whole(&mut self, answer: &Generation, choices: Vec<Whole>) -> Vec<u8> {
        let mut all: Vec<Value> = Vec::with_capacity(choices.len());
        for (choice, Whole { delta, ending, .. }) in choices.iter().enumerate() {
            let (text, tokens) = joined(delta);
            let text = self.told(choice).take(&text);
            let mut last = self.last(answer, choice, (text, &tokens), ending);
            if self.asked.n_probs > 0 {
                last["completion_probabilities"] = probs::of(answer, &tokens, &self.asked);
            }
            all.push(self.wanted(last));
        }
        let body = match <[Value; 1]>::try_from(all) {
            Ok([one]) => one,
            Err(all) => Value::Array(all),
        };
        serde_json::to_vec(&body).expect("what is answered is JSON")
    }

    fn fail(&self, error: &ApiError, out: &mut Vec<u8>) {
        event(&error_body(error), out);
    }
}

impl<R: Route> Reads<Completion> for NativeDialect<R> {
    const ROUTE: &'static str = R::PATH;

    fn read(body: Map<String, Value>, app: &App) -> Result<(Completion, NativeDialect<R>), ApiError> {
        let (completion, asked) = request::read::<R>(body, app)?;
        let id = Label::new(app, "cmpl-").id;
        let model = app.card.id().to_owned();
        Ok((completion, NativeDialect { id, model, asked, told: Vec::new(), route: PhantomData }))
    }

    fn error(error: &ApiError) -> Value {
        error_body(error)
    }
}

/// An error as llama-server's clients read it: its status is its code.
pub(crate) fn error_body(error: &ApiError) -> Value {
    let kind = match (error.status.as_u16(), error.code) {
        (400, Some("context_length_exceeded")) => "exceed_context_size_error",
        (401, _) => "authentication_error",
        (403, _) => "permission_error",
        (404, _) => "not_found_error",
        (500, _) => "server_error",
        (501, _) => "not_supported_error",
        (503, _) => "unavailable_error",
        _ => error.kind,
    };
    // Its clients tell this error by these words.
    let message = match kind {
        "exceed_context_size_error" => {
            format!("the request exceeds the available context size: {}", error.message)
        }
        _ => error.message.clone(),
    };
    let mut object =
        members([("code", error.status.as_u16().into()), ("message", message.into()), ("type", kind.into())]);
    object.extend(error.param.as_deref().map(|param| ("param".to_owned(), param.into())));
    object.extend(error.extra.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    json!({ "error": object })
}
