//! Requests that are made to take memory, time or places from others, one kind after the other. Beside and after each of
//! them good requests must be answered, and memory must come back.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;
use xtask::testing::Random;

use super::Result;
use super::args::Args;
use super::ask::Ask;
use super::board::Ender;
use super::client::{Answer, Client};
use super::http;
use super::known::known;
use super::report::Report;
use super::target::Target;
use super::vitals::Vitals;

/// Amounts to send.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Large requests at once, and bytes of each.
    pub(super) n_large: usize,
    pub(super) large: usize,
    /// Large requests whose clients leave.
    pub(super) n_resets: usize,
    /// Silent connections.
    pub(super) n_silent: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { n_large: 32, large: (8 << 20) - 200, n_resets: 40, n_silent: 1100 }
    }
}

/// Memory that large requests may take at once: the room for bodies (256 MiB) and what is read of them at a time.
const MOST_PEAK: u64 = 384 << 20;
/// Good requests, whose texts are known.
const N_KNOWN: usize = 8;
/// Memory that may be left of all that came so far.
const MOST_LEFT: u64 = 64 << 20;
/// A good request beside them is answered in this time.
const MOST_WAIT: Duration = Duration::from_secs(1);
/// Time after which silent connections are renewed.
const RENEWAL: Duration = Duration::from_millis(1500);

/// A kind of large request, with its path.
type Kind = (&'static str, &'static str, fn(usize) -> String);

const KINDS: [Kind; 6] = [
    ("spaces", "/v1/completions", |n| json!({ "prompt": " ".repeat(n) }).to_string()),
    ("digits", "/v1/completions", |n| json!({ "prompt": ["a", "1".repeat(n)] }).to_string()),
    ("text", "/v1/chat/completions", |n| chat(&"Once upon a time. ".repeat(n / 18))),
    ("marks", "/v1/chat/completions", |n| chat(&"<".repeat(n))),
    ("pieces", "/tokenize", |n| json!({ "content": "1".repeat(n), "with_pieces": true }).to_string()),
    ("values", "/v1/completions", |_| {
        json!({ "prompt": "a", "x": vec![json!({ "a": 1 }); 80_000] }).to_string()
    }),
];

fn chat(text: &str) -> String {
    json!({ "messages": [{ "role": "user", "content": text }] }).to_string()
}

#[derive(Debug, Default)]
struct Outcome {
    /// Memory before all attacks.
    start: u64,
    text: String,
    figures: Vec<serde_json::Value>,
    broken: Vec<String>,
    missed: Vec<String>,
}

pub(super) fn run(args: &Args, target: &Target, sizes: Sizes) -> Result<Report> {
    let Sizes { n_large, large, n_resets, n_silent } = sizes;
    let mut random = Random(args.seed);
    let control = &known(target, N_KNOWN, || Ask::chat(&mut random, 4))?;
    let rss = || target.pid.and_then(Vitals::of).map_or(0, |vitals| vitals.rss_bytes);
    let mut outcome = Outcome { start: rss(), ..Outcome::default() };
    for (name, path, body) in KINDS {
        let request = http::request("POST", path, "close", &body(large));
        let attack = |is_over: &AtomicBool| at_once(target, n_large, &request, is_over);
        outcome.beside(name, target, control, attack);
    }
    let request = http::request("POST", "/v1/completions", "close", &KINDS[0].2(large));
    outcome.beside("resets", target, control, |is_over| resets(target, n_resets, &request, is_over));
    outcome.beside("silent", target, control, |is_over| silent(target, n_silent, is_over));
    let Outcome { text, figures, broken, missed, .. } = outcome;
    Ok(Report { text, figures: json!({ "attacks": figures }), broken, missed })
}

impl Outcome {
    /// Asks good requests while `attack` goes on, and looks at memory then and afterwards.
    fn beside(
        &mut self,
        name: &str,
        target: &Target,
        control: &[Ask],
        attack: impl FnOnce(&AtomicBool) + Send,
    ) {
        let rss = || target.pid.and_then(Vitals::of).map_or(0, |vitals| vitals.rss_bytes);
        let (before, is_over) = (rss(), AtomicBool::new(false));
        let (mut n_done, mut longest, mut peak) = (0, Duration::ZERO, before);
        std::thread::scope(|scope| {
            let attacker = scope.spawn(|| {
                let _ender = Ender::new(&is_over);
                attack(&is_over);
            });
            while !attacker.is_finished() || n_done == 0 {
                let begun = Instant::now();
                match good(target, &control[n_done % control.len()]) {
                    Ok(()) => n_done += 1,
                    Err(why) => {
                        self.broken.push(format!("{name}: a good request failed: {why}"));
                        break;
                    }
                }
                longest = longest.max(begun.elapsed());
                peak = peak.max(rss());
                std::thread::sleep(Duration::from_millis(20));
            }
            is_over.store(true, Relaxed);
        });
        let end = Instant::now() + target.patience.min(Duration::from_secs(10));
        while rss() > self.start + MOST_LEFT && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        let (peak, left) = (peak.saturating_sub(before), rss().saturating_sub(self.start));
        if peak > MOST_PEAK {
            self.broken.push(format!(
                "{name}: {} MiB were taken, at most {} are allowed",
                peak >> 20,
                MOST_PEAK >> 20
            ));
        }
        if left > MOST_LEFT {
            self.broken.push(format!(
                "{name}: {} MiB are left, at most {} are allowed",
                left >> 20,
                MOST_LEFT >> 20
            ));
        }
        if longest > MOST_WAIT {
            self.missed.push(format!(
                "{name}: a good request took {:.2} s, at most 1 is allowed",
                longest.as_secs_f64()
            ));
        }
        let _ = writeln!(
            self.text,
            "{name}: {n_done} good requests, the longest {} ms; memory +{} MiB, then +{} MiB",
            longest.as_millis(),
            peak >> 20,
            left >> 20
        );
        self.figures.push(json!({
            "name": name,
            "good": n_done,
            "longest_ms": longest.as_millis() as u64,
            "peak_bytes": peak,
            "left_bytes": left,
        }));
    }
}

fn good(target: &Target, ask: &Ask) -> Result<()> {
    match Client::of_single_requests(target).whole(ask)? {
        Answer::Done(..) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

/// Sends large requests at the same time, and reads what is answered.
fn at_once(target: &Target, n_large: usize, request: &[u8], is_over: &AtomicBool) {
    std::thread::scope(|scope| {
        for _ in 0..n_large {
            scope.spawn(|| {
                let Ok(mut connection) = http::Connection::open(target.address, target.patience) else {
                    return;
                };
                let _ = connection.send(request);
                if !is_over.load(Relaxed) {
                    let _ = connection.head();
                }
            });
        }
    });
}

/// Sends large requests and resets the connection: what has come is left unread.
fn resets(target: &Target, n_resets: usize, request: &[u8], is_over: &AtomicBool) {
    for _ in 0..n_resets {
        if is_over.load(Relaxed) {
            return;
        }
        if let Ok(mut stream) = TcpStream::connect_timeout(&target.address, target.patience) {
            let _ = stream.set_write_timeout(Some(target.patience));
            let _ = stream.write_all(request);
        }
    }
}

/// Opens connections that ask nothing, and opens them again before they are taken for old.
fn silent(target: &Target, n_silent: usize, is_over: &AtomicBool) {
    for _ in 0..4 {
        if is_over.load(Relaxed) {
            return;
        }
        let connect = |_| TcpStream::connect_timeout(&target.address, Duration::from_secs(1)).ok();
        let _open: Vec<Option<TcpStream>> = (0..n_silent).map(connect).collect();
        std::thread::sleep(RENEWAL);
    }
}
