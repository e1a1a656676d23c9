//! Keys: who may ask, how much, and whose cache is whose.

use serde_json::{Value, json};

use super::harness::{Reply, Server, start};
use super::raw::check_well;
use crate::keys::tests::named;
use crate::{Key, KeyLimits, Role, Settings};

fn key(secret: &str, is_admin: bool, limits: Option<KeyLimits>) -> Key {
    let role = if is_admin { Role::Admin } else { Role::User };
    Key { limits, ..named(secret, &format!("{secret}'s name"), role) }
}

fn bearer(key: &str) -> String {
    format!("Authorization: Bearer {key}\r\n")
}

fn get(server: &Server, path: &str, headers: &str) -> Reply {
    server.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
}

fn ask(max_tokens: usize) -> Value {
    json!({ "prompt": "Once upon a time there was a dragon. ".repeat(5), "max_tokens": max_tokens })
}

#[test]
fn tokens_from_the_cache_do_not_count_against_a_key() {
    let open = start(Settings::default());
    assert_eq!(open.post("/v1/completions", &ask(4)).status, 200);
    let usage = open.post("/v1/completions", &ask(4)).json()["usage"].clone();
    let [n_prompt, n_cached] = ["/prompt_tokens", "/prompt_tokens_details/cached_tokens"]
        .map(|at| usage.pointer(at).and_then(Value::as_u64).unwrap());
    assert!(n_cached >= 32, "{usage}");
    // Enough for two requests only if the second is cheaper.
    let limits = KeyLimits { tokens: Some(2 * (n_prompt + 4) - n_cached / 2), ..KeyLimits::default() };
    let keys = vec![key("sk-a", false, Some(limits))];
    let server = start(Settings { keys, ..Settings::default() });
    for _ in 0..3 {
        assert_eq!(server.post_with("/v1/completions", &bearer("sk-a"), &ask(4)).status, 200);
    }
}

#[test]
fn every_route_but_health_needs_a_key() {
    let server = start(Settings { keys: vec![key("sk-a", false, None)], ..Settings::default() });
    let closed = [
        "/v1/models",
        "/models",
        "/v1/models/ember",
        "/metrics",
        "/version",
        "/server_info",
        "/v1/loads",
        "/admin/requests",
        "/nowhere",
        "/v1/chat/completions",
        "/tokenizer_info",
        "/metrics/",
        "/server_info/",
        "/healthx",
        "//health",
    ];
    for path in closed {
        let reply = get(&server, path, "");
        assert_eq!(reply.error(), (401, "invalid_api_key".into(), "null".into()), "{path}");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
    for path in ["/", "/health", "/health/", "/healthz", "/live", "/livez", "/ready", "/readyz", "/ping"] {
        assert_eq!(get(&server, path, "").status, 200, "{path}");
    }
    for path in ["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize", "/apply-template"] {
        assert_eq!(server.post(path, &json!({})).status, 401, "{path}");
    }
    let wrong = [
        bearer("sk-b"),
        bearer("sk-"),
        bearer("sk-aa"),
        bearer(""),
        "Authorization: sk-a\r\n".into(),
        "Authorization: Basic sk-a\r\n".into(),
        "X-Api-Key: sk-b\r\n".into(),
        "Authorization: Bearer \u{e4}\r\n".into(),
        "Cookie: key=sk-a\r\n".into(),
    ];
    for headers in wrong {
        assert_eq!(get(&server, "/v1/models", &headers).status, 401, "{headers}");
    }
    for headers in [bearer("sk-a"), "authorization: bearer sk-a\r\n".into(), "x-api-key: sk-a\r\n".into()] {
        assert_eq!(get(&server, "/v1/models", &headers).status, 200, "{headers}");
    }
    // A key in the path is none, and no error repeats it.
    assert!(!get(&server, "/v1/models?key=sk-a", "").text().contains("sk-a"));
}

#[test]
fn operators_have_keys_of_their_own() {
    let keys = vec![key("sk-a", false, None), key("sk-admin", true, None)];
    let server = start(Settings { keys, ..Settings::default() });
    for path in ["/admin/requests", "/v1/loads", "/server_info"] {
        assert_eq!(get(&server, path, &bearer("sk-a")).error(), (403, "admin_only".into(), "null".into()));
        let reply = get(&server, path, &bearer("sk-admin"));
        assert_eq!(reply.status, 200);
        assert!(!reply.text().contains("sk-"), "{}", reply.text());
    }
    let reset = "POST /admin/reset_prefix_cache HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
    assert_eq!(server.raw(format!("{reset}{}\r\n", bearer("sk-a"))).status, 403);
    assert_eq!(server.raw(format!("{reset}{}\r\n", bearer("sk-admin"))).status, 200);
    // Without keys it is the machine itself, but not whoever comes through a proxy on it.
    let server = start(Settings::default());
    assert_eq!(get(&server, "/v1/loads", "").status, 200);
    for forwarded in ["X-Forwarded-For: 1.2.3.4\r\n", "Forwarded: for=1.2.3.4\r\n"] {
        assert_eq!(get(&server, "/v1/loads", forwarded).status, 403);
    }
}

#[test]
fn a_key_has_so_many_requests_at_once() {
    let limits = KeyLimits { concurrent: Some(2), ..KeyLimits::default() };
    let keys = vec![key("sk-a", false, Some(limits)), key("sk-b", false, None), key("sk-admin", true, None)];
    let server = start(Settings { keys, ..Settings::default() });
    server.faults.block(true);
    let requests = |n: usize| {
        server.wait_until(|server| get(server, "/v1/loads", &bearer("sk-admin")).json()["requests"] == n);
    };
    let open = |key: &str| {
        let mut stream = server.connect();
        let request = super::harness::post("/v1/completions", &bearer(key), &ask(1));
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        stream
    };
    let first = open("sk-a");
    requests(1);
    let second = open("sk-a");
    requests(2);
    let third = server.post_with("/v1/completions", &bearer("sk-a"), &ask(1));
    assert_eq!(third.error(), (429, "rate_limit_exceeded".into(), "null".into()));
    assert_eq!(third.header("retry-after"), Some("1"));
    assert!(!third.text().contains("sk-a\"") && third.text().contains("sk-a's name"), "{}", third.text());
    let other = open("sk-b");
    requests(3);
    server.faults.block(false);
    for stream in [first, second, other] {
        assert_eq!(super::raw::reply(stream).unwrap().status, 200);
    }
    requests(0);
    assert_eq!(server.post_with("/v1/completions", &bearer("sk-a"), &ask(1)).status, 200);
}

#[test]
fn a_key_has_so_many_requests_and_tokens_a_minute() {
    let requests = KeyLimits { requests: Some(3), ..KeyLimits::default() };
    let tokens = KeyLimits { tokens: Some(40), ..KeyLimits::default() };
    let keys = vec![key("sk-r", false, Some(requests)), key("sk-t", false, None)];
    let server = start(Settings { keys, key_limits: tokens, ..Settings::default() });
    let ask = |key: &str| server.post_with("/v1/completions", &bearer(key), &ask(4));
    let statuses: Vec<u16> = (0..4).map(|_| ask("sk-r").status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    let wait: u64 = ask("sk-r").header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    // The first may have more than is left, the next waits until it is paid for.
    assert_eq!(ask("sk-t").status, 200);
    let refused = ask("sk-t");
    assert_eq!(refused.error().0, 429);
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() > 1);
    // What is wrong costs nothing.
    let wrong = server.post_with("/v1/completions", &bearer("sk-t"), &json!({ "prompt": 1 }));
    assert_eq!(wrong.status, 400);
}

fn cached(reply: &Reply) -> u64 {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap()
}

#[test]
fn keys_see_nothing_of_the_cache_of_others() {
    let keys = vec![key("sk-a", false, None), key("sk-b", false, None)];
    for share_cache in [false, true] {
        let server = start(Settings { keys: keys.clone(), share_cache, ..Settings::default() });
        let ask = |key: &str, salt: &str| {
            let mut body = ask(1);
            if !salt.is_empty() {
                body["cache_salt"] = salt.into();
            }
            cached(&server.post_with("/v1/completions", &bearer(key), &body))
        };
        assert_eq!(ask("sk-a", ""), 0);
        assert!(ask("sk-a", "") > 0);
        assert_eq!(ask("sk-b", "") > 0, share_cache);
        // A salt parts what one key asks.
        assert_eq!(ask("sk-a", "x"), 0);
        assert!(ask("sk-a", "x") > 0);
        assert_eq!(ask("sk-a", "y"), 0);
        assert_eq!(ask("sk-b", "x") > 0, share_cache);
        check_idle(&server);
    }
    let server = start(Settings::default());
    assert_eq!(cached(&server.post("/v1/completions", &ask(1))), 0);
    assert!(cached(&server.post("/v1/completions", &ask(1))) > 0);
    check_well(&server);
}

fn check_idle(server: &Server) {
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn an_answer_says_what_was_cached_and_why_not_more() {
    let server = start(Settings::default());
    let ask = || {
        let mut body = ask(1);
        body["prompt"] = body["prompt"].as_str().unwrap().repeat(2).into();
        body
    };
    let first = server.post("/v1/completions", &ask()).json();
    let second = server.post("/v1/completions", &ask()).json();
    let n = second["usage"]["prompt_tokens"].as_u64().unwrap();
    assert_eq!(first["prefix_cache"]["cached_tokens"], 0, "{first}");
    assert_eq!(first["prefix_cache"]["reason"], "nothing_cached", "{first}");
    assert_eq!(second["prefix_cache"]["cached_tokens"], (n - 1) / 32 * 32, "{second}");
    assert_eq!(second["prefix_cache"]["reason"], "whole", "{second}");
    let mut other = ask();
    let prompt = format!(
        "{}{}",
        &other["prompt"].as_str().unwrap()[..180],
        "Tom and Sam went to the park. ".repeat(6)
    );
    other["prompt"] = prompt.as_str().into();
    let differs = server.post("/v1/completions", &other).json();
    let miss = &differs["prefix_cache"];
    assert_eq!(miss["reason"], "differs", "{differs}");
    // It shows the asker's own words, from where they differ.
    assert!(
        miss["token_index"].as_u64() > Some(0) && prompt.contains(miss["text"].as_str().unwrap()),
        "{miss}"
    );
    // Another salt is nobody else's business: it reads as if nobody had asked before.
    let mut salted = ask();
    salted["cache_salt"] = "z".into();
    let third = server.post("/v1/completions", &salted).json();
    assert_eq!(third["prefix_cache"], first["prefix_cache"]);
}

#[test]
fn a_header_with_a_key_is_there_once() {
    for keys in [vec![], vec![key("sk-a", false, None), key("sk-b", false, None)]] {
        let server = start(Settings { keys, ..Settings::default() });
        let status = |headers: &str| get(&server, "/v1/models", headers).status;
        assert_eq!(status(&format!("{}{}", bearer("sk-a"), bearer("sk-b"))), 400);
        assert_eq!(status(&format!("{}{}", bearer("sk-a"), bearer("sk-a"))), 400);
        assert_eq!(status("x-api-key: sk-a\r\nX-API-Key: sk-a\r\n"), 400);
        assert_eq!(status(&format!("{}x-api-key: sk-b\r\n", bearer("sk-a"))), 400);
        assert_eq!(status(&format!("{}x-api-key: sk-a\r\n", bearer("sk-a"))), 200);
        let doubled = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
        let reply = server.raw(format!(
            "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n{doubled}{}\r\n0\r\n\r\n",
            bearer("sk-a")
        ));
        assert_eq!(reply.status, 400);
    }
}

#[test]
fn metrics_are_for_scrape_keys_and_these_for_nothing_else() {
    let keys = vec![key("sk-a", false, None), key("sk-root", true, None), named("sk-m", "m", Role::Scrape)];
    let server = start(Settings { keys, ..Settings::default() });
    let status = |path: &str, headers: &str| get(&server, path, headers).status;
    assert_eq!(status("/metrics", ""), 401);
    let refused = get(&server, "/metrics", &bearer("sk-a"));
    assert_eq!(refused.error(), (403, "scrape_only".into(), "null".into()));
    assert_eq!(status("/metrics", &bearer("sk-root")), 200);
    assert_eq!(status("/metrics", &bearer("sk-m")), 200);
    for path in ["/v1/models", "/version", "/v1/loads", "/admin/requests", "/server_info", "/nowhere"] {
        assert_eq!(status(path, &bearer("sk-m")), 403, "{path}");
    }
    assert_eq!(server.post_with("/v1/completions", &bearer("sk-m"), &ask(1)).status, 403);
    assert_eq!(server.post_with("/tokenize", &bearer("sk-m"), &json!({ "content": "a" })).status, 403);

    // A scrape key alone closes the metrics and nothing else.
    let keys = vec![named("sk-m", "m", Role::Scrape)];
    let server = start(Settings { keys, ..Settings::default() });
    let status = |path: &str, headers: &str| get(&server, path, headers).status;
    assert_eq!((status("/metrics", ""), status("/metrics", &bearer("sk-m"))), (401, 200));
    assert_eq!((status("/v1/models", ""), status("/v1/models", &bearer("sk-m"))), (200, 403));
    assert_eq!(status("/v1/loads", ""), 200);
}
