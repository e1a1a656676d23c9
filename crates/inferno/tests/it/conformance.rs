//! `inferno conformance`: this program's server passes, each check can fail, and no server hangs or crashes the tool.

mod chat;
mod completions;
mod edits;
mod hostile;
mod messages;
mod native;
mod ollama;
mod responses;

use std::collections::{HashMap, HashSet};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use inferno_conformance::{
    Answer, Broken, Check, Http, Outcome, Recording, Replay, Request, Row, Settings, Transport, checks, run,
};
use serde_json::{Value, json};

use crate::inferno;

/// A key of the server, so that a wrong one is refused.
const KEY: &str = "sk-conformance";

/// An exchange that a fault may change.
struct Asked {
    path: String,
    /// Null where it is no JSON, "NUL" where it has a NUL byte, and "huge" where it is more than [`HUGE_BYTES`].
    body: Value,
    /// The same request was sent so often before.
    i: usize,
    has_wrong_key: bool,
}

/// Bodies of more bytes are not looked into.
const HUGE_BYTES: usize = 4 << 20;

/// A check, a change of answers that breaks its rule, and further checks that cannot but see it.
struct Fault {
    check: &'static str,
    edit: fn(&Asked, &mut Answer),
    also: &'static [&'static str],
}

const fn fault(check: &'static str, edit: fn(&Asked, &mut Answer)) -> Fault {
    Fault { check, edit, also: &[] }
}

/// Features that the server, or its built-in model, does not have.
const NOT_OFFERED: [&str; 2] = ["ollama.embed", "native.infill"];

#[test]
fn this_server_passes_and_each_check_finds_its_fault() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    // The metrics are for admins.
    command.args(["serve", "--port", "0", "--admin-key", KEY]);
    let served = crate::serve::listening(command);
    let server =
        Http::new(&format!("http://{}/v1/", served.address), Some(KEY), Duration::from_secs(60)).unwrap();
    let recording = Recording::new(&server);
    let settings = Settings { has_key: true, ..Settings::default() };
    let report = run(&recording, &settings, |_| {}).unwrap();
    let is_known =
        |row: &Row| NOT_OFFERED.contains(&row.name) && matches!(row.outcome, Outcome::NotOffered(_));
    let is_bad = |row: &&Row| row.outcome != Outcome::Passed && !is_known(row);
    let bad: Vec<_> = report.rows.iter().filter(is_bad).collect();
    let shown: Vec<String> = bad
        .iter()
        .map(|row| format!("{}: {:?} {}", row.name, row.outcome, row.excerpt(400).unwrap_or_default()))
        .collect();
    assert!(bad.is_empty(), "{}", shown.join("\n"));
    drop(served);

    let replay = recording.into_replay();
    let again = run(&replay, &settings, |_| {}).unwrap();
    assert_eq!(again.count("passed"), report.count("passed"), "the recording is not what the server said");
    let tables = [
        chat::FAULTS,
        completions::FAULTS,
        responses::FAULTS,
        messages::FAULTS,
        ollama::FAULTS,
        native::FAULTS,
    ];
    let all = settings.checks();
    let is_chosen = |fault: &&Fault| all.iter().any(|check| check.name == fault.check);
    let faults: Vec<&Fault> = tables.into_iter().flatten().filter(is_chosen).collect();
    let requests = requests(&replay, &settings);
    let missed = |fault: &&Fault| missed(fault, &replay, &requests, &settings);
    let wrong: Vec<String> = faults.iter().filter_map(missed).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let has_none = |check: &&Check| !faults.iter().any(|fault| fault.check == check.name);
    let without: Vec<&str> = all.iter().filter(has_none).map(|check| check.name).collect();
    assert!(without.is_empty(), "no fault for {}", without.join(", "));
}

/// Notes which requests are sent.
struct Tracked<'a> {
    replay: &'a Replay,
    sent: Mutex<HashSet<Request>>,
}

impl Transport for Tracked<'_> {
    fn send(&self, request: &Request) -> Result<Answer, Broken> {
        self.sent.lock().unwrap().insert(request.clone());
        self.replay.send(request)
    }
}

/// Checks with the requests that each sends.
type Requests = HashMap<&'static str, HashSet<Request>>;

fn requests(replay: &Replay, settings: &Settings) -> Requests {
    let of = |check: &Check| {
        let tracked = Tracked { replay, sent: Mutex::default() };
        run(&tracked, &Settings { only: vec![check.name.into()], ..settings.clone() }, |_| {}).unwrap();
        (check.name, tracked.sent.into_inner().unwrap())
    };
    settings.checks().iter().map(of).collect()
}

/// Checks that fail differ from those that should, and how. Checks that see no changed answer are left out.
fn missed(fault: &Fault, replay: &Replay, requests: &Requests, settings: &Settings) -> Option<String> {
    let mut edited = HashSet::new();
    let broken = replay.edited(|request, i, answer| {
        let body = match request.body.as_deref() {
            Some(body) if body.len() > HUGE_BYTES => json!("huge"),
            Some(body) if body.contains(&0) => json!("NUL"),
            _ => request.json().unwrap_or_default(),
        };
        let asked = Asked { path: request.path.clone(), body, i, has_wrong_key: request.has_wrong_key };
        let before = answer.clone();
        (fault.edit)(&asked, answer);
        if *answer != before {
            edited.insert(request.clone());
        }
    });
    let first = fault.check.split('.').next();
    let sees = |check: &&Check| {
        // Other dialects may ask for the same, and are compared with it.
        check.name.split('.').next() == first && !requests[check.name].is_disjoint(&edited)
    };
    let only: Vec<String> = settings.checks().iter().filter(sees).map(|check| check.name.into()).collect();
    if only.is_empty() {
        return Some(format!("{}: no answer is changed", fault.check));
    }
    let report = run(&broken, &Settings { only, ..settings.clone() }, |_| {}).unwrap();
    let is_failed = |row: &&Row| matches!(row.outcome, Outcome::Failed(_));
    let mut failed: Vec<&str> = report.rows.iter().filter(is_failed).map(|row| row.name).collect();
    failed.sort_unstable();
    let mut expected = vec![fault.check];
    expected.extend(fault.also);
    expected.sort_unstable();
    let whys: Vec<&str> = report.rows.iter().filter_map(|row| row.outcome.why()).collect();
    (failed != expected).then(|| format!("{}: {failed:?} fail: {whys:?}", fault.check))
}

#[test]
fn the_list_names_every_check() {
    let list = inferno(&["conformance", "--list"]).ok();
    for check in checks() {
        assert!(list.contains(check.name), "{}", check.name);
        assert!(!check.loses.is_empty() && !check.source.is_empty(), "{}", check.name);
    }
    let chosen = inferno(&["conformance", "--list", "--only", "chat.stream", "--dialect", "chat"]).ok();
    assert!(chosen.contains("chat.stream.done") && !chosen.contains("chat.error"));
    assert!(inferno(&["conformance", "--list", "--only", "chat.strea"]).error().contains("--list"));
}
