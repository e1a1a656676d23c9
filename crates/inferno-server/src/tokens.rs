//! `POST /tokenize`, `/detokenize` and `/apply-template`, in llama.cpp's words and in vLLM's, and
//! `/v1/messages/count_tokens` in Anthropic's.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use inferno_text::Special;
use serde_json::json;

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

pub(crate) async fn tokenize(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (mut fields, mut reading) = read(&app, unread).await?;
    let with_pieces = fields.boolean("with_pieces")?.unwrap_or(false);
    let with_strings = fields.boolean("return_token_strs")?.unwrap_or(false);
    let tokens = if fields.peek("messages").is_some() {
        let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
        unsupported::check_prompt(&fields.into_rest())?;
        check_size("messages", conversation.size(), app.settings.tokenize_bytes)?;
        chat::prompt(conversation, &app, &reading, usize::MAX).await?.1.tokens
    } else {
        text_tokens(&app, &mut fields, &reading).await?
    };
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

/// Tokens of `content` or `prompt`.
async fn text_tokens(app: &App, fields: &mut Fields, reading: &Reading) -> Result<Vec<u32>, ApiError> {
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

pub(crate) fn check_size(param: &str, n_bytes: usize, most: usize) -> Result<(), ApiError> {
    if n_bytes <= most {
        return Ok(());
    }
    let message = format!(
        "`{param}` has {n_bytes} bytes of text, expected at most {most} (`--tokenize-bytes`): send it in pieces"
    );
    Err(ApiError::invalid(param, message))
}

pub(crate) async fn detokenize(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (mut fields, mut reading) = read(&app, unread).await?;
    let tokenizer = &app.text.tokenizer;
    let tokens = fields.tokens("tokens", app.settings.detokenize_tokens, tokenizer.vocab_size())?;
    let tokens =
        tokens.ok_or_else(|| ApiError::missing("tokens", "`tokens` is missing: an array of token ids"))?;
    reading.share.resize(tokens.capacity() * size_of::<u32>())?;
    let parts = vec![
        Part::Fixed("{\"content\":\"".into()),
        Part::Text,
        Part::Fixed("\",\"prompt\":\"".into()),
        Part::Text,
        Part::Fixed("\"}".into()),
    ];
    Ok(Listing::response(tokenizer, tokens, parts, reading.share))
}

/// `/v1/messages/count_tokens`: tokens of the prompt that a request of Messages becomes.
pub(crate) async fn count(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (object, reading) = body::object(&app, unread).await?;
    let conversation = MessagesDialect::counted(object, &app)?;
    check_size("messages", conversation.size(), app.settings.tokenize_bytes)?;
    let (_, prompt) = chat::prompt(conversation, &app, &reading, usize::MAX).await?;
    Ok(ok(&json!({ "input_tokens": prompt.tokens.len() })))
}

/// `/v1/chat/completions/input_tokens`: tokens of the prompt that a chat becomes, as llama-server tells them.
pub(crate) async fn count_chat(State(app): State<Arc<App>>, unread: Unread) -> Result<Response, ApiError> {
    let (mut fields, reading) = read(&app, unread).await?;
    let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
    unsupported::check_prompt(&fields.into_rest())?;
    check_size("messages", conversation.size(), app.settings.tokenize_bytes)?;
    let (_, prompt) = chat::prompt(conversation, &app, &reading, usize::MAX).await?;
    Ok(ok(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() })))
}

pub(crate) async fn apply_template(
    State(app): State<Arc<App>>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (mut fields, reading) = read(&app, unread).await?;
    let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
    unsupported::check_prompt(&fields.into_rest())?;
    let (_, rendered) = chat::rendered(conversation, &app, &reading).await?;
    Ok(ok(&json!({ "prompt": rendered.text(&app.text.tokenizer) })))
}

async fn read(app: &App, unread: Unread) -> Result<(Fields, Reading), ApiError> {
    let (object, reading) = body::object(app, unread).await?;
    let mut fields = Fields::new(object);
    check_model(fields.string("model", NAME_BYTES)?.as_deref(), &app.card, &app.settings)?;
    Ok((fields, reading))
}
