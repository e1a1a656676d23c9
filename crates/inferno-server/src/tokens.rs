//! `POST /tokenize`, `/detokenize` and `/apply-template`, in llama.cpp's words and in vLLM's.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use hyper::HeaderMap;
use inferno_text::Special;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::app::{App, Text};
use crate::body::{self, off_thread};
use crate::chat::{self, Conversation};
use crate::completion::encode;
use crate::error::ApiError;
use crate::fields::Fields;
use crate::options::{NAME_BYTES, check_model};
use crate::wire::ok;

pub(crate) async fn tokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut fields = read(&app, &headers, body).await?;
    let with_pieces = fields.boolean("with_pieces")?.unwrap_or(false);
    let with_strings = fields.boolean("return_token_strs")?.unwrap_or(false);
    let tokens = if fields.peek("messages").is_some() {
        let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
        chat::prompt(conversation, &app.text).await?.1
    } else {
        let most = app.settings.body_bytes;
        // llama.cpp's field adds nothing by default, vLLM's what the model wants in front.
        let (text, adds) = match (fields.string("content", most)?, fields.string("prompt", most)?) {
            (Some(_), Some(_)) => {
                return Err(ApiError::invalid(
                    "prompt",
                    "`content` and `prompt` are both there, expected one",
                ));
            }
            (Some(content), None) => (content, false),
            (None, Some(prompt)) => (prompt, true),
            (None, None) => {
                let message = "there is nothing to tokenize: `content`, `prompt` or `messages`";
                return Err(ApiError::missing("content", message));
            }
        };
        let named = (fields.boolean("add_special")?, fields.boolean("add_special_tokens")?);
        let add_special = named.0.or(named.1).unwrap_or(adds);
        let special = match fields.boolean("parse_special")?.unwrap_or(true) {
            true => Special::Recognise,
            false => Special::AsText,
        };
        let tokenizer = Arc::clone(&app.text.tokenizer);
        off_thread(text.len(), move || Ok(encode(&tokenizer, &text, add_special, special))).await?
    };
    // Millions of tokens take a while to write.
    let (n, text) = (tokens.len(), Arc::clone(&app.text));
    off_thread(n, move || Ok(listed(&tokens, with_pieces, with_strings, &text))).await
}

/// The answer of `/tokenize`.
#[derive(Serialize)]
struct Listed<'a> {
    tokens: Tokens<'a>,
    count: usize,
    max_model_len: usize,
    /// As vLLM has the texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    token_strs: Option<Vec<Cow<'a, str>>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Tokens<'a> {
    Ids(&'a [u32]),
    /// As llama.cpp has the texts.
    Pieces(Vec<Piece<'a>>),
}

#[derive(Serialize)]
struct Piece<'a> {
    id: u32,
    piece: PieceText<'a>,
}

/// A token's text, or its bytes if they are no text.
#[derive(Serialize)]
#[serde(untagged)]
enum PieceText<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

fn listed(ids: &[u32], with_pieces: bool, with_strings: bool, text: &Text) -> Response {
    let bytes = |id: u32| text.tokenizer.piece(id).unwrap_or_default();
    let piece = |&id: &u32| {
        let bytes = bytes(id);
        Piece { id, piece: std::str::from_utf8(bytes).map_or(PieceText::Bytes(bytes), PieceText::Text) }
    };
    let tokens = match with_pieces {
        true => Tokens::Pieces(ids.iter().map(piece).collect()),
        false => Tokens::Ids(ids),
    };
    let string = |&id: &u32| String::from_utf8_lossy(bytes(id));
    let token_strs = with_strings.then(|| ids.iter().map(string).collect());
    ok(&Listed { tokens, count: ids.len(), max_model_len: text.context_len, token_strs })
}

pub(crate) async fn detokenize(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut fields = read(&app, &headers, body).await?;
    let tokenizer = &app.text.tokenizer;
    let tokens = fields.tokens("tokens", app.settings.json_nodes, tokenizer.vocab_size())?;
    let tokens =
        tokens.ok_or_else(|| ApiError::missing("tokens", "`tokens` is missing: an array of token ids"))?;
    let bytes = tokenizer.decode(&tokens).expect("the tokens are checked");
    let text = String::from_utf8_lossy(&bytes);
    Ok(ok(&json!({ "content": text, "prompt": text })))
}

pub(crate) async fn apply_template(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut fields = read(&app, &headers, body).await?;
    let conversation = Conversation::read(&mut fields, &app.settings, &app.text)?;
    let text = Arc::clone(&app.text);
    let prompt = off_thread(conversation.size(), move || conversation.text(&text)).await?;
    Ok(ok(&json!({ "prompt": prompt })))
}

async fn read(app: &App, headers: &HeaderMap, body: Body) -> Result<Fields, ApiError> {
    let object: Map<String, Value> = body::object(app, headers, body).await?;
    let mut fields = Fields::new(object);
    check_model(fields.string("model", NAME_BYTES)?.as_deref(), &app.card, &app.settings)?;
    Ok(fields)
}
