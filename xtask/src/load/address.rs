//! Addresses of this machine, and no others.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::Result;

/// The address of `http://HOST:PORT`, which must be of this machine.
pub(super) fn of_url(url: &str) -> Result<SocketAddr> {
    let no_url = || format!("`{url}` is not an address like `http://127.0.0.1:8080`");
    let rest = url.strip_prefix("http://").ok_or_else(no_url)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':').ok_or_else(no_url)?;
    let port: u16 = port.parse().map_err(|_| no_url())?;
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let ip: IpAddr = match bare {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        _ => bare.parse().map_err(|_| format!("`{host}` is not an address of this machine"))?,
    };
    match ip.is_loopback() {
        true => Ok(SocketAddr::new(ip, port)),
        false => Err(format!("`{host}` is not an address of this machine: load is for loopback only")),
    }
}

/// The first address in a line of a server.
pub(super) fn in_line(line: &str) -> Option<&str> {
    let start = line.find("http://")?;
    let is_end = |c: char| c.is_whitespace() || matches!(c, '`' | '"' | '\'' | ',' | ')');
    let url = line[start..].split(is_end).next()?;
    Some(url.trim_end_matches(['.', '/']))
}
