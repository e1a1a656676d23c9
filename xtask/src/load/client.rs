//! A good client: it asks, reads the whole stream and checks it.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::Result;
use super::ask::Ask;
use super::http::{self, Connection, Head};
use super::sse::Events;
use super::stream::{Checker, Seen, Usage};
use super::target::Target;

#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// Whole, with its text as JSON has it.
    Done(Usage, Arc<[u8]>),
    /// A right 429.
    Refused,
    /// Closed by the client.
    Cut,
}

pub(crate) struct Client<'a> {
    target: &'a Target,
    /// What the header says.
    connection: &'static str,
    open: Option<Connection>,
    /// When it gives up, whatever its target's patience.
    deadline: Option<Instant>,
}

/// When text came.
pub(super) struct Pace {
    begun: Instant,
    last: Option<Instant>,
}

impl<'a> Client<'a> {
    /// Keeps its connection from request to request.
    pub(super) fn new(target: &'a Target) -> Client<'a> {
        Client { target, connection: "keep-alive", open: None, deadline: None }
    }

    /// Takes a new connection for every request.
    pub(crate) fn of_single_requests(target: &'a Target) -> Client<'a> {
        Client { target, connection: "close", open: None, deadline: None }
    }

    /// The same, and gives up at `deadline`.
    pub(crate) fn until(target: &'a Target, deadline: Instant) -> Client<'a> {
        Client { deadline: Some(deadline), ..Client::of_single_requests(target) }
    }

    /// Streams an answer; `seen` hears of every event, with the bytes of text so far, and may close the connection. An
    /// error is what a server must not do.
    pub(super) fn chat(
        &mut self,
        ask: &Ask,
        mut seen: impl FnMut(Seen, usize, Instant) -> ControlFlow<()>,
    ) -> Result<Answer> {
        let (mut connection, head) = self.send("POST", CHAT, &ask.to_json(&self.target.model))?;
        let body = connection.body(&head).map_err(|e| explain(&e))?;
        if head.status != 200 {
            let text = body.text().map_err(|e| explain(&e))?;
            refusal(&head, &text)?;
            self.keep(connection, &head);
            return Ok(Answer::Refused);
        }
        let kind = head.header("content-type").unwrap_or_default();
        if !kind.starts_with("text/event-stream") {
            return Err(format!("the stream's content-type is `{kind}`"));
        }
        let mut events = Events::new(body);
        let mut checker = Checker::new(ask.max_tokens, ask.known.clone());
        while let Some(data) = events.next().map_err(|e| checker.explain(&explain(&e)))? {
            let now = Instant::now();
            let event = checker.event(data)?;
            if seen(event, checker.n_bytes(), now).is_break() {
                return Ok(Answer::Cut);
            }
        }
        let (usage, text) = checker.end()?;
        self.keep(connection, &head);
        Ok(Answer::Done(usage, text))
    }

    /// Streams an answer to its end.
    pub(super) fn whole(&mut self, ask: &Ask) -> Result<Answer> {
        self.chat(ask, |_, _, _| ControlFlow::Continue(()))
    }

    /// Asks and is gone before an answer.
    pub(super) fn hang_up(&mut self, ask: &Ask) -> Result<()> {
        let request = http::request("POST", CHAT, self.connection, &ask.to_json(&self.target.model));
        self.connect()?.send(&request).map_err(|e| explain(&e))
    }

    /// The body of a page that must be there.
    pub(crate) fn get(&mut self, path: &str) -> Result<String> {
        match self.exchange("GET", path, "")? {
            (200, text) => Ok(text),
            (status, text) => Err(format!("`{path}` has status {status}: {}", excerpt(&text))),
        }
    }

    /// A request's status and the text of its answer, whatever they are.
    pub(super) fn exchange(&mut self, method: &str, path: &str, body: &str) -> Result<(u16, String)> {
        let (mut connection, head) = self.send(method, path, body).map_err(|e| format!("`{path}`: {e}"))?;
        let text = connection.body(&head).and_then(http::Body::text).map_err(|e| explain(&e))?;
        self.keep(connection, &head);
        Ok((head.status, text))
    }

    /// Sends a request and reads the head of the response.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> Result<(Connection, Head)> {
        let request = http::request(method, path, self.connection, body);
        let mut connection = self.connect()?;
        if let Some(deadline) = self.deadline {
            connection.end_at(deadline);
        }
        // A refusal may come before all is sent: its words are worth more than the error.
        let sent = connection.send(&request);
        let head = connection.head().map_err(|e| explain(&sent.err().unwrap_or(e)))?;
        Ok((connection, head))
    }

    fn connect(&mut self) -> Result<Connection> {
        match self.open.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(self.target.address, self.target.patience)
                .map_err(|e| format!("cannot connect: {}", explain(&e))),
        }
    }

    fn keep(&mut self, connection: Connection, head: &Head) {
        self.open = Some(connection).filter(|_| head.keeps_alive() && self.connection == "keep-alive");
    }
}

pub(crate) const CHAT: &str = "/v1/chat/completions";

impl Pace {
    pub(super) fn start() -> Pace {
        Pace { begun: Instant::now(), last: None }
    }

    /// The first text's time since the request, or the time since the last text.
    pub(super) fn text(&mut self, now: Instant) -> (Beat, Duration) {
        match self.last.replace(now) {
            None => (Beat::First, now - self.begun),
            Some(last) => (Beat::Next, now - last),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Beat {
    First,
    Next,
}

/// Whether an answer that is no stream is a right 429.
fn refusal(head: &Head, text: &str) -> Result<()> {
    if head.status != 429 {
        return Err(format!("status {}: {}", head.status, excerpt(text)));
    }
    let after = head.header("retry-after");
    if after.and_then(|after| after.parse::<u32>().ok()).is_none() {
        return Err(format!("a 429 has {after:?} as Retry-After, not whole seconds"));
    }
    let body: Json = serde_json::from_str(text).unwrap_or_default();
    match body["error"]["message"].is_string() {
        true => Ok(()),
        false => Err(format!("a 429 has no OpenAI error body: {}", excerpt(text))),
    }
}

pub(crate) fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no byte came for the time of patience".into(),
        _ => error.to_string(),
    }
}

/// The start of a text, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    let mut excerpt = String::new();
    for c in text.chars().take(300) {
        match c.is_control() {
            true => excerpt.extend(c.escape_default()),
            false => excerpt.push(c),
        }
    }
    excerpt
}
