//! Clients that read slowly, and quick ones that ask for the same. One thread has many of them.

use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

use socket2::{Domain, SockRef, Socket, Type};
use xtask::testing::Random;

use super::ask::Ask;
use super::attack::{BACK, Tally, begin};
use super::http;
use super::target::Target;

/// Pace of readers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reading {
    /// A byte every 100 ms, through a buffer that holds less than a token.
    Slow,
    /// All there is.
    Quick,
}

/// Readers that each ask for the same once in a period, whatever became of the request before: quick and slow ones make
/// the server the same work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readers {
    pub(super) n: usize,
    pub(super) max_tokens: usize,
    pub(super) period: Duration,
    pub(super) seed: u64,
}

/// Bytes that the system takes for a slow reader, about: with its usual buffer whole answers fit, and no server ever
/// waits.
const RECEIVED: usize = 2 << 10;
/// Best tokens told with each token, 1.7 KB: Linux holds 150 KB for a slow reader, 90 tokens.
const TOP_LOGPROBS: usize = 20;
/// The end of a body in chunks.
const END: &[u8] = b"0\r\n\r\n";

impl Readers {
    /// Reads until `is_over`. At the end of a period a slow reader reads on as a quick one does: an answer that ends without
    /// its end was given up by the server.
    pub(super) fn run(self, target: &Target, reading: Reading, is_over: &AtomicBool) -> Tally {
        const TICK: Duration = Duration::from_millis(100);
        let mut random = Random(self.seed);
        let mut tally = Tally::default();
        let mut slots: Vec<ReaderSlot> = (0..self.n).map(|_| ReaderSlot::default()).collect();
        let begun = Instant::now();
        while !is_over.load(Relaxed) {
            let tick = Instant::now();
            for (i, slot) in slots.iter_mut().enumerate() {
                // Requests are spread over the period.
                let due = self.period.mul_f64(slot.n_asked as f64 + i as f64 / self.n as f64);
                if begun.elapsed() >= due {
                    slot.n_asked += 1;
                    if let Some(current) = slot.current.take() {
                        widen(&current.stream);
                        slot.last = Some(current);
                    }
                    slot.current = self.ask(target, reading, &mut random).ok().map(Reader::new);
                    tally.connections += usize::from(slot.current.is_some());
                }
                read(&mut slot.current, reading, &mut tally);
                read(&mut slot.last, Reading::Quick, &mut tally);
            }
            sleep(TICK.saturating_sub(tick.elapsed()));
        }
        tally
    }

    fn ask(&self, target: &Target, reading: Reading, random: &mut Random) -> std::io::Result<TcpStream> {
        let ask = Ask { is_exact: true, ..Ask::chat(random, self.max_tokens) };
        let mut body = ask.to_json(&target.model);
        body.pop();
        body.push_str(&format!(",\"logprobs\":true,\"top_logprobs\":{TOP_LOGPROBS}}}"));
        let request = http::request("POST", "/v1/chat/completions", "keep-alive", &body);
        let socket = Socket::new(Domain::for_address(target.address), Type::STREAM, None)?;
        if reading == Reading::Slow {
            socket.set_recv_buffer_size(RECEIVED)?;
        }
        socket.connect_timeout(&target.address.into(), BACK)?;
        begin(socket.into(), &request)
    }
}

/// The answer of the current period, and that of the period before.
#[derive(Default)]
struct ReaderSlot {
    n_asked: usize,
    current: Option<Reader>,
    last: Option<Reader>,
}

struct Reader {
    stream: TcpStream,
    /// The last bytes that came.
    tail: Vec<u8>,
}

impl Reader {
    fn new(stream: TcpStream) -> Reader {
        Reader { stream, tail: Vec::new() }
    }
}

/// Reads a byte, or all that is there; what has ended is counted and given up.
fn read(slot: &mut Option<Reader>, reading: Reading, tally: &mut Tally) {
    let mut buffer = [0; 16 << 10];
    let len = if reading == Reading::Slow { 1 } else { buffer.len() };
    while let Some(reader) = slot {
        match reader.stream.read(&mut buffer[..len]) {
            Ok(n) if n > 0 => {
                tally.bytes += n;
                let tail = &mut reader.tail;
                tail.extend_from_slice(&buffer[..n]);
                tail.drain(..tail.len().saturating_sub(END.len()));
                if tail == END {
                    tally.whole += 1;
                    *slot = None;
                } else if reading == Reading::Slow {
                    return;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => return,
            Ok(_) | Err(_) => {
                tally.closed += 1;
                *slot = None;
            }
        }
    }
}

/// Gives a slow reader the room of a quick one.
fn widen(stream: &TcpStream) {
    // A socket that has ended already has no buffer to widen.
    let _ = SockRef::from(stream).set_recv_buffer_size(1 << 20);
}
