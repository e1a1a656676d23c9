//! F4 and F5: a step panics, because of one request or of none.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::super::harness::start;
use super::super::raw::check_well;
use super::{story, streamed, text_of, texts};
use crate::Settings;

/// Four stories, each of which begins with its own word.
fn bodies() -> Vec<Value> {
    ["Tom", "The dragon", "A cat", "Once"].map(|prompt| story(prompt, 24)).into()
}

fn tokens(server: &super::super::Server, text: &str) -> Vec<u64> {
    let reply = server.post("/tokenize", &json!({ "content": text })).json();
    reply["tokens"].as_array().unwrap().iter().map(|token| token.as_u64().unwrap()).collect()
}

#[test]
fn a_prompt_that_makes_the_model_panic_fails_alone() {
    let server = start(Settings::default());
    let bodies = bodies();
    let calm = texts(&server, &bodies);
    let poisonous = "zebra";
    let poison = tokens(&server, poisonous)[0];
    *server.faults.poison.lock().unwrap() = Some(poison as u32);
    let mut all = bodies.clone();
    all.insert(2, story(poisonous, 24));
    let mut found = texts(&server, &all);
    assert_eq!(found.remove(2), Err(500));
    assert_eq!(found, calm);
    // It is not tried again for a while.
    let again = server.post("/v1/completions", &story(poisonous, 24));
    assert_eq!(again.error(), (500, "internal_error".into(), "null".into()));
    assert_eq!(again.header("x-should-retry"), Some("false"));
    assert!(!again.text().contains("zebra"));
    let stream = server.post("/v1/completions", &streamed(story(poisonous, 24)));
    assert_eq!((stream.status, stream.header("x-should-retry")), (500, Some("false")));
    *server.faults.poison.lock().unwrap() = None;
    assert_eq!(texts(&server, &bodies), calm);
    assert_eq!(server.metric("inferno_healthy"), 1.0);
    check_well(&server);
}

#[test]
fn a_panic_in_the_middle_of_a_stream_ends_that_stream_with_an_error() {
    let server = start(Settings::default());
    let bodies = bodies();
    // A token that only one of them comes to, neither at its start nor at its end.
    let ids = |body: &Value| -> Vec<u64> {
        let mut body = body.clone();
        body["return_token_ids"] = true.into();
        let reply = server.post("/v1/completions", &body).json();
        let ids = reply["choices"][0]["token_ids"].as_array().unwrap().clone();
        ids.iter().map(|id| id.as_u64().unwrap()).collect()
    };
    let all: Vec<Vec<u64>> = bodies.iter().map(ids).collect();
    let elsewhere = |i: usize, id: &u64| {
        let others = all.iter().enumerate().filter(|(j, _)| *j != i).any(|(_, ids)| ids.contains(id));
        others || ["Tom", "The dragon", "A cat", "Once"].iter().any(|p| tokens(&server, p).contains(id))
    };
    let culprit = (0..all.len()).find_map(|i| {
        let at = (4..20).find(|&at| !elsewhere(i, &all[i][at]) && !all[i][..at].contains(&all[i][at]))?;
        Some((i, at))
    });
    let (culprit, at) = culprit.expect("the stories differ");
    let calm = texts(&server, &bodies);
    *server.faults.poison.lock().unwrap() = Some(all[culprit][at] as u32);
    let replies: Vec<_> = std::thread::scope(|scope| {
        let ask = |body: &Value| server.post("/v1/completions", &streamed(body.clone()));
        let asked: Vec<_> = bodies.iter().map(|body| scope.spawn(move || ask(body))).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (i, reply) in replies.iter().enumerate() {
        let events = reply.events();
        let last = events.last().unwrap();
        assert_eq!(reply.status, 200);
        if i == culprit {
            assert_eq!(last["error"]["code"], "internal_error", "{last}");
            assert_eq!(events.iter().filter(|event| *event == "[DONE]").count(), 0);
            let begun = text_of(&events);
            assert!(calm[i].as_ref().unwrap().starts_with(&begun) && !begun.is_empty(), "{begun}");
        } else {
            assert_eq!(last, "[DONE]");
            assert_eq!(calm[i].as_ref(), Ok(&text_of(&events)));
        }
    }
    *server.faults.poison.lock().unwrap() = None;
    check_well(&server);
}

#[test]
fn a_panic_that_nobody_is_to_blame_for_fails_nobody() {
    let server = start(Settings::default());
    let bodies = bodies();
    let calm = texts(&server, &bodies);
    for _ in 0..3 {
        server.faults.panic_once.store(true, Ordering::Relaxed);
        assert_eq!(texts(&server, &bodies), calm);
        assert!(!server.faults.panic_once.load(Ordering::Relaxed));
    }
    assert!(server.metric("inferno_engine_restarts_total") >= 3.0);
    check_well(&server);
}
