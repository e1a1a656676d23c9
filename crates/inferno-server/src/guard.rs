//! Who may come in at all: by the name the server is called, by the page that asks, by the key.
#![deny(clippy::indexing_slicing)]

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{AUTHORIZATION, HOST, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, TRANSFER_ENCODING};
use hyper::{HeaderMap, Method, StatusCode, Uri, Version};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::app::App;
use crate::connection::Peer;
use crate::error::{ApiError, shown};
use crate::keys::{Caller, Role};
use crate::meter::Id;
use crate::page;
use crate::settings::Settings;

/// Routes that need no key: whoever starts and stops servers has none.
const OPEN: [&str; 8] =
    ["/health", "/v1/health", "/healthz", "/live", "/livez", "/ready", "/readyz", "/ping"];
/// Routes for operators.
const ADMIN: [&str; 6] = ["/admin/", "/v1/loads", "/server_info", "/api/pull", "/api/copy", "/api/delete"];
/// The route for scrape keys.
const METRICS: &str = "/metrics";

/// A page on a stranger's site can make its name mean this machine (DNS rebinding): so the name must be ours. And it can
/// send requests without asking first: so pages must be invited.
pub(crate) async fn origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let checked = check_doubles(request.headers())
        .and_then(|()| check_host(&request, &app.settings))
        .and_then(|()| check_origin(request.headers(), &app.settings));
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Two programs on a request's way may each believe another one of two headers.
fn check_doubles(headers: &HeaderMap) -> Result<(), ApiError> {
    let names = [AUTHORIZATION, HeaderName::from_static("x-api-key"), TRANSFER_ENCODING];
    match names.into_iter().find(|name| headers.get_all(name).iter().nth(1).is_some()) {
        Some(name) => Err(ApiError::bad_request(format!("duplicate header `{name}`"))),
        None => Ok(()),
    }
}

fn check_host(request: &Request, settings: &Settings) -> Result<(), ApiError> {
    let mut hosts = request.headers().get_all(HOST).iter();
    let host = match (hosts.next(), hosts.next(), request.uri().host()) {
        (Some(_), Some(_), _) => return Err(ApiError::bad_request("duplicate header `host`")),
        // A whole address in the first line counts more (RFC 9112, 3.2.2).
        (_, None, Some(host)) => host.to_owned(),
        (Some(host), None, None) => {
            let authority = host.to_str().ok().and_then(|host| host.parse::<Uri>().ok());
            match authority.as_ref().and_then(|uri| uri.host()) {
                Some(host) => host.to_owned(),
                None => return Err(ApiError::bad_request("the header `host` is not a name")),
            }
        }
        (None, ..) if request.version() < Version::HTTP_11 => return Ok(()),
        (None, ..) => return Err(ApiError::bad_request("the header `host` is missing")),
    };
    if is_own_name(&host, settings) {
        return Ok(());
    }
    let message = format!(
        "this server is not called `{}`: start it with `--allowed-host` and that name if it should be",
        shown(&host)
    );
    Err(ApiError::client(StatusCode::MISDIRECTED_REQUEST, "host_not_allowed", message))
}

fn is_own_name(host: &str, settings: &Settings) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare.parse::<IpAddr>().is_ok()
        || settings.allowed_hosts.iter().any(|name| name == "*" || name.eq_ignore_ascii_case(&host))
}

fn check_origin(headers: &HeaderMap, settings: &Settings) -> Result<(), ApiError> {
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    // A page of this server itself.
    let own = headers.get(HOST).is_some_and(|host| {
        let origin = origin.as_bytes();
        let name = origin.strip_prefix(b"http://").or(origin.strip_prefix(b"https://"));
        name == Some(host.as_bytes())
    });
    if own || is_invited(origin, &settings.cors_origins) {
        return Ok(());
    }
    let origin = shown(&String::from_utf8_lossy(origin.as_bytes()));
    let message =
        format!("pages of `{origin}` may not ask here: start the server with `--cors-origin {origin}`");
    Err(ApiError::forbidden("origin_not_allowed", message))
}

/// Whether pages of `origin` are invited. `localhost` invites those of this machine, whatever their port and protocol.
fn is_invited(origin: &HeaderValue, invited: &[String]) -> bool {
    let is = |known: &String| match known.as_str() {
        "*" => true,
        "localhost" => is_this_machine(origin),
        known => known.as_bytes() == origin.as_bytes(),
    };
    invited.iter().any(is)
}

fn is_this_machine(origin: &HeaderValue) -> bool {
    let uri = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What invited pages may send and see; `None` if there are none.
pub(crate) fn cors(settings: &Settings) -> Option<CorsLayer> {
    let origins = &settings.cors_origins;
    if origins.is_empty() {
        return None;
    }
    let allowed = match origins.iter().any(|origin| origin == "*") {
        true => AllowOrigin::any(),
        false => {
            let origins = origins.clone();
            AllowOrigin::predicate(move |origin, _| is_invited(origin, &origins))
        }
    };
    let exposed =
        [HeaderName::from_static("x-request-id"), HeaderName::from_static("x-should-retry"), RETRY_AFTER];
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(exposed)
        .max_age(Duration::from_secs(3600));
    Some(layer)
}

/// Every route except those of [`OPEN`] and the chat page's files needs a key, if there are keys; operators' routes and `/metrics` need one of their
/// own roles.
pub(crate) async fn key(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    if OPEN.contains(&path) || page::is_open(path, app.settings.page) {
        return next.run(request).await;
    }
    let peer = request.extensions().get::<Peer>().map(|peer| peer.0.ip());
    let allowed = app.keyring.caller(request.headers()).and_then(|caller| {
        if let Some(Id(line)) = request.extensions().get::<Id>() {
            line.set_key(&caller.name);
        }
        if path == METRICS {
            check_scrape(&app, &caller)?;
        } else if caller.role == Role::Scrape {
            return Err(ApiError::forbidden("scrape_only", "this key reads `/metrics` and nothing else"));
        }
        if ADMIN.iter().any(|admin| path.starts_with(admin)) {
            check_admin(&app, &caller, peer, request.headers())?;
        }
        Ok(caller)
    });
    match allowed {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

/// Counters move with each request, so that they tell one key about another's.
fn check_scrape(app: &App, caller: &Caller) -> Result<(), ApiError> {
    match caller.role {
        Role::Scrape | Role::Admin => Ok(()),
        Role::User if !app.keyring.has_keys() => Ok(()),
        Role::User if !app.keyring.is_needed() => {
            Err(ApiError::unauthorized("`/metrics` needs a scrape key here (`--metrics-key`)"))
        }
        Role::User => Err(ApiError::forbidden(
            "scrape_only",
            "`/metrics` needs a scrape key (`--metrics-key`, or `scrape` in the key file) or an admin key",
        )),
    }
}

fn check_admin(
    app: &App,
    caller: &Caller,
    peer: Option<IpAddr>,
    headers: &HeaderMap,
) -> Result<(), ApiError> {
    if app.keyring.is_needed() {
        return match caller.role {
            Role::Admin => Ok(()),
            Role::User | Role::Scrape => {
                Err(ApiError::forbidden("admin_only", "this needs an admin key (`--admin-key`)"))
            }
        };
    }
    // Behind a proxy everybody comes from this machine.
    let is_forwarded = ["forwarded", "x-forwarded-for"].iter().any(|name| headers.contains_key(*name));
    match peer {
        Some(peer) if peer.to_canonical().is_loopback() && !is_forwarded => Ok(()),
        _ => Err(ApiError::forbidden(
            "admin_only",
            "without an admin key (`--admin-key`) this answers to the machine itself only",
        )),
    }
}

/// Nothing new is begun once the server ends, or while nobody can compute.
pub(crate) async fn open(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if !app.drain.is_serving() {
        return ApiError::shutting_down().into_response();
    }
    if app.engine.is_stopped()
        && let Err(error) = app.health()
    {
        return error.into_response();
    }
    next.run(request).await
}

/// A full queue is said to be full before anything is read of what has no place in it.
pub(crate) async fn room(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.engine.room(1, 0) {
        Ok(()) => next.run(request).await,
        Err(refusal) => app.refused(refusal).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_invites_pages_of_this_machine_at_any_port_and_no_others() {
        let invites = |known: &str, origin: &str| {
            is_invited(&HeaderValue::from_str(origin).unwrap(), &[known.to_owned()])
        };
        for origin in
            ["http://localhost:3000", "https://localhost", "http://127.0.0.1:8080", "http://[::1]:5173"]
        {
            assert!(invites("localhost", origin) && invites("*", origin), "{origin}");
        }
        for origin in [
            "http://localhost.evil.example:3000",
            "http://evil.example",
            "http://10.0.0.1",
            "null",
            "file://",
        ] {
            assert!(!invites("localhost", origin), "{origin}");
        }
        assert!(
            invites("http://a.example", "http://a.example")
                && !invites("http://a.example", "http://a.example:81")
        );
    }

    #[test]
    fn addresses_and_localhost_are_our_names_and_others_must_be_told() {
        let settings = Settings { allowed_hosts: vec!["llm.example".into()], ..Settings::default() };
        for host in ["localhost", "LOCALHOST", "localhost.", "127.0.0.1", "[::1]", "10.1.2.3", "LLM.example"]
        {
            assert!(is_own_name(host, &settings), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", ""] {
            assert!(!is_own_name(host, &settings), "{host}");
        }
        assert!(is_own_name("anything", &Settings { allowed_hosts: vec!["*".into()], ..settings }));
    }
}
