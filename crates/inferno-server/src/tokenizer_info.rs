//! `GET /tokenizer_info`: the vocabulary's special tokens and the chat template, as vLLM tells them (the members of a
//! `tokenizer_config.json`). Evaluations read them here in place of a hub.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use inferno_text::{TokenKind, Tokenizer};
use serde_json::{Map, Value, json};

use crate::app::App;

pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    // Vocabularies have up to some ten thousand special tokens: they are written once.
    let bytes = app.tokenizer_info.get_or_init(|| Bytes::from(body(&app).to_string())).clone();
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn body(app: &App) -> Value {
    let tokenizer = &*app.text.tokenizer;
    let class = if tokenizer.is_sentencepiece() { "LlamaTokenizerFast" } else { "PreTrainedTokenizerFast" };
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.token_text(id));
    let (control, added) = added(tokenizer);
    json!({
        "tokenizer_class": class,
        "model_max_length": app.text.context_len,
        "bos_token": text(tokenizer.bos()),
        "eos_token": text(tokenizer.eos()),
        "unk_token": text(tokenizer.unknown()),
        "add_bos_token": tokenizer.add_bos(),
        "add_eos_token": tokenizer.add_eos(),
        "add_prefix_space": tokenizer.adds_space_prefix(),
        "clean_up_tokenization_spaces": false,
        "split_special_tokens": false,
        "additional_special_tokens": control,
        "added_tokens_decoder": added,
        "chat_template": app.card.template,
    })
}

/// The texts of control tokens, and all tokens that are found in a text before it is cut, by id.
fn added(tokenizer: &Tokenizer) -> (Vec<&str>, Map<String, Value>) {
    let (mut control, mut added) = (Vec::new(), Map::new());
    for id in 0..tokenizer.vocab_size() as u32 {
        let is_special = match tokenizer.token_kind(id) {
            Some(TokenKind::Control | TokenKind::Unknown) => true,
            Some(TokenKind::UserDefined) => false,
            _ => continue,
        };
        let Some(text) = tokenizer.token_text(id) else { continue };
        if is_special {
            control.push(text);
        }
        let token = json!({
            "content": text,
            "lstrip": false,
            "normalized": false,
            "rstrip": false,
            "single_word": false,
            "special": is_special,
        });
        added.insert(id.to_string(), token);
    }
    (control, added)
}
