//! The log: a line a request that says who asked for what and what came of it.

use std::io::Read;

use serde_json::Value;

use super::{Served, serve, story, wait_until};

fn lines(served: &Served) -> Vec<Value> {
    let said = served.stderr.lock().unwrap();
    said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

fn answered(served: &Served, n: usize) -> Vec<Value> {
    let is_answer = |line: &Value| line["message"] == "answered";
    wait_until(|| lines(served).iter().filter(|line| is_answer(line)).count() >= n);
    lines(served).into_iter().filter(is_answer).collect()
}

fn post(path: &str, body: &str) -> String {
    let n = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sk-a\r\nX-Request-Id: mine\r\n\
         Content-Length: {n}\r\nConnection: close\r\n\r\n{body}"
    )
}

#[test]
fn a_line_a_request_says_who_what_and_how_it_ended() {
    let served = serve(&["--api-key", "sk-a", "--log-format", "json"]);
    served.ask(&post("/v1/completions", r#"{"prompt": "Once", "max_tokens": 3, "model": "default"}"#));
    let line = &answered(&served, 1)[0];
    let expected = [
        ("request_id", Value::from("mine")),
        ("key", "key-1".into()),
        ("method", "POST".into()),
        ("path", "/v1/completions".into()),
        ("status", 200.into()),
        ("model", "default".into()),
        ("stream", false.into()),
        ("finish", "length".into()),
        ("completion_tokens", 3.into()),
    ];
    for (name, value) in expected {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    for name in ["prompt_tokens", "cached_tokens", "queue_ms", "first_token_ms", "ms"] {
        assert!(line[name].is_u64(), "{name}: {line}");
    }

    // A path that there is not, with a query that may be a secret; and without a key.
    served.get_with("/nowhere?key=sk-b", "Authorization: Bearer sk-a\r\n");
    served.get(&format!("/{}", "x".repeat(3000)));
    let all = answered(&served, 3);
    assert_eq!(
        (&all[1]["path"], &all[1]["status"], &all[1]["reason"]),
        (&"/nowhere".into(), &404.into(), &"not_found".into())
    );
    assert!(all[2]["path"].as_str().unwrap().chars().count() <= 101 && all[2]["status"] == 401, "{}", all[2]);
    assert_eq!(all[2]["key"], Value::Null);

    // A stream that is left: one line, at its end.
    let mut stream = served.connect();
    let request =
        story(1, 900).replace("Host: localhost\r\n", "Host: localhost\r\nAuthorization: Bearer sk-a\r\n");
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    stream.read_exact(&mut [0; 300]).unwrap();
    drop(stream);
    let left = &answered(&served, 4)[3];
    assert_eq!(
        (&left["stream"], &left["finish"], &left["status"]),
        (&true.into(), &"abandoned".into(), &200.into())
    );
    assert!(!served.stderr.lock().unwrap().contains("sk-"));
}

#[test]
fn prompts_are_json_where_lines_are() {
    let served = serve(&["--api-key", "sk-a", "--log-format", "json", "--log-prompts"]);
    served.ask(&post(
        "/v1/chat/completions",
        r#"{"messages": [{"role": "user", "content": "Say \"hi\""}], "max_tokens": 1}"#,
    ));
    served.ask(&post("/v1/completions", r#"{"prompt": ["a", "b"], "max_tokens": 1}"#));
    answered(&served, 2);
    let asked: Vec<Value> = lines(&served).into_iter().filter(|line| line["message"] == "asked").collect();
    assert_eq!(asked[0]["messages"][0]["content"], "Say \"hi\"", "{}", asked[0]);
    assert_eq!((&asked[0]["request_id"], &asked[0]["level"]), (&"mine".into(), &"INFO".into()));
    assert_eq!(asked.last().unwrap()["prompts"][0], "a");
}
