//! Arithmetic on made-up figures, and clients against a fake server.

mod clients;
mod reports;

use std::time::{Duration, Instant};

use super::burst::{Answered, Heard};
use super::chat::{Answer, Question, Seen};
use super::flood::Flood;

fn question(n_tokens: usize) -> Question {
    Question { system: None, user: "the dog".into(), n_tokens }
}

/// Milliseconds after `start`: when it began, its first token, its end.
fn heard(start: Instant, times: [u64; 3], tokens: u64) -> Heard {
    let at = |ms| start + Duration::from_millis(ms);
    let first = Duration::from_millis(times[1] - times[0]);
    let answer = Ok(Answer::Done(Seen { first, prompt: 5, tokens }));
    Heard { begun: at(times[0]), ended: at(times[2]), answer }
}

fn refused(start: Instant, begun: u64, ended: u64) -> Heard {
    Heard { answer: Ok(Answer::Refused), ..heard(start, [begun, begun, ended], 0) }
}

#[test]
fn the_rate_of_a_burst_counts_from_the_first_request_to_the_last_byte() {
    let start = Instant::now();
    let all = [
        heard(start, [0, 100, 900], 64),
        heard(start, [10, 310, 2000], 64),
        heard(start, [5, 205, 1500], 64),
    ];
    let answered = Answered::of(&all, 64).unwrap();
    assert_eq!(answered.tokens_per_s(), 96.0);
    assert_eq!((answered.first.p50, answered.first.max), (200.0, 300.0));
}

#[test]
fn a_burst_of_which_an_answer_is_missing_has_no_figures() {
    let start = Instant::now();
    let error = |second| Answered::of(&[heard(start, [0, 1, 2], 64), second], 64).unwrap_err();
    assert_eq!(error(heard(start, [0, 1, 2], 63)), "an answer has 63 of 64 tokens");
    assert_eq!(error(refused(start, 0, 1)), "a request was refused");
    let failed = Heard { answer: Err("it broke".into()), ..refused(start, 0, 1) };
    assert_eq!(error(failed), "it broke");
}

#[test]
fn what_ends_behind_the_window_is_served_but_not_done() {
    let start = Instant::now();
    let failed = Heard { answer: Err("late".into()), ..refused(start, 0, 20_000) };
    let all = [
        heard(start, [0, 100, 1000], 32),
        heard(start, [0, 300, 2000], 32),
        heard(start, [1900, 2100, 2001], 32),
        refused(start, 0, 3),
        refused(start, 500, 507),
        failed,
        refused(start, 0, 4),
        refused(start, 0, 5),
    ];
    let flood = Flood::of(&all, start, 2.0);
    assert_eq!((flood.done_per_s, flood.tokens_per_s), (1.0, 32.0));
    assert_eq!((flood.refused, flood.failed), (0.5, 0.125));
    assert_eq!((flood.refusals.n, flood.refusals.p99), (4, 7.0));
    assert_eq!((flood.first.n, flood.first.p50, flood.first.p99), (3, 200.0, 300.0));
    assert_eq!(flood.failure.as_deref(), Some("late"));
}
