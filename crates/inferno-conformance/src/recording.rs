//! Answers of a server, noted and given again: for tests of the checks, and for reports that others look into.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::exchange::{Answer, Broken, Request, Transport};

/// Answers to one request, in the order in which they came.
type Answers = Vec<Result<Answer, Broken>>;

/// A transport around another that notes every answer.
pub struct Recording<'a> {
    inner: &'a dyn Transport,
    noted: Mutex<HashMap<Request, Answers>>,
}

impl std::fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").finish_non_exhaustive()
    }
}

impl<'a> Recording<'a> {
    /// Notes the answers of `inner`.
    pub fn new(inner: &'a dyn Transport) -> Recording<'a> {
        Recording { inner, noted: Mutex::default() }
    }

    /// All answers so far.
    pub fn into_replay(self) -> Replay {
        let noted = self.noted.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        Replay { noted, asked: Mutex::default() }
    }
}

impl Transport for Recording<'_> {
    fn send(&self, request: &Request) -> Result<Answer, Broken> {
        let answer = self.inner.send(request);
        let mut noted = self.noted.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        noted.entry(request.clone()).or_default().push(answer.clone());
        answer
    }
}

/// Noted answers: a request that was sent several times has its answers in turn. Others are 404.
#[derive(Debug, Default)]
pub struct Replay {
    noted: HashMap<Request, Answers>,
    asked: Mutex<HashMap<Request, usize>>,
}

impl Replay {
    /// The same answers, each changed by `edit`, which is given the request and how often it was sent before.
    #[must_use]
    pub fn edited(&self, mut edit: impl FnMut(&Request, usize, &mut Answer)) -> Replay {
        let mut noted = self.noted.clone();
        for (request, answers) in &mut noted {
            for (i, answer) in answers.iter_mut().enumerate() {
                if let Ok(answer) = answer {
                    edit(request, i, answer);
                }
            }
        }
        Replay { noted, asked: Mutex::default() }
    }

    /// Number of requests that differ.
    pub fn n_requests(&self) -> usize {
        self.noted.len()
    }
}

impl Transport for Replay {
    fn send(&self, request: &Request) -> Result<Answer, Broken> {
        let Some(answers) = self.noted.get(request) else {
            let body = json!({ "error": { "message": "not recorded", "type": "not_found_error" } });
            return Ok(Answer {
                status: 404,
                headers: vec![("content-type".into(), "application/json".into())],
                body: Value::to_string(&body).into_bytes(),
                pieces: Vec::new(),
                end: crate::exchange::End::Whole,
            });
        };
        let mut asked = self.asked.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let n = asked.entry(request.clone()).or_default();
        *n += 1;
        answers[(*n - 1) % answers.len()].clone()
    }
}
