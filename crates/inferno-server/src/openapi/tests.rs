use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::fields::{FORMS, Kind};
use super::operations::OPERATIONS;
use super::*;
use crate::chat::Chat;
use crate::completion::Completion;
use crate::dialect::native::{Infills, NativeDialect, Plain};
use crate::dialect::ollama::{AboutModel, Chats, Generates, Route};
use crate::dialect::{ChatDialect, CompletionDialect, MessagesDialect, Reads};
use crate::fields::{Fields, Seen};
use crate::ollama::names_of_copy;
use crate::responses::Asked;
use crate::resume::looked_up;
use crate::tests::{app, app_as};
use crate::tokens::{self, Tokenized};

/// Methods by path, of the router; `any` for all of them.
fn routes() -> BTreeMap<String, BTreeSet<String>> {
    let (_engine, app) = app();
    let shown = format!("{:?}", crate::routes::router(&app));
    // A router shows its routes by number, and the paths of numbers at its end.
    let (routes, paths) = shown.split_once("Node { paths: {").unwrap();
    let mut by_number = BTreeMap::new();
    for entry in paths.split("RouteId(").skip(1) {
        let (number, rest) = entry.split_once(')').unwrap();
        let Some(path) = rest.strip_prefix(": \"").and_then(|rest| rest.split('"').next()) else { break };
        by_number.insert(number.to_owned(), path.to_owned());
    }
    let mut found = BTreeMap::<String, BTreeSet<String>>::new();
    for entry in routes.split("RouteId(").skip(1) {
        let (number, rest) = entry.split_once(')').unwrap();
        let methods = ["get", "post", "put", "delete", "patch"].into_iter();
        let has = |method: &&str| {
            let shown = rest.split(&format!("{method}: ")).nth(1);
            shown.is_some_and(|shown| !shown.starts_with("None"))
        };
        let mut methods: BTreeSet<String> = methods.filter(has).map(str::to_owned).collect();
        if rest.contains("allow_header: Skip") {
            methods.insert("any".to_owned());
        }
        found.entry(by_number[number].clone()).or_default().extend(methods);
    }
    // Routes that tests add.
    let of_tests = ["/test/", "/tests.html", "/page/tests.js", "/page/report"];
    found.retain(|path, _| !of_tests.iter().any(|own| path.starts_with(own)));
    found
}

#[test]
fn every_route_is_described_and_every_description_has_its_route() {
    let routes = routes();
    assert!(routes.len() > 40 && routes["/v1/models"].contains("get"), "{routes:?}");
    let mut described = BTreeMap::<String, BTreeSet<String>>::new();
    for operation in OPERATIONS {
        let is_new =
            described.entry(operation.path.to_owned()).or_default().insert(operation.method.to_owned());
        assert!(is_new, "{} {} is there twice", operation.method, operation.path);
    }
    for (path, methods) in &routes {
        let Some(own) = described.remove(path) else {
            panic!("`{path}` is a route without an entry in `operations.rs`")
        };
        assert!(
            methods.contains("any") || own == *methods,
            "{path}: {own:?} are described, {methods:?} are there"
        );
    }
    assert!(described.is_empty(), "entries without a route: {described:?}");
}

#[test]
fn references_lead_somewhere_and_every_schema_is_used() {
    let document = document("");
    let shown = document.to_string();
    for form in FORMS {
        assert!(
            shown.contains(&format!("#/components/schemas/{}\"", form.name)),
            "{} is not used",
            form.name
        );
    }
    for reference in shown.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let mut ids: Vec<&str> = Vec::new();
    for (path, entry) in document["paths"].as_object().unwrap() {
        for (method, operation) in entry.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(!ids.contains(&id), "{method} {path}: {id} is there twice");
            ids.push(id);
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()));
        }
    }
    assert_eq!(super::document("/llm")["servers"][0]["url"], "/llm");
}

/// Fields that `read` takes out of the bodies, and what it takes them as.
fn seen(bodies: &[Value], read: impl Fn(Map<String, Value>) -> bool) -> BTreeMap<String, Seen> {
    let (all, ok) =
        crate::fields::recorded(|| bodies.iter().all(|body| read(body.as_object().unwrap().clone())));
    assert!(ok, "a body is refused");
    all
}

/// Compares a body with the fields that its parser takes.
#[track_caller]
fn compare(form: &str, seen: &BTreeMap<String, Seen>) {
    compare_beside(form, seen, &BTreeMap::new());
}

/// The same of a parser that leaves fields to that of another body: these may be listed, and need not be.
#[track_caller]
fn compare_beside(form: &str, seen: &BTreeMap<String, Seen>, beyond: &BTreeMap<String, Seen>) {
    let form = FORMS.iter().find(|other| other.name == form).unwrap();
    let mut listed = BTreeMap::new();
    for (names, kind, _) in form.tables.iter().copied().flatten() {
        for name in *names {
            listed.insert((*name).to_owned(), *kind);
        }
    }
    let names = |all: Vec<&String>| all.into_iter().cloned().collect::<BTreeSet<String>>();
    let (read, told) = (names(seen.keys().collect()), names(listed.keys().collect()));
    let unread: Vec<&String> = told.difference(&read).filter(|name| !beyond.contains_key(*name)).collect();
    let untold: Vec<&String> = read.difference(&told).collect();
    assert!(
        unread.is_empty() && untold.is_empty(),
        "{}: not read {unread:?}, not listed {untold:?}",
        form.name
    );
    let left = beyond.iter().filter(|(name, _)| told.contains(*name) && !read.contains(*name));
    for (name, seen) in seen.iter().chain(left) {
        let is_same = match (*seen, listed[name]) {
            (Seen::Number(from, to), Kind::Number(x, y)) => (from, to) == (x, y),
            (Seen::Integer(from, to), Kind::Integer(x, y)) => (from, to) == (x, y),
            (Seen::Boolean, Kind::Boolean) | (Seen::Text, Kind::Text) => true,
            (Seen::Object, Kind::Object) | (Seen::Tokens, Kind::Tokens) => true,
            (Seen::Other, _) => true,
            _ => false,
        };
        assert!(is_same, "{}: `{name}` is read as {seen:?} and listed as {:?}", form.name, listed[name]);
    }
}

#[test]
fn fields_of_requests_are_those_that_the_parsers_read() {
    let (_engine, app) = app();
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let chats = [json!({ "messages": messages }), json!({ "messages": messages, "stream": true })];
    compare("Chat", &seen(&chats, |body| Chat::read(body, &app).is_ok()));
    let prompts = [json!({ "prompt": "Hi" }), json!({ "prompt": "Hi", "stream": true })];
    compare("Completion", &seen(&prompts, |body| Completion::read(body, &app).is_ok()));
    assert!(
        <CompletionDialect as Reads<Completion>>::read(prompts[0].as_object().unwrap().clone(), &app).is_ok()
    );
    assert!(<ChatDialect as Reads<Chat>>::read(chats[0].as_object().unwrap().clone(), &app).is_ok());
    let native = seen(&prompts, |body| NativeDialect::<Plain>::read(body, &app).is_ok());
    compare("NativeCompletion", &native);
    let caller = app.keyring.caller(&hyper::HeaderMap::new()).unwrap();
    let inputs = [json!({ "input": "Hi" }), json!({ "input": "Hi", "stream": true })];
    compare("Response", &seen(&inputs, |body| Asked::read(body, &caller, &app).is_ok()));
    let (_engine, filling) = app_as(|metadata| {
        for (key, id) in [("fim_pre", 0), ("fim_suf", 1), ("fim_mid", 2)] {
            metadata.set(format!("tokenizer.ggml.{key}_token_id"), inferno_format::Value::U32(id));
        }
    });
    let gap = json!({ "input_prefix": "a", "input_suffix": "b" });
    let gaps = [gap.clone(), json!({ "input_prefix": "a", "input_suffix": "b", "stream": true })];
    compare("Infill", &seen(&gaps, |body| NativeDialect::<Infills>::read(body, &filling).is_ok()));
    assert!(NativeDialect::<Infills>::read(gap.as_object().unwrap().clone(), &app).is_err());
}

#[test]
fn fields_of_prompts_are_those_that_the_parsers_read() {
    let (_engine, app) = app();
    let chat = json!({ "messages": [{ "role": "user", "content": "Hi" }] });
    let texts = [json!({ "content": "Hi" }), json!({ "prompt": "Hi" }), chat.clone()];
    compare("Tokenize", &seen(&texts, |body| Tokenized::read(body, &app).is_ok()));
    compare("Prompt", &seen(&[chat], |body| tokens::conversation(body, &app).is_ok()));
    compare("Detokenize", &seen(&[json!({ "tokens": [1] })], |body| tokens::ids(body, &app).is_ok()));
}

#[test]
fn fields_of_other_apis_are_those_that_their_parsers_read_or_leave_to_chats() {
    let (_engine, app) = app();
    let messages = json!([{ "role": "user", "content": "Hi" }]);
    let chat = seen(&[json!({ "messages": messages })], |body| Chat::read(body, &app).is_ok());
    let asked = [json!({ "messages": messages, "max_tokens": 1 })];
    compare_beside("Messages", &seen(&asked, |body| MessagesDialect::is_readable(body, &app)), &chat);
    let counted = [json!({ "messages": messages })];
    let conversation = seen(&counted, |body| MessagesDialect::counted(body, &app).is_ok());
    let read = seen(&counted, |body| MessagesDialect::is_countable(body, &app));
    compare_beside("CountedMessages", &read, &conversation);
    let chats = [json!({ "messages": messages })];
    compare_beside("OllamaChat", &seen(&chats, |body| Chats::chat(Fields::new(body)).is_ok()), &chat);
    let prompts = [json!({ "prompt": "Hi" })];
    compare_beside(
        "OllamaGenerate",
        &seen(&prompts, |body| Generates::chat(Fields::new(body)).is_ok()),
        &chat,
    );
}

#[test]
fn fields_of_requests_without_a_prompt_are_those_that_their_parsers_read() {
    compare("OllamaModel", &seen(&[json!({ "model": "ember" })], |body| AboutModel::read(body).is_ok()));
    let copy = json!({ "source": "ember", "destination": "coal" });
    compare("OllamaCopy", &seen(&[copy], |body| names_of_copy(body).is_ok()));
    let lookup = json!({ "conversation_ids": ["a"] });
    compare("StreamLookup", &seen(&[lookup], |body| looked_up(body).is_ok()));
}

/// The file in `docs/api`. `INFERNO_UPDATE=1` writes it.
#[test]
fn the_file_of_the_documentation_is_the_one_that_is_served() {
    let path = xtask::testing::root().join("docs/api/openapi.json");
    let text = serde_json::to_string_pretty(&document("")).unwrap() + "\n";
    if std::env::var_os("INFERNO_UPDATE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let file = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(file == text, "`docs/api/openapi.json` is stale: run this test with INFERNO_UPDATE=1");
}

#[test]
fn the_document_is_served() {
    let server = crate::tests::start(crate::Settings::default());
    let reply = server.get("/openapi.json");
    assert_eq!((reply.status, reply.json()), (200, document("")));
}
