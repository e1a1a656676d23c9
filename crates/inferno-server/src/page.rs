//! The chat page at `/`: static files inside of the program, sent as they are. It is a client of the API like any other; no
//! route exists for it alone, except for its files.
//!
//! Text of a model is hostile. The page builds nodes from it and never markup, and these headers hold where that fails: no
//! script but the page's own files, no connection but to this server, no address that text could set.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, HeaderValue,
    IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use hyper::{HeaderMap, Method, StatusCode};

use crate::app::App;
use crate::error::ApiError;

/// Path of the files, apart from the page itself.
const FOLDER: &str = "/page/";

/// `img-src` is for the icon of the page's tab: the page makes no images, and one of this server tells no one else.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; img-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Answer at `/` for clients that do not ask for HTML: programs that look whether a server is there.
const RUNNING: &str = "inferno is running\n";

/// A file of the page.
#[derive(Debug)]
struct File {
    name: &'static str,
    text: &'static str,
    /// Hash of the text, in quotes.
    tag: HeaderValue,
}

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        [$(($name, include_str!(concat!("page/", $name)))),*]
    };
}

/// All files. The page itself comes first.
static FILES: LazyLock<Vec<File>> = LazyLock::new(|| {
    let all = files![
        "index.html",
        "style.css",
        "icon.svg",
        "main.js",
        "answer.js",
        "blocks.js",
        "conversation.js",
        "dom.js",
        "inline.js",
        "markdown.js",
        "pieces.js",
        "settings.js",
        "sidebar.js",
        "store.js",
        "stream.js",
        "thread.js",
        "turns.js",
    ];
    let file = |(name, text): (&'static str, &'static str)| {
        let tag = format!("\"{:016x}\"", hash(text));
        File { name, text, tag: HeaderValue::from_str(&tag).expect("digits in quotes are a header") }
    };
    all.into_iter().map(file).collect()
});

/// Routes of the page and its files.
pub(crate) fn routes() -> Router<Arc<App>> {
    Router::new().route("/", get(root)).route("/page/{name}", get(file))
}

/// Whether a path needs no key: a browser has none before the page asks for it, and probes of `/` never have.
pub(crate) fn is_open(path: &str, has_page: bool) -> bool {
    path == "/" || has_page && path.starts_with(FOLDER)
}

/// The page's files before there is a model, which may take minutes to load: the page says so and waits.
pub(crate) fn while_loading(method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
    let is_read = method == Method::GET || method == Method::HEAD;
    let file = match path {
        "/" => wants_html(headers).then(|| &FILES[0]),
        path => part(path.strip_prefix(FOLDER)?),
    };
    file.filter(|_| is_read).map(|file| respond(file, headers))
}

async fn root(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    let mut response = match app.settings.page && wants_html(&headers) {
        true => respond(&FILES[0], &headers),
        false => {
            let mut response = Response::new(Body::from(RUNNING));
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, plain);
            response
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

async fn file(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    match part(&name).filter(|_| app.settings.page) {
        Some(file) => Ok(respond(file, &headers)),
        None => Err(ApiError::unknown_path(&format!("{FOLDER}{name}"))),
    }
}

/// A file that the page loads.
fn part(name: &str) -> Option<&'static File> {
    FILES[1..].iter().find(|file| file.name == name)
}

/// The file, or 304 if the client has it.
fn respond(file: &File, headers: &HeaderMap) -> Response {
    let has_it = headers.get_all(IF_NONE_MATCH).iter().filter_map(|tags| tags.to_str().ok()).any(|tags| {
        let tag = file.tag.as_bytes();
        tags.split(',')
            .map(str::trim)
            .any(|known| known == "*" || known.trim_start_matches("W/").as_bytes() == tag)
    });
    let mut response = Response::new(if has_it { Body::empty() } else { Body::from(file.text) });
    if has_it {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let content_type = match file.name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/javascript; charset=utf-8",
    };
    let all = [
        (CONTENT_TYPE, content_type),
        // Asked for each time, and sent once: another version of the program has other files.
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in all {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(ETAG, file.tag.clone());
    response
}

/// Whether a client prefers HTML to other answers, as browsers do: it names the type, `*/*` is not enough.
fn wants_html(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
    accepted.flat_map(|accept| accept.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_html = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("text/html"));
        let is_refused = parts.any(|parameter| {
            let weight = parameter.split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("q"));
            weight.is_some_and(|(_, q)| q.trim().parse() == Ok(0.0))
        });
        is_html && !is_refused
    })
}

/// FNV-1a.
fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
pub(crate) mod tests;
