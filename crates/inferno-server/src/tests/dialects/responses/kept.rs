//! Responses that later requests name: conversations, retrieval, the background.

use std::io::BufRead;

use serde_json::{Value, json};

use super::{PATH, ask, assembled, get, start, stream, with};
use crate::keys::tests::named;
use crate::tests::harness::{Reply, Server};
use crate::{Role, Settings};

fn delete(server: &Server, id: &str) -> Reply {
    server.raw(format!("DELETE {PATH}/{id} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

fn cancel(server: &Server, id: &str) -> Reply {
    server.post(&format!("{PATH}/{id}/cancel"), &json!({}))
}

fn id(response: &Value) -> &str {
    response["id"].as_str().unwrap()
}

fn story(input: Value) -> Value {
    json!({ "input": input, "max_output_tokens": 6, "temperature": 0 })
}

#[test]
fn a_conversation_goes_on_from_a_response_as_from_its_items() {
    let server = start(Settings::default());
    let first =
        ask(&server, &with(story(json!("Tell me a story.")), &json!({ "instructions": "Be brief." })));
    let second = json!({ "input": "Go on.", "previous_response_id": id(&first) });
    let second = assembled(&stream(&server, &with(story(json!(null)), &second)));
    assert_eq!(second["previous_response_id"], first["id"]);
    let third = json!({ "input": "More.", "previous_response_id": id(&second) });
    let third = ask(&server, &with(story(json!(null)), &third));
    // By hand: instructions are those of the request alone.
    let mut items = vec![json!({ "role": "user", "content": "Tell me a story." })];
    items.extend(first["output"].as_array().unwrap().iter().cloned());
    items.push(json!({ "role": "user", "content": "Go on." }));
    items.extend(second["output"].as_array().unwrap().iter().cloned());
    items.push(json!({ "role": "user", "content": "More." }));
    let whole = ask(&server, &story(items.into()));
    assert_eq!(whole["usage"]["input_tokens"], third["usage"]["input_tokens"]);
    assert_eq!(super::plain(&whole), super::plain(&third));
    // By references to items.
    let referred = first["output"].as_array().unwrap().iter();
    let mut items: Vec<Value> =
        referred.map(|item| json!({ "type": "item_reference", "id": item["id"] })).collect();
    items.insert(0, json!({ "role": "user", "content": "Tell me a story." }));
    items.push(json!({ "role": "user", "content": "Go on." }));
    assert_eq!(super::plain(&ask(&server, &story(items.into()))), super::plain(&second));
}

#[test]
fn a_response_is_fetched_listed_and_deleted() {
    let server = start(Settings::default());
    let input =
        json!([{ "role": "developer", "content": "Be brief." }, { "role": "user", "content": "Hi." }]);
    let response = ask(&server, &story(input));
    assert_eq!(get(&server, id(&response)).json(), response);
    let items = get(&server, &format!("{}/input_items?order=asc", id(&response))).json();
    let roles: Vec<&str> =
        items["data"].as_array().unwrap().iter().map(|item| item["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["developer", "user"]);
    assert!(items["first_id"].as_str().unwrap().starts_with("msg_") && items["has_more"] == false);
    let wrong = get(&server, &format!("{}/input_items?limit=0", id(&response)));
    assert_eq!(wrong.error(), (400, "invalid_value".into(), "limit".into()));
    let foreground = cancel(&server, id(&response));
    assert_eq!(foreground.status, 400, "{}", foreground.text());
    let deleted = json!({ "id": response["id"], "object": "response", "deleted": true });
    assert_eq!(delete(&server, id(&response)).json(), deleted);
    let unstored = ask(&server, &with(story(json!("Hi.")), &json!({ "store": false })));
    for id in [id(&response), id(&unstored), "resp_x"] {
        let unknown = (404, "response_not_found".to_owned(), "null".to_owned());
        assert_eq!(get(&server, id).error(), unknown);
        assert_eq!(get(&server, &format!("{id}/input_items")).error(), unknown);
        assert_eq!(delete(&server, id).error(), unknown);
        assert_eq!(cancel(&server, id).error(), unknown);
    }
    // A stream is kept as it ended.
    let streamed = assembled(&stream(&server, &story(json!("Hi."))));
    assert_eq!(get(&server, id(&streamed)).json(), streamed);
}

#[test]
fn the_oldest_responses_go_first_and_keys_have_their_own() {
    let keys = vec![named("sk-a", "a", Role::User), named("sk-b", "b", Role::User)];
    let server = start(Settings { keys, responses: 2, ..Settings::default() });
    let post =
        |key: &str, body: &Value| server.post_with(PATH, &format!("Authorization: Bearer {key}\r\n"), body);
    let fetch = |key: &str, id: &str| {
        let head = format!("GET {PATH}/{id} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n");
        server.raw(head + "Connection: close\r\n\r\n").status
    };
    let all: Vec<Value> = (0..3).map(|_| post("sk-a", &story(json!("Hi."))).json()).collect();
    assert_eq!([0, 1, 2].map(|i: usize| fetch("sk-a", id(&all[i]))), [404, 200, 200]);
    assert_eq!(fetch("sk-b", id(&all[2])), 404);
    let body = with(story(json!("Hi.")), &json!({ "previous_response_id": id(&all[2]) }));
    assert_eq!(post("sk-b", &body).error().1, "previous_response_not_found");
    assert_eq!(post("sk-a", &body).status, 200);
}

#[test]
fn a_response_of_the_background_is_fetched_when_it_is_there() {
    let server = start(Settings::default());
    let expected = ask(&server, &story(json!("Tell me a story.")));
    let background = with(story(json!("Tell me a story.")), &json!({ "background": true }));
    let queued = ask(&server, &background);
    assert_eq!((&queued["status"], &queued["output"]), (&json!("queued"), &json!([])));
    server.wait_until(|server| get(server, id(&queued)).json()["status"] == expected["status"]);
    let done = get(&server, id(&queued)).json();
    assert_eq!((super::plain(&done), &done["background"]), (super::plain(&expected), &json!(true)));
    // It is too late to cancel it, and no error.
    assert_eq!(cancel(&server, id(&queued)).json(), done);
    server.faults.block(true);
    let (one, two) = (ask(&server, &background), ask(&server, &background));
    assert_eq!(get(&server, id(&one)).json()["status"], "in_progress");
    let next = with(story(json!("Go on.")), &json!({ "previous_response_id": id(&one) }));
    assert_eq!(server.post(PATH, &next).error().1, "previous_response_not_completed");
    assert_eq!(cancel(&server, id(&one)).json()["status"], "cancelled");
    assert_eq!(delete(&server, id(&two)).status, 200);
    server.faults.block(false);
    server.wait_until(Server::is_idle);
    assert_eq!(get(&server, id(&one)).json()["status"], "cancelled");
    assert_eq!(get(&server, id(&two)).status, 404);
}

#[test]
fn a_response_of_the_background_that_fails_says_so() {
    let server = start(Settings::default());
    server.faults.block(true);
    let body = with(story(json!("Hi.")), &json!({ "background": true }));
    let response = ask(&server, &body);
    server.wait_until(|server| {
        server.post(&format!("/admin/requests/{}/cancel", id(&response)), &json!({})).status == 200
    });
    server.faults.block(false);
    server.wait_until(|server| get(server, id(&response)).json()["status"] == "failed");
    assert_eq!(get(&server, id(&response)).json()["error"]["code"], "server_error");
    server.wait_until(Server::is_idle);
}

#[test]
fn tokens_are_counted_without_an_answer() {
    let server = start(Settings::default());
    let body = with(story(json!("Tell me a story.")), &json!({ "instructions": "Be brief." }));
    let counted = server.post(&format!("{PATH}/input_tokens"), &body).json();
    assert_eq!(counted["object"], "response.input_tokens");
    assert_eq!(counted["input_tokens"], ask(&server, &body)["usage"]["input_tokens"]);
}

#[test]
fn a_stream_of_the_background_is_followed_from_any_event() {
    let server = start(Settings::default());
    let body = with(story(json!("Tell me a story.")), &json!({ "background": true }));
    let events = stream(&server, &body);
    let response = assembled(&events);
    assert_eq!(get(&server, id(&response)).json(), response);
    for last in [0, 3, events.len() - 1, events.len() + 5] {
        let path = format!("{}?stream=true&starting_after={last}", id(&response));
        let found = super::events(&get(&server, &path).text());
        assert_eq!(found, events.get(last + 1..).unwrap_or_default(), "{last}");
    }
    let wrong = get(&server, &format!("{}?stream=true&starting_after=x", id(&response)));
    assert_eq!(wrong.error().2, "starting_after");
    // Its client may leave, and others may come before it has ended.
    *server.faults.delay.lock().unwrap() = std::time::Duration::from_millis(50);
    let mut reader = server.open_stream(PATH, &with(body, &json!({ "stream": true })));
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        assert!(reader.read_line(&mut line).unwrap() > 0);
    }
    let created: Value = serde_json::from_str(line.strip_prefix("data: ").unwrap()).unwrap();
    let id = created["response"]["id"].as_str().unwrap().to_owned();
    drop(reader);
    let followed = get(&server, &format!("{id}?stream=true")).text();
    let again = assembled(&super::events(&followed));
    assert_eq!((super::plain(&again), &again["id"]), (super::plain(&response), &json!(id)));
    // Others have no stream that is kept.
    let plain = ask(&server, &story(json!("Hi.")));
    let refused = get(&server, &format!("{}?stream=true", plain["id"].as_str().unwrap()));
    assert_eq!(refused.error(), (400, "unsupported_parameter".into(), "stream".into()));
}
