//! A check at work: requests to the server, and the ways in which a check ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use serde_json::Value;

use crate::exchange::{Answer, Broken, End, Request, Transport};
use crate::shape;

/// End of a check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The rule is broken; `part` is the place of the answer that shows it.
    Failed { why: String, part: Option<String> },
    /// The server says that it has no such route or feature.
    NotOffered(String),
    /// Nothing could be told.
    Skipped(String),
}

impl Stop {
    pub(crate) fn failed(why: impl Into<String>) -> Stop {
        Stop::Failed { why: why.into(), part: None }
    }

    pub(crate) fn skipped(why: impl Into<String>) -> Stop {
        Stop::Skipped(why.into())
    }

    /// The same with the part of the answer that shows it, unless one is named already.
    pub(crate) fn at(self, shown: impl std::fmt::Display) -> Stop {
        match self {
            Stop::Failed { why, part: None } => Stop::Failed { why, part: Some(shown.to_string()) },
            other => other,
        }
    }
}

impl From<Broken> for Stop {
    fn from(broken: Broken) -> Stop {
        Stop::failed(broken.to_string())
    }
}

pub(crate) type Verdict = Result<(), Stop>;

/// Ends a check as failed unless the condition holds.
macro_rules! demand {
    ($condition:expr, $($message:tt)+) => {
        let holds: bool = $condition;
        if !holds {
            return Err($crate::probe::Stop::failed(format!($($message)+)));
        }
    };
}
pub(crate) use demand;

/// An exchange as reports show it.
pub(crate) type Shown = (Request, Option<Rc<Answer>>);

/// A server, and answers to requests that several checks look at.
pub(crate) struct Probe<'a> {
    transport: &'a dyn Transport,
    /// Name of the model to ask for.
    pub(crate) model: String,
    /// Requests at once in checks of load.
    pub(crate) concurrency: usize,
    /// A key was given, so that a wrong one can be tried.
    pub(crate) has_key: bool,
    remembered: RefCell<HashMap<Request, Result<Rc<Answer>, Broken>>>,
    last: RefCell<Option<Shown>>,
    late: Cell<usize>,
    is_lost: Cell<bool>,
}

impl<'a> Probe<'a> {
    pub(crate) fn new(
        transport: &'a dyn Transport,
        model: String,
        concurrency: usize,
        has_key: bool,
    ) -> Probe<'a> {
        Probe {
            transport,
            model,
            concurrency,
            has_key,
            remembered: RefCell::default(),
            last: RefCell::default(),
            late: Cell::default(),
            is_lost: Cell::default(),
        }
    }

    /// The answer to a request that any check may have sent before.
    pub(crate) fn ask(&self, request: Request) -> Result<Rc<Answer>, Stop> {
        let known = self.remembered.borrow().get(&request).cloned();
        let answer = known.unwrap_or_else(|| {
            let answer = self.send(&request);
            self.remembered.borrow_mut().insert(request.clone(), answer.clone());
            answer
        });
        *self.last.borrow_mut() = Some((request, answer.as_ref().ok().cloned()));
        Ok(answer?)
    }

    /// The answer to a request that is sent now.
    pub(crate) fn ask_again(&self, request: Request) -> Result<Rc<Answer>, Stop> {
        let answer = self.send(&request);
        *self.last.borrow_mut() = Some((request, answer.as_ref().ok().cloned()));
        Ok(answer?)
    }

    fn send(&self, request: &Request) -> Result<Rc<Answer>, Broken> {
        let answer = self.transport.send(request);
        let is_late = match &answer {
            Ok(answer) => answer.end == End::TimedOut,
            Err(broken) => matches!(broken, Broken::TimedOut(_)),
        };
        self.is_lost.set(matches!(answer, Err(Broken::Unreachable(_))));
        self.late.set(if is_late { self.late.get() + 1 } else { 0 });
        answer.map(Rc::new)
    }

    /// Requests in a row, up to the last, whose time was over.
    pub(crate) fn n_late(&self) -> usize {
        self.late.get()
    }

    /// The last request found no server.
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.get()
    }

    pub(crate) fn get(&self, path: &str) -> Result<Rc<Answer>, Stop> {
        self.ask(Request::get(path))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Result<Rc<Answer>, Stop> {
        self.ask(Request::post(path, body))
    }

    /// Answers to requests that are sent at once, each on a thread of its own.
    pub(crate) fn ask_together(&self, requests: &[Request]) -> Vec<Result<Answer, Broken>> {
        std::thread::scope(|scope| {
            let transport = self.transport;
            let sent: Vec<_> =
                requests.iter().map(|request| scope.spawn(move || transport.send(request))).collect();
            let answers = sent.into_iter().map(|thread| thread.join());
            answers.map(|answer| answer.unwrap_or(Err(Broken::Garbage("the client failed".into())))).collect()
        })
    }

    /// Makes an exchange the one that a failure shows.
    pub(crate) fn show(&self, request: Request, answer: Answer) {
        *self.last.borrow_mut() = Some((request, Some(Rc::new(answer))));
    }

    /// The exchange that a failure shows.
    pub(crate) fn take_last(&self) -> Option<Shown> {
        self.last.borrow_mut().take()
    }
}

impl Answer {
    /// All of it came.
    pub(crate) fn complete(&self) -> Verdict {
        match &self.end {
            End::Whole | End::Left => Ok(()),
            End::Broken(why) => Err(Stop::failed(format!("the connection broke within the answer: {why}"))),
            End::TimedOut => Err(Stop::failed("the answer did not end in time (`--timeout`)")),
            End::TooLong => Err(Stop::failed("the answer has more than 16 MiB and no end")),
        }
    }

    /// A success that came as a whole.
    pub(crate) fn ok(&self) -> Result<&Answer, Stop> {
        self.complete()?;
        match self.status {
            200..=299 => Ok(self),
            501 => Err(Stop::NotOffered(format!("501: {}", self.message()))),
            status => Err(Stop::failed(format!("a valid request is answered {status}: {}", self.message()))),
        }
    }

    /// The route is there.
    pub(crate) fn offered(&self) -> Result<&Answer, Stop> {
        match self.status {
            404 | 405 | 501 => Err(Stop::NotOffered(format!("{}: {}", self.status, self.message()))),
            _ => Ok(self),
        }
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Result<Value, Stop> {
        self.complete()?;
        serde_json::from_slice(&self.body).map_err(|e| Stop::failed(format!("the body is not JSON: {e}")))
    }

    /// The body of a success.
    pub(crate) fn answered(&self) -> Result<Value, Stop> {
        self.ok()?.json()
    }

    /// A success whose body has a shape, see [`shape`].
    pub(crate) fn shaped(&self, name: &str) -> Result<Value, Stop> {
        let json = self.ok()?.json()?;
        fits(name, &json)?;
        Ok(json)
    }

    /// An error of the client's, and its status one of these.
    pub(crate) fn refused(&self, statuses: &[u16]) -> Verdict {
        self.complete()?;
        let list: Vec<String> = statuses.iter().map(u16::to_string).collect();
        let list = list.join(" or ");
        match self.status {
            200..=299 => Err(Stop::failed(format!("the request is accepted, expected {list}"))),
            status if statuses.contains(&status) => Ok(()),
            status => Err(Stop::failed(format!("status {status}, expected {list}"))),
        }
    }

    /// The message of an error, or the start of the body.
    pub(crate) fn message(&self) -> String {
        let json = serde_json::from_slice::<Value>(&self.body).unwrap_or_default();
        let error = &json["error"];
        let message = error["message"].as_str().or(error.as_str()).or(json["message"].as_str());
        let message = message.map_or_else(|| self.text(), Into::into);
        cut(&message, 200)
    }
}

/// A value has a shape, see [`shape`].
pub(crate) fn fits(name: &str, value: &Value) -> Verdict {
    shape::check(name, value).map_err(|why| Stop::failed(why).at(value))
}

/// The start of a text, at most `n` characters.
pub(crate) fn cut(text: &str, n: usize) -> String {
    match text.char_indices().nth(n) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}
