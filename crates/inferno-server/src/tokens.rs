//! `POST /tokenize`, `/detokenize` and `/apply-template`, in llama.cpp's words and in vLLM's, and
//! `/v1/messages/count_tokens` in Anthropic's.
#![deny(clippy::indexing_slicing)]

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inferno_text::Special;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::body::{self, Reading, Unread};
use crate::chat::{self, Conversation};
use crate::completion::encode;
use crate::dialect::MessagesDialect;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::listing::{Listing, Part, Shape};
use crate::options::{NAME_BYTES, check_model};
use crate::unsupported;
use crate::wire::ok;
use crate::workers::Cancel;

/// A request of `/tokenize`.
pub(crate) struct Tokenized {
    with_pieces: bool,
    with_strings: bool,
    source: Source,
}

/// Source of a text to tokenize.
enum Source {
    Chat(Box<Conversation>),
    Text { name: &'static str, text: String, add_special: bool, special: Special },
}

impl Tokenized {
    /// Reads a request.
    ///
    /// # Errors
    /// 400: a field is malformed, or there is nothing to tokenize.
    pub(crate) fn read(object: Map<String, Value>, app: &App) -> Result<Tokenized, ApiError> {
        let mut fields = named(object, app)?;
        let with_pieces = fields.boolean("with_pieces")?.unwrap_or(false);
        let with_strings = fields.boolean("return_token_strs")?.unwrap_or(false);
        let source = match fields.peek("messages") {
            Some(_) => Source::Chat(Box::new(conversation_of(fields, app)?)),
            None => Source::text(&mut fields, app)?,
        };
        Ok(Tokenized { with_pieces, with_strings, source })
    }
}

impl Source {
    /// `content` or `prompt`.
    fn text(fields: &mut Fields, app: &App) -> Result<Source, ApiError> {
        let most = app.settings.body_bytes;
        // llama.cpp's field adds nothing by default, vLLM's what the model wants in front.
        let (name, text, adds) = match (fields.string("content", most)?, fields.string("prompt", most)?) {
            (Some(_), Some(_)) => {
                let message = "`content` and `prompt` are both there, expected one";
                return Err(ApiError::invalid("prompt", message));
            }
            (Some(content), None) => ("content", content, false),
            (None, Some(prompt)) => ("prompt", prompt, true),
            (None, None) => {
                let message = "there is nothing to tokenize: `content`, `prompt` or `messages`";
                return Err(ApiError::missing("content", message));
            }
        };
        check_size(name, text.len(), app.settings.tokenize_bytes)?;
        let named = (fields.boolean("add_special")?, fields.boolean("add_special_tokens")?);
        let add_special = named.0.or(named.1).unwrap_or(adds);
        let special = match fields.boolean("parse_special")?.unwrap_or(true) {
            true => Special::Recognise,
            false => Special::AsText,
        };
        Ok(Source::Text { name, text, add_special, special })
    }

    async fn tokens(self, app: &App, reading: &Reading) -> Result<Vec<u32>, ApiError> {
        let (name, text, add_special, special) = match self {
            Source::Chat(conversation) => {
                return Ok(chat::prompt(*conversation, app, reading, usize::MAX).await?.1.tokens);
            }
            Source::Text { name, text, add_special, special } => (name, text, add_special, special),
        };
        let (tokenizer, context_len) = (Arc::clone(&app.text.tokenizer), app.text.context_len);
        let size = text.len();
        let work = move |cancel: &Cancel| {
            let is_cancelled = || cancel.is_set();
            let bounds = body::bounds(usize::MAX, &is_cancelled);
            encode(&tokenizer, &text, add_special, (special, bounds))
                .map_err(|stopped| ApiError::stopped(stopped, name, context_len))
        };
        reading.run(app, size, work).await
    }
}

pub(crate) async fn tokenize(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, mut reading) = body::object(&app, unread).await?;
    let Tokenized { with_pieces, with_strings, source } = Tokenized::read(object, &app)?;
    let tokens = source.tokens(&app, &reading).await?;
    // The text is gone, its tokens stay until they are written.
    reading.share.resize(tokens.capacity() * size_of::<u32>())?;
    let shape = if with_pieces { Shape::Piece } else { Shape::Id };
    let (count, context_len) = (tokens.len(), app.text.context_len);
    let mut parts = vec![
        Part::Fixed("{\"tokens\":[".into()),
        Part::Tokens(shape),
        Part::Fixed(format!("],\"count\":{count},\"max_model_len\":{context_len}")),
    ];
    if with_strings {
        parts.extend([
            Part::Fixed(",\"token_strs\":[".into()),
            Part::Tokens(Shape::String),
            Part::Fixed("]".into()),
        ]);
    }
    parts.push(Part::Fixed("}".into()));
    Ok(Listing::response(&app.text.tokenizer, tokens, parts, reading.share))
}

pub(crate) fn check_size(param: &str, n_bytes: usize, most: usize) -> Result<(), ApiError> {
    if n_bytes <= most {
        return Ok(());
    }
    let message = format!(
        "`{param}` has {n_bytes} bytes of text, expected at most {most} (`--tokenize-bytes`): send it in pieces"
    );
    Err(ApiError::invalid(param, message))
}

/// Reads a request of `/detokenize`.
///
/// # Errors
/// 400: the tokens are missing or not of the vocabulary.
pub(crate) fn ids(object: Map<String, Value>, app: &App) -> Result<Vec<u32>, ApiError> {
    let mut fields = named(object, app)?;
    let (most, vocab_size) = (app.settings.detokenize_tokens, app.text.tokenizer.vocab_size());
    let tokens = fields.tokens("tokens", most, vocab_size)?;
    tokens.ok_or_else(|| ApiError::missing("tokens", "`tokens` is missing: an array of token ids"))
}

pub(crate) async fn detokenize(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, mut reading) = body::object(&app, unread).await?;
    let tokens = ids(object, &app)?;
    reading.share.resize(tokens.capacity() * size_of::<u32>())?;
    let parts = vec![
        Part::Fixed("{\"content\":\"".into()),
        Part::Text,
        Part::Fixed("\",\"prompt\":\"".into()),
        Part::Text,
        Part::Fixed("\"}".into()),
    ];
    Ok(Listing::response(&app.text.tokenizer, tokens, parts, reading.share))
}

/// `/v1/messages/count_tokens`: tokens of the prompt that a request of Messages becomes.
pub(crate) async fn count(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    let conversation = MessagesDialect::counted(object, &app)?;
    check_size("messages", conversation.size(), app.settings.tokenize_bytes)?;
    let (_, prompt) = chat::prompt(conversation, &app, &reading, usize::MAX).await?;
    Ok(ok(&json!({ "input_tokens": prompt.tokens.len() })))
}

/// Reads a request for the prompt of a chat.
///
/// # Errors
/// 400: a field is malformed.
pub(crate) fn conversation(object: Map<String, Value>, app: &App) -> Result<Conversation, ApiError> {
    conversation_of(named(object, app)?, app)
}

fn conversation_of(mut fields: Fields, app: &App) -> Result<Conversation, ApiError> {
    let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
    unsupported::check_prompt(&fields.into_rest())?;
    check_size("messages", conversation.size(), app.settings.tokenize_bytes)?;
    Ok(conversation)
}

/// `/v1/chat/completions/input_tokens`: tokens of the prompt that a chat becomes, as llama-server tells them.
pub(crate) async fn count_chat(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    let (_, prompt) = chat::prompt(conversation(object, &app)?, &app, &reading, usize::MAX).await?;
    Ok(ok(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() })))
}

pub(crate) async fn apply_template(
    State(app): State<Arc<App>>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    let (_, rendered) = chat::rendered(conversation(object, &app)?, &app, &reading).await?;
    Ok(ok(&json!({ "prompt": rendered.text(&app.text.tokenizer) })))
}

/// Fields of a request that may name the model.
fn named(object: Map<String, Value>, app: &App) -> Result<Fields, ApiError> {
    let mut fields = Fields::new(object);
    check_model(fields.string("model", NAME_BYTES)?.as_deref(), &app.card, &app.settings)?;
    Ok(fields)
}
