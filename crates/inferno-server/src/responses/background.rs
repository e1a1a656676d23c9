//! Responses that are computed without a client (`background`).

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::StatusCode;
use serde_json::Value;
use tokio::sync::Notify;

use super::event_log::EventLog;
use super::store::State;
use crate::access::AccessLine;
use crate::app::App;
use crate::dialect::{Dialect, ResponsesDialect, failed, failure};
use crate::error::ApiError;
use crate::generation::{Generation, Job};
use crate::keys::{Caller, Pass};
use crate::meter::caught;
use crate::options::Options;
use crate::routes::Ask;
use crate::wire::json_bytes;
use crate::{stream, whole};

/// A response to be computed in the background.
pub(super) struct Work {
    pub(super) app: Arc<App>,
    pub(super) caller: Caller,
    pub(super) line: Arc<AccessLine>,
    pub(super) pass: Pass,
    pub(super) dialect: ResponsesDialect,
    /// Events of its stream, if one is asked for.
    pub(super) log: Option<Arc<EventLog>>,
}

impl Work {
    /// Hands the job to the engine, and answers at once: with the stream, or with a response that is queued.
    pub(super) fn begin(self, job: Job, options: Options) -> Result<Response, ApiError> {
        let Work { app, caller, line, pass, dialect, log } = self;
        let (id, stop) = (dialect.id().to_owned(), Arc::<Notify>::default());
        let queued = dialect.unfinished("queued");
        dialect.keep(dialect.unfinished("in_progress"), State::Running(Arc::clone(&stop)), &app);
        let tenant = caller.tenant;
        let ask = Ask { route: super::ROUTE, dialect: Box::new(dialect), line, pass };
        let begun = ask.begin(&app, caller, vec![job], options);
        let (generation, dialect) = begun.inspect_err(|_| {
            app.responses.delete(tenant, &id);
        })?;
        let response = match &log {
            Some(log) => Arc::clone(log).follow(0, &app),
            None => json_bytes(StatusCode::OK, queued),
        };
        tokio::spawn(async move {
            // The dialect keeps the response when it is complete.
            let computed = compute(generation, dialect, log.as_deref());
            let computed = tokio::select! {
                () = stop.notified() => Ok(Ok(())),
                computed = caught(computed) => computed,
            };
            let error = match computed {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(error),
                Err(words) => {
                    tracing::error!(panic = words, "a response in the background failed");
                    Some(ApiError::internal("the server failed on this request"))
                }
            };
            settle(&app, &id, error.as_ref(), log.as_deref());
        });
        Ok(response)
    }
}

/// Computes a response to its end.
async fn compute(
    generation: Generation,
    dialect: Box<dyn Dialect>,
    log: Option<&EventLog>,
) -> Result<(), ApiError> {
    let Some(log) = log else { return whole::respond(generation, dialect).await.map(drop) };
    let mut body = stream::respond(generation, dialect).await?.into_body();
    while let Some(frame) = body.frame().await {
        if let Some(piece) = frame.ok().and_then(|frame| frame.into_data().ok()) {
            log.push(&piece)?;
        }
    }
    Ok(())
}

/// Notes that a response has failed, if it is not complete.
fn settle(app: &App, id: &str, error: Option<&ApiError>, log: Option<&EventLog>) {
    // A stream tells its own failure.
    let told = log.and_then(EventLog::last).map(|mut last| last["response"]["error"].take());
    let mut response = Value::Null;
    app.responses.give_up(id, |body| {
        body["status"] = "failed".into();
        body["error"] = error.map(failure).or(told).unwrap_or_default();
        response = body.clone();
    });
    let Some(log) = log else { return };
    if let Some(error) = error.filter(|_| !response.is_null()) {
        let mut events = Vec::new();
        failed(error, &response, log.n_events() as u64, &mut events);
        // Without memory for it the stream ends without a reason.
        let _ = log.push(&Bytes::from(events));
    }
    log.end();
}
