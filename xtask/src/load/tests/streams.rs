use std::sync::Arc;
use std::time::Duration;

use xtask::testing::Random;

use crate::load::ask::Ask;
use crate::load::client::{Answer, Client};
use crate::load::fake::{Behaviour, Fake, Framing, REFUSAL, good_stream};
use crate::load::frame::Frame;
use crate::load::stream::{Checker, Seen, Usage};

fn check(events: &[String], max_tokens: usize) -> Result<Usage, String> {
    Ok(text_checked(events, max_tokens, None)?.0)
}

type Checked = (Usage, Arc<[u8]>);

fn text_checked(events: &[String], max_tokens: usize, known: Option<Arc<[u8]>>) -> Result<Checked, String> {
    let mut checker = Checker::new(max_tokens, known);
    for event in events {
        checker.event(event.as_bytes())?;
    }
    checker.end()
}

fn chat(behaviour: Behaviour) -> Result<Answer, String> {
    let fake = Fake::start(behaviour);
    let target = fake.target();
    Client::new(&target).whole(&ask())
}

fn ask() -> Ask {
    Ask::chat(&mut Random(1), 8)
}

#[test]
fn a_good_stream_keeps_all_rules() {
    for n in [1, 2, 50] {
        let expected = Usage { prompt: 5, completion: n as u64 };
        assert_eq!(check(&good_stream(n), n), Ok(expected));
    }
    let mut early = good_stream(3);
    early[4] = early[4].replace("\"length\"", "\"stop\"");
    assert!(check(&early, 4).is_ok());
    let text = |seen: &Seen| *seen == Seen::Text;
    let mut checker = Checker::new(7, None);
    let seen: Vec<Seen> = good_stream(7).iter().map(|e| checker.event(e.as_bytes()).unwrap()).collect();
    assert_eq!(seen.iter().filter(|seen| text(seen)).count(), 7);
    assert!(!text(&seen[0]) && text(&seen[1]) && seen[10] == Seen::Done, "{seen:?}");
}

#[test]
fn a_stream_that_breaks_a_rule_is_told_with_the_rule() {
    // The stream: 0 role, 1 to 8 text, 9 finish_reason, 10 usage, 11 [DONE].
    type Fault = fn(&mut Vec<String>);
    let faults: [(Fault, &str); 31] = [
        (|e| e[5].truncate(40), "a chunk is not JSON"),
        (|e| e[3] = e[3].replace("a \\\"time", "a \"time"), "a chunk is not JSON"),
        (|e| e[6] = e[0].clone(), "the role came again"),
        (|e| e[1] = e[0].clone(), "the role came again"),
        (|e| drop(e.remove(0)), "the first delta has no role"),
        (|e| e[0] = e[0].replace("assistant", "user"), "the role is \"user\""),
        (|e| drop(e.pop()), "the stream ended without `[DONE]`"),
        (|e| e.truncate(4), "the stream ended without `[DONE]`"),
        (|e| e.clear(), "the stream ended without `[DONE]`"),
        (|e| drop(e.remove(9)), "a chunk without a choice came before the `finish_reason`"),
        (|e| drop(e.drain(9..11)), "`[DONE]` came without a `finish_reason` before"),
        (|e| drop(e.remove(10)), "`[DONE]` came without a chunk with `usage` before"),
        (|e| e.push("[DONE]".into()), "an event came after `[DONE]`"),
        (|e| e.push(e[3].clone()), "an event came after `[DONE]`"),
        (|e| e.insert(10, e[9].clone()), "a choice came after the `finish_reason`"),
        (|e| e.insert(10, e[3].clone()), "a choice came after the `finish_reason`"),
        (|e| e.insert(11, e[10].clone()), "the usage came again"),
        (|e| e[9] = e[9].replace("\"length\"", "\"tired\""), "the `finish_reason` is \"tired\""),
        (|e| e[9] = e[9].replace("\"length\"", "7"), "the `finish_reason` is 7"),
        (|e| e[4] = e[4].replace("chat-1", "chat-2"), "the id was `chat-1` and is now `chat-2`"),
        (|e| e[0] = e[0].replace("\"id\":\"chat-1\",", ""), "a chunk has no `id`"),
        (|e| e[4] = e[4].replace("completion.chunk", "completion"), "a chunk's `object` is not"),
        (|e| e[4] = e[4].replace("\"index\":0", "\"index\":1"), "the only choice has not the index 0"),
        (|e| e[4] = e[4].replace("\"content\":\"", "\"content\":7,\"x\":\""), "`content` is not text"),
        (|e| e[4] = "{\"error\":{\"message\":\"out of luck\"}}".into(), "the server reports an error"),
        (|e| e[4] = e[4].replace("\"usage\":null", "\"usage\":{}"), "a chunk has both a choice and `usage`"),
        (|e| e[10] = e[10].replace("completion_tokens", "tokens"), "the usage has no `completion_tokens`"),
        (|e| e[10] = e[10].replace("13", "14"), "5 + 8 tokens are not 14"),
        (|e| e[10] = e[10].replace("8,", "9,").replace("13", "14"), "`max_tokens` is 8, and there are 9"),
        (|e| e[10] = e[10].replace("8,", "7,").replace("13", "12"), "is `length` after 7 of 8 tokens"),
        (
            |e| {
                e[9] = e[9].replace("\"length\"", "\"stop\"");
                e[10] = e[10].replace("8,", "6,").replace("13", "11");
            },
            "6 tokens came as 8 pieces of text",
        ),
    ];
    for (fault, expected) in faults {
        let mut events = good_stream(8);
        fault(&mut events);
        let error = check(&events, 8).expect_err(expected);
        assert!(error.starts_with(expected) || error.contains(expected), "{expected}: {error}");
    }
}

#[test]
fn a_text_is_compared_with_the_one_that_is_known() {
    let (usage, text) = text_checked(&good_stream(8), 8, None).unwrap();
    assert_eq!(String::from_utf8_lossy(&text), r#"Once upon a \"time\"\n été 🐸\\Once upon"#);
    let with = |known: &str| text_checked(&good_stream(8), 8, Some(known.as_bytes().into()));
    let known = String::from_utf8(text.to_vec()).unwrap();
    assert_eq!(with(&known), Ok((usage, text)));
    // The pieces may be others.
    let mut joined = good_stream(8);
    joined[3] = joined[3].replace(" a ", " upon a ");
    joined.remove(2);
    assert!(text_checked(&joined, 8, Some(known.as_bytes().into())).is_ok());
    for (other, expected) in [
        (
            known.replace("upon a", "upon b"),
            r#"another text than alone: ` a \"time\"\n` at byte 9, not ` b \"time\"\n`"#,
        ),
        (format!("{known}!"), "another text than alone: it ends at byte 44 of 45"),
        (known[..known.len() - 1].to_owned(), "another text than alone: ` upon` at byte 39, not ` upo`"),
    ] {
        let error = with(&other).unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn an_error_shows_the_last_events() {
    let mut events = good_stream(8);
    events[6] = "{\"id\"\u{1}".repeat(100);
    let error = check(&events, 8).unwrap_err();
    let lines: Vec<&str> = error.lines().collect();
    assert!(
        lines[0].starts_with("a chunk is not JSON: ") && lines[0].ends_with("events: 7, with text: 5"),
        "{error}"
    );
    assert!(lines[1].starts_with("    5: data: {") && lines[3].starts_with("    7: data: {"), "{error}");
    assert!(lines.len() == 4 && lines[3].len() < 1000, "{error}");
}

#[test]
fn a_frame_fits_what_differs_in_text_alone() {
    let event = |text: &str| format!("{{\"a\":1,\"content\":\"{text}\"}}");
    let frame = Frame::of(event("abc").as_bytes(), "abc").unwrap();
    let len = |event: &str| frame.text(event.as_bytes()).map(<[u8]>::len);
    assert_eq!(len(&event("")), Some(0));
    assert_eq!(len(&event("\u{e9}\\n\\\"")), Some(6));
    for other in ["\\u00e9", "\\x", "\u{1}", "a\"", "a\\", "a\",\"b\":\""] {
        assert_eq!(len(&event(other)), None, "{other:?}");
    }
    assert_eq!(len(&event("abc").replace('1', "2")), None);
    assert_eq!(len(&(event("abc") + "}")), None);
    let bad: Vec<u8> = event("ab?").bytes().map(|b| if b == b'?' { 0xff } else { b }).collect();
    assert_eq!(frame.text(&bad), None);
    assert_eq!(Frame::of(event("a\\n").as_bytes(), "a\n"), None);
    assert_eq!(Frame::of(b"{\"content\":\"no\",\"delta\":{\"content\":\"yes\"}}", "yes"), None);
}

#[test]
fn a_stream_is_read_however_its_body_is_framed() {
    let text = text_checked(&good_stream(8), 8, None).unwrap().1;
    let done = Answer::Done(Usage { prompt: 5, completion: 8 }, text);
    for framing in [Framing::Chunked, Framing::Length, Framing::UntilClose] {
        assert_eq!(chat(Behaviour { framing, ..Behaviour::default() }).as_ref(), Ok(&done));
    }
    let error = chat(Behaviour { framing: Framing::Torn, ..Behaviour::default() }).unwrap_err();
    assert!(
        error.contains("the connection ended within a body") && error.contains("12: data: [DONE]"),
        "{error}"
    );
}

#[test]
fn a_connection_serves_many_requests_unless_it_is_for_one() {
    let fake = Fake::start(Behaviour::default());
    let target = fake.target();
    let mut client = Client::new(&target);
    for _ in 0..5 {
        assert!(matches!(client.whole(&ask()), Ok(Answer::Done(..))));
    }
    assert_eq!(fake.n_connections(), 1);
    let mut client = Client::of_single_requests(&target);
    for _ in 0..5 {
        assert!(matches!(client.whole(&ask()), Ok(Answer::Done(..))));
    }
    assert_eq!(fake.n_connections(), 6);
}

#[test]
fn a_faulty_stream_fails_over_a_socket_too() {
    let fault = |fault| chat(Behaviour { fault, ..Behaviour::default() }).unwrap_err();
    assert!(fault(|e| drop(e.pop())).starts_with("the stream ended without `[DONE]`"));
    assert!(fault(|e| e[0] = "a\n\nb".into()).starts_with("a chunk is not JSON"));
    assert!(fault(|e| e[2] = "{}\n\nevil".into()).contains("a chunk's `object`"));
    assert!(fault(|e| e[2] = format!("{}\n\nevil", e[2])).starts_with("`evil` is not a line of an event"));
}

#[test]
fn a_refusal_must_say_when_to_come_back() {
    let refused = |refusal: String| chat(Behaviour { n_sequences: 0, refusal, ..Behaviour::default() });
    assert_eq!(refused(REFUSAL.into()), Ok(Answer::Refused));
    for (from, to, expected) in [
        ("retry-after: 1\r\n", "", "a 429 has None as Retry-After"),
        ("after: 1\r\n", "after: 1.5\r\n", "a 429 has Some(\"1.5\") as Retry-After"),
        ("\"message\"", "\"massage\"", "a 429 has no OpenAI error body: {"),
        ("429 Too Many Requests", "503 Service Unavailable", "status 503: {"),
        ("HTTP/1.1 ", "SPDY ", "`SPDY 429 Too Many Requests` is not a status line"),
        ("39", "40", "the connection ended within a body"),
    ] {
        // A client that waits for one byte more must not wait for long.
        let refusal =
            REFUSAL.replace(from, to).replace("content-length", "connection: close\r\ncontent-length");
        let error = match to {
            "40" => short_refusal(&refusal),
            _ => refused(refusal).unwrap_err(),
        };
        assert!(error.starts_with(expected), "{expected}: {error}");
    }
}

/// Sends it and ends the connection.
fn short_refusal(refusal: &str) -> String {
    let behaviour = Behaviour { n_sequences: 0, refusal: refusal.into(), ..Behaviour::default() };
    let fake = Fake::start(behaviour);
    let target = fake.target();
    Client::of_single_requests(&target).whole(&ask()).unwrap_err()
}

#[test]
fn a_silent_server_ends_the_patience() {
    let fake = Fake::start(Behaviour { token: Duration::from_secs(1), ..Behaviour::default() });
    let mut target = fake.target();
    target.patience = Duration::from_millis(100);
    let error = Client::new(&target).whole(&ask()).unwrap_err();
    assert!(error.starts_with("no byte came for the time of patience"), "{error}");
}
