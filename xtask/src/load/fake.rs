//! A small server for tests: it counts sequences and pages, streams words, and does what a test tells it to do wrong.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::target::Target;

pub(crate) struct Fake {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    behaviour: Behaviour,
    is_over: AtomicBool,
    n_connections: AtomicUsize,
    n_running: AtomicUsize,
    n_leaked: AtomicUsize,
    n_abandoned: AtomicUsize,
    n_tokens: AtomicUsize,
}

/// One of the sequences that run, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// What makes one fake differ from another.
#[derive(Clone)]
pub(crate) struct Behaviour {
    /// More requests at a time get a 429.
    pub(crate) n_sequences: usize,
    pub(crate) token: Duration,
    /// The whole refusal.
    pub(crate) refusal: String,
    pub(crate) refusal_delay: Duration,
    /// Makes a good stream, as data of events, one that is not.
    pub(crate) fault: fn(&mut Vec<String>),
    /// Instead of chunks and `keep-alive`: one length, or until the connection is closed.
    pub(crate) framing: Framing,
    /// Pages stay held when a client closes its stream.
    pub(crate) leaks: bool,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Framing {
    Chunked,
    /// The body ends with the connection, in the middle of a chunk.
    Torn,
    Length,
    UntilClose,
}

pub(crate) const REFUSAL: &str = "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1\r\ncontent-length: 39\r\n\r\n\
    {\"error\":{\"message\":\"come back later\"}}";
const N_PAGES: usize = 100;

impl Default for Behaviour {
    fn default() -> Behaviour {
        Behaviour {
            n_sequences: 1000,
            token: Duration::ZERO,
            refusal: REFUSAL.into(),
            refusal_delay: Duration::ZERO,
            fault: |_| {},
            framing: Framing::Chunked,
            leaks: false,
        }
    }
}

impl Fake {
    pub(crate) fn start(behaviour: Behaviour) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            behaviour,
            is_over: AtomicBool::new(false),
            n_connections: AtomicUsize::new(0),
            n_running: AtomicUsize::new(0),
            n_leaked: AtomicUsize::new(0),
            n_abandoned: AtomicUsize::new(0),
            n_tokens: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if shared.is_over.load(SeqCst) {
                    return;
                }
                shared.n_connections.fetch_add(1, SeqCst);
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || while shared.serve(&stream).is_ok() {});
            }
        });
        Fake { address, state }
    }

    pub(crate) fn target(&self) -> Target {
        Target::of_test(self.address)
    }

    pub(crate) fn n_connections(&self) -> usize {
        self.state.n_connections.load(SeqCst)
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.is_over.store(true, SeqCst);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    /// One request and its answer; an error ends the connection.
    fn serve(&self, mut stream: &TcpStream) -> io::Result<()> {
        let (first, closes, body) = read_request(stream)?;
        let path = first.split(' ').nth(1).unwrap_or_default();
        let asked: Json = serde_json::from_slice(&body).unwrap_or_default();
        let answer = match path {
            "/v1/models" => page(&json!({ "data": [{ "id": "fake" }] }).to_string()),
            "/metrics" => page(&self.metrics()),
            "/v1/chat/completions" if asked["stream"] == true => {
                let n_tokens = asked["max_tokens"].as_u64().unwrap_or(1) as usize;
                let mut place = self.take_place();
                let outcome = match place {
                    Some(_) => self.stream(stream, n_tokens, &mut place),
                    None => {
                        std::thread::sleep(self.behaviour.refusal_delay);
                        stream.write_all(self.behaviour.refusal.as_bytes())
                    }
                };
                if outcome.is_err() {
                    self.n_abandoned.fetch_add(1, SeqCst);
                    self.n_leaked.fetch_add(usize::from(self.behaviour.leaks), SeqCst);
                }
                drop(place);
                outcome?;
                String::new()
            }
            _ if is_right(&asked) => page(&json!({ "asked": asked }).to_string()),
            _ => "HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}".into(),
        };
        stream.write_all(answer.as_bytes())?;
        if closes || matches!(self.behaviour.framing, Framing::UntilClose | Framing::Torn) {
            stream.shutdown(Shutdown::Both)?;
        }
        Ok(())
    }

    fn metrics(&self) -> String {
        let (running, held) = (self.n_running.load(SeqCst), self.n_leaked.load(SeqCst));
        format!(
            "# HELP inferno_sequences_running x\ninferno_sequences_running {running}\ninferno_sequences_waiting 0\n\
             inferno_kv_pages{{state=\"free\"}} {}\ninferno_kv_pages{{state=\"cached\"}} 0\n\
             inferno_kv_pages{{state=\"held\"}} {held}\ninferno_requests_abandoned_total {}\n\
             inferno_completion_tokens_total {}\n",
            N_PAGES - held.min(N_PAGES),
            self.n_abandoned.load(SeqCst),
            self.n_tokens.load(SeqCst),
        )
    }

    /// A sequence's place, if one is free.
    fn take_place(&self) -> Option<Place<'_>> {
        let more = |n| (n < self.behaviour.n_sequences).then_some(n + 1);
        self.n_running.fetch_update(SeqCst, SeqCst, more).ok().map(|_| Place(&self.n_running))
    }

    /// The place is free before the client can know that its answer has ended: its next request finds it.
    fn stream(&self, mut stream: &TcpStream, n_tokens: usize, place: &mut Option<Place>) -> io::Result<()> {
        let Behaviour { framing, token, fault, .. } = self.behaviour;
        let mut events = good_stream(n_tokens);
        fault(&mut events);
        let events: Vec<String> = events.iter().map(|data| format!("data: {data}\n\n")).collect();
        let length = match framing {
            Framing::Chunked | Framing::Torn => "transfer-encoding: chunked\r\n".into(),
            Framing::Length => format!("content-length: {}\r\n", events.concat().len()),
            Framing::UntilClose => String::new(),
        };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{length}\r\n");
        stream.write_all(head.as_bytes())?;
        for (i, event) in events.iter().enumerate() {
            std::thread::sleep(token);
            if i + 1 == events.len() {
                *place = None;
            }
            let bytes = match framing {
                Framing::Chunked | Framing::Torn => format!("{:x}\r\n{event}\r\n", event.len()),
                _ => event.clone(),
            };
            stream.write_all(bytes.as_bytes())?;
            self.n_tokens.fetch_add(1, SeqCst);
        }
        match framing {
            Framing::Chunked => stream.write_all(b"0\r\n\r\n"),
            Framing::Torn => stream.write_all(b"20\r\ndata: {"),
            _ => Ok(()),
        }
    }
}

/// As far as anybody asks for something wrong here.
fn is_right(asked: &Json) -> bool {
    let n_bytes = asked.to_string().len();
    asked.is_object()
        && asked["temperature"] != -1
        && n_bytes < 64 << 10
        && asked["max_tokens"].as_u64() < Some(1 << 30)
}

fn page(text: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())
}

/// The first line, whether the client wants the connection closed, and the body.
fn read_request(stream: &TcpStream) -> io::Result<(String, bool, Vec<u8>)> {
    let mut lines = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let fields: HashMap<_, _> = head.iter().filter_map(|line| line.split_once(": ")).collect();
    let n = fields.get("content-length").map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; n];
    lines.read_exact(&mut body)?;
    Ok((head[0].clone(), fields.get("connection") == Some(&"close"), body))
}

/// The data of the events of a stream that keeps every rule.
pub(super) fn good_stream(n_tokens: usize) -> Vec<String> {
    let chunk = |choices: &Json, usage: &Json| {
        json!({
            "id": "chat-1", "object": "chat.completion.chunk", "created": 1, "model": "fake",
            "choices": choices, "usage": usage,
        })
        .to_string()
    };
    let choice = |delta: Json, finish: Json| json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    let none = Json::Null;
    let mut events = vec![chunk(&choice(json!({ "role": "assistant", "content": "" }), json!(null)), &none)];
    let words = ["Once", " upon", " a \"time\"\n", " \u{e9}t\u{e9}", " \u{1f438}", "\\"];
    for i in 0..n_tokens {
        events.push(chunk(&choice(json!({ "content": words[i % words.len()] }), json!(null)), &none));
    }
    events.push(chunk(&choice(json!({}), json!("length")), &none));
    let usage = json!({ "prompt_tokens": 5, "completion_tokens": n_tokens, "total_tokens": 5 + n_tokens });
    events.push(chunk(&json!([]), &usage));
    events.push("[DONE]".into());
    events
}
