use std::net::TcpListener;
use std::time::{Duration, Instant};

use xtask::testing::Random;

use super::question;
use crate::load::arrivals::Arrivals;
use crate::load::fake::{Behaviour, Fake, REFUSAL};
use crate::load::target::Target;
use crate::versus::burst::{Answered, burst};
use crate::versus::chat::{Answer, chat};
use crate::versus::flood;
use crate::versus::speech::Speech;

fn ask(behaviour: Behaviour) -> Result<Answer, String> {
    let fake = Fake::start(behaviour);
    chat(&fake.target(), &question(4), Instant::now() + Duration::from_secs(5))
}

/// What `llama-server` sends: a role without text, no `usage` but at the end, there with more beside it.
fn as_llama_server(events: &mut Vec<String>) {
    *events = [
        r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]}"#,
        r#"{"choices":[{"finish_reason":null,"index":0,"delta":{"content":"a"}}]}"#,
        r#"{"choices":[{"finish_reason":"length","index":0,"delta":{}}]}"#,
        r#"{"choices":[],"usage":{"completion_tokens":3,"prompt_tokens":7,"total_tokens":10},"timings":{}}"#,
        "[DONE]",
    ]
    .map(String::from)
    .into();
}

#[test]
fn tokens_are_what_the_usage_says_and_the_first_comes_with_the_first_text() {
    let token = Duration::from_millis(20);
    for (fault, n, prompt, tokens, n_before) in
        [((|_| {}) as fn(&mut Vec<String>), 7, 5, 4, 2), (as_llama_server, 5, 7, 3, 2)]
    {
        let begun = Instant::now();
        let answer = ask(Behaviour { token, fault, ..Behaviour::default() }).unwrap();
        let Answer::Done(seen) = answer else { panic!("{answer:?}") };
        assert_eq!((seen.prompt, seen.tokens), (prompt, tokens));
        assert!(seen.first >= n_before * token, "{seen:?}");
        assert!(seen.first + (n - n_before - 1) * token <= begun.elapsed(), "{seen:?}");
    }
}

#[test]
fn refusals_are_told_from_failures() {
    let refusal = |status: &str| REFUSAL.replace("429 Too Many Requests", status);
    let answer = |status| ask(Behaviour { n_sequences: 0, refusal: refusal(status), ..Behaviour::default() });
    assert_eq!(answer("429 Too Many Requests"), Ok(Answer::Refused));
    assert_eq!(answer("503 Service Unavailable"), Ok(Answer::Refused));
    let error = answer("500 Internal Server Error").unwrap_err();
    assert!(error.starts_with("status 500: "), "{error}");
}

#[test]
fn a_stream_that_reports_an_error_or_no_usage_fails() {
    let error = |fault| ask(Behaviour { fault, ..Behaviour::default() }).unwrap_err();
    let reported = error(|events| events.insert(3, r#"{"error":{"message":"no memory"}}"#.into()));
    assert!(reported.contains("no memory"), "{reported}");
    assert_eq!(
        error(|events| events.retain(|event| !event.contains("_tokens"))),
        "the stream ended without `usage`"
    );
}

#[test]
fn a_client_closes_at_its_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let slow = Fake::start(Behaviour { token: Duration::from_millis(50), ..Behaviour::default() });
    for target in [Target::of_test(silent.local_addr().unwrap()), slow.target()] {
        let begun = Instant::now();
        // The whole answer takes 5 s, as does the target's patience.
        let outcome = chat(&target, &question(100), begun + Duration::from_millis(200));
        assert!(outcome.is_err(), "{outcome:?}");
        let took = begun.elapsed();
        assert!((200..3000).contains(&took.as_millis()), "{took:?}");
    }
}

#[test]
fn the_questions_of_a_burst_are_asked_together() {
    let fake = Fake::start(Behaviour { token: Duration::from_millis(20), ..Behaviour::default() });
    let questions = vec![question(16); 24];
    let heard = burst(&fake.target(), &questions, Duration::from_secs(30)).unwrap();
    let last_begun = heard.iter().map(|heard| heard.begun).max().unwrap();
    assert!(heard.iter().all(|heard| heard.ended > last_begun), "nobody ended before all had begun");
    assert_eq!(Answered::of(&heard, 16).unwrap().tokens, 24 * 16);
}

#[test]
fn a_flood_counts_what_is_done_and_what_is_refused() {
    let token = Duration::from_millis(20);
    let fake = Fake::start(Behaviour { n_sequences: 4, token, ..Behaviour::default() });
    let flood = flood::at_once(&fake.target(), &vec![question(32); 16]).unwrap();
    assert_eq!((flood.refused, flood.failed), (0.75, 0.0));
    assert_eq!((flood.first.n, flood.refusals.n), (4, 12));
    assert!(flood.tokens_per_s > 0.0 && flood.tokens_per_s <= 4.0 * 32.0 / 0.64, "{flood:?}");
    let open = flood::stream(&fake.target(), |_| question(32), 100.0, 1.0).unwrap();
    assert_eq!(open.first.n + open.refusals.n, 100);
    assert!(open.refusals.n > 50, "{open:?}");
}

#[test]
fn arrivals_come_at_their_times() {
    let start = Instant::now();
    let arrivals = Arrivals::new(start, 100.0);
    for i in 0..5 {
        assert_eq!(arrivals.wait(), start + Duration::from_millis(10 * i));
        assert!(start.elapsed() >= Duration::from_millis(10 * i));
    }
}

#[test]
fn a_text_has_about_the_tokens_that_are_asked_for() {
    let speech = Speech::of_test(1.25);
    assert_eq!(speech.text(&mut Random(1), 100).split(' ').count(), 80);
    assert_ne!(speech.text(&mut Random(1), 100), speech.text(&mut Random(2), 100));
}
