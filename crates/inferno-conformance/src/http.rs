//! The way to a server behind a URL.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::http::{Method, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error, SendBody};

use crate::exchange::{Answer, Broken, End, Request, Transport};

/// Most bytes of an answer. A stream without an end stops here, or when its time is over.
const MOST_BYTES: usize = 16 << 20;
/// A key that no server has given to anybody.
const WRONG_KEY: &str = "sk-wrong-key-of-a-conformance-check";

/// A server behind a URL. Each request has a connection of its own.
#[derive(Debug)]
pub struct Http {
    agent: Agent,
    base: String,
    key: Option<String>,
    timeout: Duration,
}

impl Http {
    /// `url` is the server's address, with or without `/v1`; `timeout` is the time for each request, to the end of its answer.
    ///
    /// # Errors
    /// The URL is no address of a server, or the key is no value of a header.
    pub fn new(url: &str, key: Option<&str>, timeout: Duration) -> Result<Http, String> {
        let base = url.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches('/');
        let is_server = |uri: &Uri| {
            matches!(uri.scheme_str(), Some("http" | "https"))
                && uri.host().is_some_and(|host| !host.is_empty())
        };
        let Some(uri) = base.parse::<Uri>().ok().filter(is_server) else {
            return Err(format!(
                "`{}` is not an address of a server, expected one like http://127.0.0.1:8080",
                url.escape_debug()
            ));
        };
        if key.is_some_and(|key| !key.bytes().all(|b| b.is_ascii_graphic())) {
            return Err("the key has characters that no header may have".into());
        }
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections(0)
            .accept_encoding("identity")
            .user_agent(concat!("inferno-conformance/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(timeout));
        if uri.scheme_str() == Some("https") {
            config = config.tls_config(TlsConfig::builder().root_certs(roots()).build());
        }
        if matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]")) {
            // A proxy knows nothing of this machine.
            config = config.proxy(None);
        }
        Ok(Http {
            agent: config.build().new_agent(),
            base: base.to_owned(),
            key: key.map(Into::into),
            timeout,
        })
    }

    /// The address without `/v1`.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// No answer at all, as a check sees it.
    fn broken(&self, error: &Error) -> Broken {
        match error {
            Error::Timeout(_) => Broken::TimedOut(self.timeout),
            Error::HostNotFound | Error::ConnectionFailed | Error::InvalidProxyUrl => {
                Broken::Unreachable(error.to_string())
            }
            Error::Io(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
                Broken::Unreachable("connection refused".into())
            }
            other => Broken::Garbage(other.to_string()),
        }
    }
}

impl Transport for Http {
    fn send(&self, request: &Request) -> Result<Answer, Broken> {
        let start = Instant::now();
        let method = match request.method {
            "POST" => Method::POST,
            "DELETE" => Method::DELETE,
            _ => Method::GET,
        };
        let mut head =
            ureq::http::Request::builder().method(method).uri(format!("{}{}", self.base, request.path));
        for (name, value) in &request.headers {
            head = head.header(*name, *value);
        }
        let key = if request.has_wrong_key { Some(WRONG_KEY) } else { self.key.as_deref() };
        if let Some(key) = key {
            // Anthropic's clients have a header of their own for it.
            head = match request.headers.iter().any(|header| header.0 == "anthropic-version") {
                true => head.header("x-api-key", key),
                false => head.header("authorization", format!("Bearer {key}")),
            };
        }
        let body = request.body.as_deref();
        let sent = match body {
            Some(body) => head
                .body(SendBody::from_owned_reader(std::io::Cursor::new(body.to_vec())))
                .map(|request| with_length(request, body.len())),
            None => head.body(SendBody::none()),
        };
        let sent = sent.map_err(|e| Broken::Garbage(e.to_string()))?;
        let response = self.agent.run(sent).map_err(|e| self.broken(&e))?;
        let headers = response.headers().iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        let mut answer = Answer {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: Vec::new(),
            pieces: Vec::new(),
            end: End::Whole,
        };
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; 16 << 10];
        answer.end = loop {
            match reader.read(&mut buffer) {
                Ok(0) => break End::Whole,
                Ok(n) => {
                    answer.body.extend_from_slice(&buffer[..n]);
                    answer.pieces.push((answer.body.len(), start.elapsed()));
                }
                Err(e) if is_timeout(&e) => break End::TimedOut,
                Err(e) => break End::Broken(e.to_string()),
            }
            if request.leave_after.is_some_and(|most| answer.body.len() >= most) {
                break End::Left;
            }
            if answer.body.len() > MOST_BYTES {
                break End::TooLong;
            }
        };
        Ok(answer)
    }
}

/// Servers may refuse bodies of unknown length.
fn with_length(
    mut request: ureq::http::Request<SendBody<'_>>,
    n: usize,
) -> ureq::http::Request<SendBody<'_>> {
    request.headers_mut().insert("content-length", ureq::http::HeaderValue::from(n));
    request
}

fn is_timeout(error: &std::io::Error) -> bool {
    let inner = error.get_ref().and_then(|e| e.downcast_ref::<Error>());
    matches!(inner, Some(Error::Timeout(_))) || error.kind() == std::io::ErrorKind::TimedOut
}

/// The certificates of Mozilla, and those of the system.
fn roots() -> RootCerts {
    let mut all: Vec<Certificate<'static>> =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)).collect();
    let system = rustls_native_certs::load_native_certs().certs;
    all.extend(system.iter().map(|der| Certificate::from_der(der).to_owned()));
    RootCerts::new_with_certs(&all)
}
