//! `/v1/responses`: OpenAI's Responses.
//!
//! A request is read (`read.rs`) as the chat that it stands for (`request.rs`, `items.rs`, `tools.rs`), answered by
//! [`ResponsesDialect`], and kept for requests that name it (`store.rs`).

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State as Shared};
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde_json::{Value, json};

use crate::access::AccessLine;
use crate::app::App;
use crate::body::{self, Reading, Unread};
use crate::dialect::{Conversation, ResponsesDialect};
use crate::error::{ApiError, shown};
use crate::generation::Job;
use crate::keys::Caller;
use crate::meter::Id;
use crate::options::{Options, check_model};
use crate::routes::{Ask, admit, ready};
use crate::wire::{json_bytes, ok};
use crate::{chat, query, tokens};

mod background;
mod event_log;
mod items;
mod listing;
mod read;
mod request;
mod store;
mod tools;

use background::Work;
pub(crate) use event_log::EventLog;
pub(crate) use items::PLAIN;
pub(crate) use request::{Asked, Style};
pub(crate) use store::{Kept, State, Store};

/// Path of the requests, as metrics and logs name it.
const ROUTE: &str = "/v1/responses";

type Name = Result<Path<String>, PathRejection>;

/// Answers a request.
pub(crate) async fn create(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Extension(Id(line)): Extension<Id>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, mut reading) = body::object(&app, unread).await?;
    let mut asked = Asked::read(object, &caller, &app)?;
    // The chat's messages are copies of the items.
    reading.share.grow(asked.weight())?;
    let chat = asked.chat(&app)?;
    let pass = admit(&app, &caller, &chat.options, 1)?;
    let (job, options) = match ready(&app, chat, &reading, &line).await {
        Err(error) if asked.truncates && is_too_long(&error) => {
            truncated(&app, &mut asked, error, &reading, &line).await?
        }
        read => read.map_err(|error| asked.named(error))?,
    };
    drop(reading);
    let is_background = asked.is_background;
    let log = (is_background && options.stream.is_some()).then(|| EventLog::new(&app));
    let conversation = match asked.stores {
        true => Some(conversation(&mut asked, &caller, log.clone(), &app)?),
        false => None,
    };
    let dialect = ResponsesDialect::new(&mut asked, &options, conversation, &app);
    drop(asked);
    match is_background {
        true => {
            let work = Work { app, caller, line, pass, dialect, log };
            work.begin(job, options)
        }
        false => {
            let ask = Ask { route: ROUTE, dialect: Box::new(dialect), line, pass };
            ask.answer(&app, caller, vec![job], options).await
        }
    }
}

/// The items that are kept with the response.
fn conversation(
    asked: &mut Asked,
    caller: &Caller,
    log: Option<Arc<EventLog>>,
    app: &App,
) -> Result<Conversation, ApiError> {
    let mut share = app.room.share();
    share.resize(asked.weight())?;
    let items = std::mem::take(&mut asked.items);
    Ok(Conversation { tenant: caller.tenant, items, n_past: asked.n_past, log, _share: share })
}

fn is_too_long(error: &ApiError) -> bool {
    error.code == Some("context_length_exceeded")
}

/// The longest end of the conversation that fits, behind its instructions.
///
/// # Errors
/// Not even the last item fits: `too_long`.
async fn truncated(
    app: &Arc<App>,
    asked: &mut Asked,
    too_long: ApiError,
    reading: &Reading,
    line: &AccessLine,
) -> Result<(Job, Options), ApiError> {
    // Leaving out fewer than `least` items is too few, leaving out more than `most` is not needed.
    let (mut least, mut most) = (1_usize, asked.n_cuttable());
    let mut best = None;
    while least <= most {
        let n_cut = least.midpoint(most);
        asked.cut(n_cut);
        let chat = asked.chat(app)?;
        match ready(app, chat, reading, line).await {
            Ok(ready) => {
                best = Some((n_cut, ready));
                most = n_cut - 1;
            }
            Err(error) if is_too_long(&error) => least = n_cut + 1,
            Err(error) => return Err(asked.named(error)),
        }
    }
    match best {
        Some((n_cut, ready)) => {
            asked.cut(n_cut);
            Ok(ready)
        }
        None => Err(asked.named(too_long)),
    }
}

/// Counts the tokens of the prompt that a request becomes.
pub(crate) async fn input_tokens(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    unread: Unread,
) -> Result<Response, ApiError> {
    let (object, mut reading) = body::object(&app, unread).await?;
    let mut asked = Asked::read(object, &caller, &app)?;
    reading.share.grow(asked.weight())?;
    let chat::Chat { conversation, options } = asked.chat(&app)?;
    check_model(options.model.as_deref(), &app.card, &app.settings)?;
    tokens::check_size("input", conversation.size(), app.settings.tokenize_bytes)?;
    let prompt = chat::prompt(conversation, &app, &reading, usize::MAX).await;
    let (_, prompt) = prompt.map_err(|error| asked.named(error))?;
    Ok(ok(&json!({ "object": "response.input_tokens", "input_tokens": prompt.tokens.len() })))
}

/// A response that is kept.
pub(crate) async fn retrieve(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    id: Name,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    if query::parameter(&uri, "stream").as_deref() == Some("true") {
        let from = match query::parameter(&uri, "starting_after").map(|text| text.parse::<usize>()) {
            None => 0,
            Some(Ok(last)) => last.saturating_add(1),
            Some(Err(_)) => {
                let message = "`starting_after` is not a number, expected the sequence number of an event";
                return Err(ApiError::invalid("starting_after", message));
            }
        };
        let log = app.responses.log(caller.tenant, &id).ok_or_else(|| unknown(&id))?;
        let log = log.ok_or_else(|| {
            let message =
                "only a response with `background: true` and `stream: true` has a stream that is kept";
            ApiError::unsupported("stream", message)
        })?;
        return Ok(log.follow(from, &app));
    }
    let body = app.responses.body(caller.tenant, &id).ok_or_else(|| unknown(&id))?;
    Ok(json_bytes(StatusCode::OK, body.to_vec()))
}

/// Deletes a response; one of the background ends.
pub(crate) async fn delete(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Name,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    match app.responses.delete(caller.tenant, &id) {
        true => Ok(ok(&json!({ "id": id, "object": "response", "deleted": true }))),
        false => Err(unknown(&id)),
    }
}

/// Ends a response of the background.
pub(crate) async fn cancel(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Name,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    let cancelled = |body: &mut Value| body["status"] = "cancelled".into();
    match app.responses.cancel(caller.tenant, &id, cancelled) {
        store::Cancelled::Body(body) => Ok(json_bytes(StatusCode::OK, body.to_vec())),
        store::Cancelled::Unknown => Err(unknown(&id)),
        store::Cancelled::Foreground => {
            let message = format!(
                "the response `{}` was not computed in the background (`background: true`): closing its connection \
                 cancels such a one",
                shown(&id)
            );
            Err(ApiError::bad_request(message))
        }
    }
}

/// Items of the request that asked for a response, in pages.
pub(crate) async fn input_items(
    Shared(app): Shared<Arc<App>>,
    Extension(caller): Extension<Caller>,
    uri: Uri,
    id: Name,
) -> Result<Response, ApiError> {
    let Path(id) = id.map_err(|_| ApiError::bad_path())?;
    let items = app.responses.input(caller.tenant, &id).ok_or_else(|| unknown(&id))?;
    Ok(ok(&listing::page(&items, &uri)?))
}

fn unknown(id: &str) -> ApiError {
    let message = format!(
        "the response `{}` is not kept: it had `store: false`, was deleted, or is older than those that are",
        shown(id)
    );
    ApiError::client(StatusCode::NOT_FOUND, "response_not_found", message)
}
