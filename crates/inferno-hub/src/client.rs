//! Requests to the hub. Redirects are followed here, one by one: the headers that say what a file is stand in the answer before
//! the last redirect, the token goes to the hub alone, and files come from the hub's own hosts.
#![deny(clippy::indexing_slicing)]

use std::sync::OnceLock;
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use crate::cache::is_hex;
use crate::error::HubError;
use crate::settings::Settings;

/// Silence after which a connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);
const CONNECT: Duration = Duration::from_secs(10);
/// Most bytes of an answer that is no file.
const JSON_BYTES: u64 = 32 << 20;
/// Most redirects of one request.
const REDIRECTS: usize = 8;
/// Hosts that the hub sends files from.
const FILE_HOSTS: [&str; 2] = ["hf.co", "huggingface.co"];

/// A connection to the hub.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    /// Made for the first request: the system's certificates are read then.
    agent: OnceLock<Agent>,
    endpoint: Uri,
    token: Option<String>,
    /// Hosts beside the hub's own that may send files.
    hosts: Vec<String>,
}

/// A file as the hub describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Described {
    /// Checksum: SHA-256 of 64 digits, or the SHA-1 of git of 40.
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Where it is to be had now; the address is good for about an hour.
    pub(crate) address: String,
}

impl Client {
    /// # Errors
    /// The endpoint is no address.
    pub(crate) fn new(settings: &Settings) -> Result<Client, HubError> {
        let wrong =
            |expected| HubError::Name { name: format!("HF_ENDPOINT={}", settings.endpoint), expected };
        let endpoint: Uri = settings
            .endpoint
            .parse()
            .map_err(|_| wrong("expected an address like https://huggingface.co"))?;
        if endpoint.host().is_none() || !matches!(endpoint.scheme_str(), Some("http" | "https")) {
            return Err(wrong("expected an address like https://huggingface.co"));
        }
        let (token, hosts) = (settings.token.clone(), settings.hosts.clone());
        Ok(Client { agent: OnceLock::new(), endpoint, token, hosts })
    }

    fn agent(&self) -> &Agent {
        let config = || {
            Agent::config_builder()
                .http_status_as_error(false)
                .max_redirects(0)
                .max_redirects_will_error(false)
                .accept_encoding("identity")
                .user_agent(concat!("inferno/", env!("CARGO_PKG_VERSION")))
                .timeout_resolve(Some(CONNECT))
                .timeout_connect(Some(CONNECT))
                .timeout_recv_response(Some(SILENCE))
                .timeout_per_read(Some(SILENCE))
                .tls_config(TlsConfig::builder().root_certs(roots()).build())
                .build()
        };
        self.agent.get_or_init(|| config().new_agent())
    }

    /// The hub's host and port, for messages.
    pub(crate) fn host(&self) -> &str {
        host_of(&self.endpoint)
    }

    /// The endpoint with a path behind it.
    pub(crate) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.endpoint.to_string().trim_end_matches('/'))
    }

    /// A JSON answer, and the address of its next page.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        address: &str,
        repo: &str,
    ) -> Result<(T, Option<String>), HubError> {
        let (mut response, host) = self.follow(address, None)?;
        if response.status() != StatusCode::OK {
            return Err(self.refusal(&mut response, &host, repo, ""));
        }
        let next = header(&response, "link").and_then(next_page);
        // The next page is the hub's own, and no other address.
        let next = next.filter(|next| next.parse().is_ok_and(|next: Uri| self.is_hub(&next)));
        let text = response.body_mut().with_config().limit(JSON_BYTES).read_to_string();
        let text = text.map_err(|e| self.failure(&host, e))?;
        let value = serde_json::from_str(&text);
        Ok((value.map_err(|e| HubError::Protocol { host, what: format!("JSON: {e}") })?, next))
    }

    /// Checksum, size and address of a file of a commit.
    pub(crate) fn describe(&self, repo: &str, commit: &str, file: &str) -> Result<Described, HubError> {
        let mut address = self.address(&format!("/{repo}/resolve/{commit}/{}", quote(file)));
        for _ in 0..REDIRECTS {
            let uri = self.uri(&address)?;
            let mut response = self.head(&uri)?;
            let status = response.status();
            if !status.is_success() && !status.is_redirection() {
                return Err(self.refusal(&mut response, host_of(&uri), repo, file));
            }
            let linked = header(&response, "x-linked-etag");
            let etag = linked.or_else(|| header(&response, "etag").filter(|_| status.is_success()));
            let target = status.is_redirection().then(|| self.target(&uri, &response)).transpose()?;
            match (etag, target) {
                // The hub itself redirects where a file or a repository has moved.
                (None, Some(target)) if self.is_hub(&self.uri(&target)?) => address = target,
                (Some(etag), target) => {
                    let etag = etag.trim_start_matches("W/").trim_matches('"').to_owned();
                    let size =
                        header(&response, "x-linked-size").or_else(|| header(&response, "content-length"));
                    let size = size.and_then(|size| size.parse().ok());
                    let is_checksum = is_hex(&etag, 64) || is_hex(&etag, 40);
                    let Some(size) = size.filter(|_| is_checksum) else {
                        let what = format!("`{file}` has no size or no checksum");
                        return Err(HubError::Protocol { host: self.host().into(), what });
                    };
                    return Ok(Described { etag, size, address: target.unwrap_or(address) });
                }
                (None, _) => {
                    let what = format!("`{file}` has no checksum");
                    return Err(HubError::Protocol { host: self.host().into(), what });
                }
            }
        }
        Err(HubError::Protocol { host: self.host().into(), what: "more than 8 redirects".into() })
    }

    /// A file from byte `from` on, and the host that sends it.
    pub(crate) fn open(&self, address: &str, from: u64) -> Result<(Response<Body>, String), HubError> {
        self.follow(address, (from > 0).then(|| format!("bytes={from}-")))
    }

    /// The first `n` bytes of a file of a commit, or more from a host that knows no ranges.
    pub(crate) fn beginning(&self, repo: &str, commit: &str, file: &str, n: u64) -> Result<Body, HubError> {
        let address = self.describe(repo, commit, file)?.address;
        let range = format!("bytes=0-{}", n.saturating_sub(1));
        let (mut response, host) = self.follow(&address, Some(range))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(response.into_body()),
            _ => Err(self.refusal(&mut response, &host, repo, file)),
        }
    }

    /// Gets `address`, over redirects to hosts that may send files.
    fn follow(&self, address: &str, range: Option<String>) -> Result<(Response<Body>, String), HubError> {
        let mut uri = self.uri(address)?;
        for _ in 0..REDIRECTS {
            let mut request = self.agent().get(&uri);
            if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(&uri)) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            if let Some(range) = &range {
                request = request.header("range", range);
            }
            let response = request.call().map_err(|e| self.failure(host_of(&uri), e))?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return Ok((response, host_of(&uri).to_owned()));
            }
            uri = self.uri(&self.target(&uri, &response)?)?;
        }
        Err(HubError::Protocol { host: self.host().into(), what: "more than 8 redirects".into() })
    }

    fn head(&self, uri: &Uri) -> Result<Response<Body>, HubError> {
        let mut request = self.agent().head(uri);
        if let Some(token) = self.token.as_ref().filter(|_| self.is_hub(uri)) {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request.call().map_err(|e| self.failure(host_of(uri), e))
    }

    /// The address that an answer redirects to, if files may come from there.
    fn target(&self, from: &Uri, response: &Response<Body>) -> Result<String, HubError> {
        let refuse = |target: &str| HubError::Redirect {
            host: host_of(from).into(),
            target: target.escape_debug().take(200).collect(),
        };
        let location = header(response, "location").ok_or_else(|| refuse("nowhere"))?;
        let authority = from.authority().map(ToString::to_string).unwrap_or_default();
        let scheme = from.scheme_str().unwrap_or("https");
        let address = match location {
            location if location.starts_with("//") => format!("{scheme}:{location}"),
            location if location.starts_with('/') => format!("{scheme}://{authority}{location}"),
            location => location.to_owned(),
        };
        let uri: Uri = address.parse().map_err(|_| refuse(location))?;
        let keeps_scheme = uri.scheme_str() == Some("https") || uri.scheme() == self.endpoint.scheme();
        match keeps_scheme && self.may_send(uri.host().unwrap_or_default()) {
            true => Ok(address),
            false => Err(refuse(location)),
        }
    }

    /// Whether files may come from `host`.
    fn may_send(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_below = |domain: &str| {
            host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        let own = self.endpoint.host().unwrap_or_default().to_ascii_lowercase();
        FILE_HOSTS.into_iter().any(is_below) || is_below(&own) || self.hosts.contains(&host)
    }

    /// Whether an address is the hub's own: host, port and scheme.
    fn is_hub(&self, uri: &Uri) -> bool {
        uri.authority() == self.endpoint.authority() && uri.scheme() == self.endpoint.scheme()
    }

    fn uri(&self, address: &str) -> Result<Uri, HubError> {
        let wrong =
            |_| HubError::Protocol { host: self.host().into(), what: "an address that is none".into() };
        address.parse().map_err(wrong)
    }

    /// The error that an answer other than 200 stands for.
    pub(crate) fn refusal(
        &self,
        response: &mut Response<Body>,
        host: &str,
        repo: &str,
        file: &str,
    ) -> HubError {
        let status = response.status().as_u16();
        let (repo, host) = (repo.to_owned(), host.to_owned());
        let code = header(response, "x-error-code").unwrap_or_default();
        let message =
            header(response, "x-error-message").unwrap_or_default().escape_debug().take(300).collect();
        let has_token = self.token.is_some();
        match (status, code) {
            (_, "GatedRepo") => {
                let (page, tokens) = (self.address(&format!("/{repo}")), self.address("/settings/tokens"));
                HubError::Gated { repo, page, tokens, has_token }
            }
            (_, "RepoNotFound") => HubError::NoRepo { repo, host, has_token },
            (_, "RevisionNotFound") => HubError::NoRevision { repo, revision: "main".into() },
            (_, "EntryNotFound") => HubError::NoFile { repo, file: file.to_owned() },
            (401 | 404, _) => HubError::NoRepo { repo, host, has_token },
            (403, _) if has_token && host == self.host() => HubError::Forbidden { repo },
            (429, _) => HubError::Busy { seconds: pause(response), host },
            _ => HubError::Status { host, status, message },
        }
    }

    pub(crate) fn failure(&self, host: &str, error: ureq::Error) -> HubError {
        match error {
            ureq::Error::Timeout(
                ureq::Timeout::PerRead | ureq::Timeout::RecvResponse | ureq::Timeout::RecvBody,
            ) => HubError::Stalled { host: host.to_owned(), seconds: SILENCE.as_secs() },
            ureq::Error::BodyExceedsLimit(n) => {
                HubError::Protocol { host: host.to_owned(), what: format!("more than {n} bytes") }
            }
            error => HubError::Connect { host: host.to_owned(), source: Box::new(error) },
        }
    }
}

/// The certificates that this program brings, and those of the system, where an administrator may have put one.
fn roots() -> RootCerts {
    let mut all: Vec<Certificate<'static>> =
        webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().map(|der| Certificate::from_der(der)).collect();
    let system = rustls_native_certs::load_native_certs().certs;
    all.extend(system.iter().map(|der| Certificate::from_der(der).to_owned()));
    RootCerts::new_with_certs(&all)
}

pub(crate) fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

/// Host and port.
fn host_of(uri: &Uri) -> &str {
    uri.authority().map(|authority| authority.as_str()).unwrap_or_default()
}

/// Percent-encodes all of a path that is no plain character; `/` stays.
pub(crate) fn quote(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(byte.into())
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// The address of `rel="next"` in a `Link` header (RFC 8288).
fn next_page(link: &str) -> Option<String> {
    link.split(',').find_map(|link| {
        let (address, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
        rest.contains("rel=\"next\"").then(|| address.to_owned())
    })
}

/// Seconds until the next request is welcome: `retry-after`, or `t` of `ratelimit: "pages";r=0;t=254`.
fn pause(response: &Response<Body>) -> u64 {
    let after = header(response, "retry-after").and_then(|text| text.trim().parse().ok());
    let rest = header(response, "ratelimit")
        .and_then(|text| text.split(';').find_map(|part| part.trim().strip_prefix("t=")?.parse().ok()));
    after.or(rest).unwrap_or(60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_and_pages_are_found() {
        assert_eq!(quote("a b/ü+.gguf"), "a%20b/%C3%BC%2B.gguf");
        let link = "<https://h/x?p=1>; rel=\"first\", <https://h/x?p=2>; rel=\"next\"";
        assert_eq!(next_page(link).as_deref(), Some("https://h/x?p=2"));
        assert_eq!(next_page("<https://h/x>; rel=\"last\""), None);
    }

    #[test]
    fn files_come_from_the_hubs_hosts_alone() {
        let mut settings = Settings::read(|_| None);
        settings.hosts = vec!["cdn.example".into()];
        let client = Client::new(&settings).unwrap();
        for host in ["huggingface.co", "cdn-lfs-us-1.hf.co", "us.aws.cdn.HF.co", "cdn.example"] {
            assert!(client.may_send(host), "{host}");
        }
        for host in [
            "evilhf.co",
            "hf.co.evil.example",
            "127.0.0.1",
            "localhost",
            "169.254.169.254",
            "x.cdn.example",
            "",
        ] {
            assert!(!client.may_send(host), "{host}");
        }
    }
}
