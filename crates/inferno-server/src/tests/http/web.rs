//! Web pages: which of them may ask, and by which name.

use super::super::harness::start;
use super::super::raw::{Error, Fine, check, get, talk};
use super::case;
use crate::Settings;

#[test]
fn the_server_answers_to_its_own_names_only() {
    let server = start(Settings { allowed_hosts: vec!["llm.example".into()], ..Settings::default() });
    let hosts = |hosts: &str| format!("GET /v1/models HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n");
    let foreign = Error(421, "host_not_allowed");
    check(
        &server,
        vec![
            case("localhost", &hosts("Host: localhost:8080\r\n"), Fine(200)),
            case("an address", &hosts("Host: 127.0.0.1:8080\r\n"), Fine(200)),
            case("an address of six", &hosts("Host: [::1]:8080\r\n"), Fine(200)),
            case("invited", &hosts("Host: LLM.example\r\n"), Fine(200)),
            case("foreign", &hosts("Host: evil.example\r\n"), foreign.clone()),
            case("foreign below ours", &hosts("Host: llm.example.evil.example\r\n"), foreign.clone()),
            case("foreign with our name before", &hosts("Host: localhost@evil.example\r\n"), foreign.clone()),
            case("none", &hosts(""), Error(400, "")),
            case("empty", &hosts("Host: \r\n"), Error(400, "")),
            case("no name", &hosts("Host: a b\r\n"), Error(400, "")),
            case("twice", &hosts("Host: localhost\r\nHost: localhost\r\n"), Error(400, "")),
            case("twice, one foreign", &hosts("Host: localhost\r\nHost: evil.example\r\n"), Error(400, "")),
            case(
                "foreign in the first line",
                "GET http://evil.example/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                foreign,
            ),
            case(
                "ours in the first line",
                "GET http://localhost/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
                Fine(200),
            ),
        ],
    );
}

#[test]
fn pages_must_be_invited() {
    let settings = Settings { cors_origins: vec!["https://chat.example".into()], ..Settings::default() };
    let server = start(settings);
    let origin = |origin: &str| get("/v1/models", &format!("Origin: {origin}\r\n"));
    let foreign = Error(403, "origin_not_allowed");
    check(
        &server,
        vec![
            ("invited", origin("https://chat.example"), Fine(200)),
            ("its own", origin("http://localhost"), Fine(200)),
            ("foreign", origin("https://evil.example"), foreign.clone()),
            ("another scheme", origin("http://chat.example"), foreign.clone()),
            ("another port", origin("https://chat.example:444"), foreign.clone()),
            ("a file", origin("null"), foreign.clone()),
            ("one that begins so", origin("https://chat.example.evil.example"), foreign),
            // A page of a stranger may send this without asking first.
            (
                "a form's",
                b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\nContent-Type: text/plain\r\n\
                  Content-Length: 15\r\nConnection: close\r\n\r\n{\"content\":\"a\"}"
                    .to_vec(),
                Error(403, "origin_not_allowed"),
            ),
        ],
    );
    let invited = talk(&server, &origin("https://chat.example")).unwrap();
    assert_eq!(invited.header("access-control-allow-origin"), Some("https://chat.example"));
}

#[test]
fn a_preflight_says_who_may_ask() {
    let preflight = |origin: &str| {
        format!(
            "OPTIONS /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization,content-type\r\n\
             Connection: close\r\n\r\n"
        )
        .into_bytes()
    };
    // Keys are asked for later: a preflight has none.
    let key = crate::keys::tests::named("k", "k", crate::Role::User);
    let closed = start(Settings { keys: vec![key.clone()], ..Settings::default() });
    let refused = talk(&closed, &preflight("https://chat.example")).unwrap();
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("access-control-allow-origin"), None);
    for origins in [vec!["*".to_owned()], vec!["https://chat.example".to_owned()]] {
        let settings =
            Settings { keys: vec![key.clone()], cors_origins: origins.clone(), ..Settings::default() };
        let open = start(settings);
        let allowed = talk(&open, &preflight("https://chat.example")).unwrap();
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.header("access-control-allow-origin"), Some(origins[0].as_str()));
        assert!(allowed.header("access-control-allow-methods").unwrap().contains("POST"));
        let headers = allowed.header("access-control-allow-headers").unwrap();
        assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
        let without_key = talk(&open, &get("/v1/models", "Origin: https://chat.example\r\n")).unwrap();
        assert_eq!(without_key.status, 401);
        assert_eq!(without_key.header("access-control-allow-origin"), Some(origins[0].as_str()));
    }
}
