//! Every parameter at its limits, beyond them, and as something else: what is taken, and what exactly is said to the rest.

use serde_json::{Value, json};

use super::harness::Server;
use super::start;
use crate::Settings;

mod limits;
mod pairs;
mod table;
mod unknown;

const CHAT: &str = "/v1/chat/completions";
const TEXT: &str = "/v1/completions";

/// A request that is fine, and short.
fn base(path: &str) -> Value {
    match path {
        CHAT => json!({
            "messages": [{ "role": "user", "content": "" }], "add_generation_prompt": false, "max_tokens": 1,
        }),
        _ => json!({ "prompt": "Once", "max_tokens": 1 }),
    }
}

/// The same with other members; null takes one away.
fn with(path: &str, members: &Value) -> Value {
    let mut body = base(path);
    let object = body.as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        object.insert(name.clone(), value.clone());
    }
    body
}

#[track_caller]
fn check_taken(server: &Server, path: &str, members: &Value) {
    let reply = server.post(path, &with(path, members));
    assert_eq!(reply.status, 200, "{path} {members}: {}", reply.text());
}

/// It is 400, and says so much.
#[track_caller]
fn check_refused(server: &Server, path: &str, members: &Value, code: &str, param: &str, words: &str) {
    let reply = server.post(path, &with(path, members));
    let found = reply.error();
    assert_eq!(found, (400, code.into(), param.into()), "{path} {members}: {}", reply.text());
    let message = &reply.json()["error"]["message"];
    assert!(message.as_str().unwrap().contains(words), "{path} {members}: {message}, without {words:?}");
    assert_eq!(reply.json()["error"]["type"], "invalid_request_error");
}

#[test]
fn a_parameter_is_taken_in_its_range_and_refused_outside_with_the_range() {
    let server = start(Settings::default());
    let mut nulls = json!({ "max_completion_tokens": 1 });
    for (path, names, taken, refused, expected) in table::rows() {
        let paths: &[&str] = if path.is_empty() { &[CHAT, TEXT] } else { &[path] };
        for &path in paths {
            for name in names.split(' ') {
                nulls[name] = Value::Null;
                for value in &taken {
                    // Without any number of tokens a chat goes on to its end.
                    let mut members = json!({ "max_completion_tokens": 1 });
                    members[name] = value.clone();
                    check_taken(&server, path, &members);
                }
                for value in &refused {
                    let members = json!({ name: value });
                    let words = format!(", expected {expected}");
                    check_refused(&server, path, &members, "invalid_value", name, &words);
                }
            }
        }
    }
    // Null is as good as nothing. It is never the only number of tokens.
    nulls["max_completion_tokens"] = json!(1);
    let mut other = nulls.clone();
    (other["max_completion_tokens"], other["max_tokens"]) = (Value::Null, json!(1));
    for members in [nulls, other] {
        check_taken(&server, CHAT, &members);
        check_taken(&server, TEXT, &members);
    }
    server.wait_until(Server::is_idle);
}
