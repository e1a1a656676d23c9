//! What happens around every request: a name for it, its time, a line in the log, and no panic that gets further.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{HeaderName, HeaderValue};
use inferno_engine::panic_words;

use crate::access::AccessLine;
use crate::app::App;
use crate::dialect;
use crate::error::{ApiError, Reason};
use crate::room;

/// A request's log line, with its name: the client's own if it has one.
#[derive(Debug, Clone)]
pub(crate) struct Id(pub(crate) Arc<AccessLine>);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A longer name is not taken over.
const LONGEST_ID: usize = 128;

pub(crate) async fn meter(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let given = given.filter(|id| (1..=LONGEST_ID).contains(&id.len()));
    let id: Arc<str> = given.map_or_else(|| app.new_id("req-").into(), Into::into);
    let line = Arc::new(AccessLine::new(Arc::clone(&id), &request));
    request.extensions_mut().insert(Id(Arc::clone(&line)));
    // A path that nobody answers is not remembered by its name: there are too many.
    let route = request.extensions().get::<MatchedPath>().map_or("other", |path| path.as_str()).to_owned();
    let method = request.method().clone();
    let shape = dialect::shape_of(request.uri().path());
    let other_name = dialect::request_id_of(request.uri().path());
    app.metrics.enter();
    let _leaver = Leaver(&app);
    let mut response = match caught(next.run(request)).await {
        Ok(response) => response,
        Err(words) => {
            tracing::error!(request_id = &*id, panic = words, "a request failed");
            ApiError::internal("the server failed on this request").into_response()
        }
    };
    response = dialect::shaped(room::counted(&app.room, response), shape);
    if let Ok(value) = HeaderValue::from_str(&id) {
        if let Some(name) = other_name {
            response.headers_mut().insert(name, value.clone());
        }
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    line.answered(status, response.extensions().get::<Reason>().map(|reason| reason.0));
    app.metrics.answer(&route, method.as_str(), status, line.elapsed());
    response
}

/// Counts a request out, however it ends.
struct Leaver<'a>(&'a App);

impl Drop for Leaver<'_> {
    fn drop(&mut self) {
        self.0.metrics.leave();
    }
}

/// A future's output, or what its panic says.
pub(crate) async fn caught<T>(future: impl Future<Output = T>) -> Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panic) => Poll::Ready(Err(panic_words(&*panic))),
    })
    .await
}
