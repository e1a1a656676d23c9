//! The choice of the connection that makes room for a new one.
//!
//! A connection waits for its client when it has no request, when the rest of a request does not come, or when its
//! answer is not taken. In the order in which they yield:
//!
//! 1. *silent*: no whole request within [`fresh`](Ages) of the start. The newest first, so that clients which connected
//!    before a flood keep their place.
//! 2. *idle* (between two requests, the longest idle first) or *fresh* (just connected, the oldest first), whichever
//!    are more: a flood of either kind pays for itself.
//! 3. *stuck*: an answer of which the client takes nothing, the longest first.
//!
//! Within each of them, the address with the most such connections yields.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::io::Stage;

/// A connection that waits for its client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Waiting {
    number: u64,
    peer: IpAddr,
    kind: Kind,
    since: Instant,
}

/// The event that a connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The first request, or the rest of its head.
    Head,
    /// The rest of a body.
    Body,
    /// The next request.
    Next,
    /// Room in the client's buffers.
    Reader,
}

impl Waiting {
    /// A connection in `stage` since `since`, which has been writing in vain since `stalled`; `None` if it does not wait
    /// for its client.
    pub(crate) fn new(
        number: u64,
        peer: IpAddr,
        stage: Stage,
        since: Instant,
        stalled: Option<Instant>,
    ) -> Option<Waiting> {
        let (kind, since) = match (stage, stalled) {
            (Stage::New | Stage::Head, _) => (Kind::Head, since),
            (Stage::Body, _) => (Kind::Body, since),
            // A request is done before the last of its answer is written.
            (Stage::Idle | Stage::Busy | Stage::Closing, Some(stalled)) => (Kind::Reader, stalled),
            (Stage::Idle, None) => (Kind::Next, since),
            (Stage::Busy | Stage::Closing, None) => return None,
        };
        Some(Waiting { number, peer, kind, since })
    }
}

/// Ages that decide, as parts of the time that a request's head may take.
#[derive(Debug, Clone, Copy)]
struct Ages {
    /// A first request is still on its way until this age: 0.5 s by default.
    fresh: Duration,
    /// A body or a reader that has not moved for this time has stopped: 2 s by default.
    stopped: Duration,
}

/// The number of the connection that yields; `None` if all of them are at work.
pub(crate) fn victim(
    waiting: impl Iterator<Item = Waiting>,
    now: Instant,
    header_time: Duration,
) -> Option<u64> {
    let ages = Ages { fresh: header_time / 20, stopped: header_time / 5 };
    let (mut silent, mut fresh, mut idle, mut stuck) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for connection in waiting {
        let age = now.saturating_duration_since(connection.since);
        match connection.kind {
            Kind::Head if age < ages.fresh => fresh.push(connection),
            Kind::Head => silent.push(connection),
            Kind::Next => idle.push(connection),
            Kind::Body if age >= ages.stopped => silent.push(connection),
            Kind::Reader if age >= ages.stopped => stuck.push(connection),
            Kind::Body | Kind::Reader => {}
        }
    }
    let flood = if fresh.len() > idle.len() { fresh } else { idle };
    newest(of_greediest(silent))
        .or_else(|| oldest(of_greediest(flood)))
        .or_else(|| oldest(of_greediest(stuck)))
        .map(|connection| connection.number)
}

/// Waiting connections of the address that has the most.
fn of_greediest(mut all: Vec<Waiting>) -> Vec<Waiting> {
    let mut per_address: HashMap<IpAddr, usize> = HashMap::new();
    for connection in &all {
        *per_address.entry(connection.peer).or_default() += 1;
    }
    if per_address.len() > 1
        && let Some((&greediest, _)) = per_address.iter().max_by_key(|&(peer, n)| (n, peer))
    {
        all.retain(|connection| connection.peer == greediest);
    }
    all
}

fn newest(all: Vec<Waiting>) -> Option<Waiting> {
    all.into_iter().max_by_key(|connection| (connection.since, connection.number))
}

fn oldest(all: Vec<Waiting>) -> Option<Waiting> {
    all.into_iter().min_by_key(|connection| (connection.since, connection.number))
}

#[cfg(test)]
mod tests;
