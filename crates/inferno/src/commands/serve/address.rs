//! Addresses to listen on: those of the flags, or else of Ollama's variable.

use std::collections::HashSet;
use std::net::{SocketAddr, ToSocketAddrs};

use anyhow::{Context, Result, anyhow, bail};
use clap::ArgMatches;

use crate::cli;

/// Ollama's variable. Its meaning for a server is the address to listen on.
const OLLAMA: &str = "OLLAMA_HOST";
/// The port of Ollama, where its variable names none.
const OLLAMA_PORT: u16 = 11434;
const HOST: &str = "127.0.0.1";
const PORT: u16 = 8080;

/// Hosts, with commas between them, and a port to listen on.
#[derive(Debug)]
pub(super) struct Listen {
    host: String,
    port: u16,
    is_ollama: bool,
}

impl Listen {
    /// Reads the flags; where neither `--host` nor `--port` is given, `OLLAMA_HOST`.
    ///
    /// # Errors
    /// `OLLAMA_HOST` is used and is no address.
    pub(super) fn read(args: &cli::Serve) -> Result<Listen> {
        let listen = Listen::chosen(args.host.as_deref(), args.port)?;
        if listen.is_ollama {
            let Listen { host, port, .. } = &listen;
            tracing::info!(host, port, "listening where `{OLLAMA}` says: `--host` or `--port` overrides it");
        }
        Ok(listen)
    }

    fn chosen(host: Option<&str>, port: Option<u16>) -> Result<Listen> {
        if host.is_none() && port.is_none() {
            let value = std::env::var_os(OLLAMA).unwrap_or_default();
            if let Some((host, port)) = ollama(&value.to_string_lossy())? {
                return Ok(Listen { host, port, is_ollama: true });
            }
        }
        Ok(Listen { host: host.unwrap_or(HOST).to_owned(), port: port.unwrap_or(PORT), is_ollama: false })
    }

    /// Addresses of each host, those of IPv4 first, as every client has it.
    ///
    /// # Errors
    /// A host has no address.
    pub(super) fn addresses(&self) -> Result<Vec<SocketAddr>> {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for host in self.host.split(',') {
            let host = host.trim();
            let bare = host.trim_start_matches('[').trim_end_matches(']');
            let found = (bare, self.port).to_socket_addrs().with_context(|| {
                let (host, flag) = (host.escape_debug(), if self.is_ollama { OLLAMA } else { "--host" });
                format!("cannot listen on `{host}`, expected an address or a name of this machine (`{flag}`)")
            })?;
            let mut found: Vec<SocketAddr> = found.collect();
            found.sort_by_key(SocketAddr::is_ipv6);
            addresses.extend(found);
        }
        let mut seen = HashSet::new();
        addresses.retain(|address| seen.insert(*address));
        Ok(addresses)
    }

    /// Description of the failure to listen.
    pub(super) fn refused(&self) -> String {
        let (Listen { host, port, .. }, from) = (self, if self.is_ollama { " of `OLLAMA_HOST`" } else { "" });
        format!("cannot listen on {host} port {port}{from} (`--port` chooses another one)")
    }
}

/// `--host` and `--port` as each would hold without being `given` itself; none if the variable that chooses them is wrong, which
/// the server says.
pub(crate) fn chosen_address(given: &ArgMatches) -> Vec<(&'static str, String)> {
    let host = given.get_one::<String>("host").map(String::as_str);
    let port = given.get_one("port").copied();
    let (Ok(without_host), Ok(without_port)) = (Listen::chosen(None, port), Listen::chosen(host, None))
    else {
        return Vec::new();
    };
    vec![("host", without_host.host), ("port", without_port.port.to_string())]
}

/// The host and the port in a value of `OLLAMA_HOST`, as Ollama reads it: `host`, `host:port` or a URL; a port alone stands
/// for all addresses of the machine. `None` if it is empty.
fn ollama(value: &str) -> Result<Option<(String, u16)>> {
    let text = value.trim().trim_matches(['"', '\'']).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: &str| {
        let shown = text.escape_debug();
        anyhow!(
            "`{OLLAMA}` is `{shown}`, {reason}: expected an address like 127.0.0.1:{OLLAMA_PORT}, or `--host` and `--port`"
        )
    };
    let (default, rest) = match text.split_once("://") {
        None => (OLLAMA_PORT, text),
        Some(("http", rest)) => (80, rest),
        Some(("https", rest)) => (443, rest),
        Some(_) => bail!(wrong("a URL of another scheme than http")),
    };
    let rest = rest.split('/').next().unwrap_or_default();
    let (host, port) = match rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        // More than one colon is an address of IPv6 without brackets.
        None if rest.matches(':').count() > 1 => (rest, None),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => default,
        Some(port) => port.parse().map_err(|_| wrong("whose port is not a number from 0 to 65535"))?,
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    Ok(Some((host.to_owned(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_listed_with_commas() {
        let addresses = |host: &str| {
            let listen = Listen { host: host.to_owned(), port: 80, is_ollama: false };
            listen.addresses().map(|all| all.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(
            addresses("[::1], 127.0.0.2,127.0.0.1,127.0.0.2").unwrap(),
            "[::1]:80 127.0.0.2:80 127.0.0.1:80"
        );
        let error = addresses("127.0.0.1,").unwrap_err().to_string();
        assert!(error.contains("cannot listen on ``") && error.contains("--host"), "{error}");
    }

    #[test]
    fn a_value_of_ollama_host_is_read_as_ollama_does() {
        for (value, expected) in [
            ("0.0.0.0", ("0.0.0.0", 11434)),
            ("127.0.0.1:8081", ("127.0.0.1", 8081)),
            (" \"localhost:0\" ", ("localhost", 0)),
            (":8081", ("0.0.0.0", 8081)),
            ("http://127.0.0.1", ("127.0.0.1", 80)),
            ("http://127.0.0.1:11434/", ("127.0.0.1", 11434)),
            ("https://example.com/path", ("example.com", 443)),
            ("[::1]:8081", ("::1", 8081)),
            ("[::]", ("::", 11434)),
            ("::1", ("::1", 11434)),
        ] {
            let (host, port) = ollama(value).unwrap().unwrap();
            assert_eq!((host.as_str(), port), expected, "{value}");
        }
        for empty in ["", " ", "\"\""] {
            assert_eq!(ollama(empty).unwrap(), None);
        }
        for (wrong, words) in [("localhost:x", "port"), ("localhost:70000", "port"), ("ftp://host", "scheme")]
        {
            let error = ollama(wrong).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(wrong) && error.contains("--host"), "{error}");
        }
    }
}
