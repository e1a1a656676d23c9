//! Servers that hang, send garbage, close early or stream for ever.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use inferno_conformance::{Http, Outcome, Settings, run};

use crate::inferno;

/// A server that answers `GET` with a list of models, and hands each other request to `answer`.
fn stub(answer: fn(&mut TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let n = stream.read(&mut head).unwrap_or(0);
                if head[..n].starts_with(b"GET /v1/models ") {
                    let models = r#"{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"x"}]}"#;
                    let _ =
                        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{models}", models.len());
                } else {
                    answer(&mut stream);
                }
            });
        }
    });
    format!("http://{address}")
}

/// Reasons of a check against a server, within a few seconds.
#[track_caller]
fn why(answer: fn(&mut TcpStream), check: &str) -> String {
    let start = Instant::now();
    let server = Http::new(&stub(answer), None, Duration::from_secs(1)).unwrap();
    let settings = Settings { only: vec![check.into()], concurrency: 2, ..Settings::default() };
    let report = run(&server, &settings, |_| {}).unwrap();
    assert!(start.elapsed() < Duration::from_secs(20));
    match &report.rows[0].outcome {
        Outcome::Failed(why) => why.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn no_server_hangs_or_crashes_the_tool() {
    let hung = why(|_| std::thread::sleep(Duration::from_secs(5)), "chat.answer.shape");
    assert!(hung.contains("no answer within 1 s"), "{hung}");
    let garbage = why(|stream| drop(stream.write_all(b"\x00\xffgarbage\r\n\r\n")), "chat.answer.shape");
    assert!(garbage.contains("is not HTTP"), "{garbage}");
    let closed = why(|_| {}, "chat.answer.shape");
    assert!(closed.contains("is not HTTP"), "{closed}");
    let short = why(
        |stream| drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"id\":")),
        "chat.answer.shape",
    );
    assert!(short.contains("the connection broke within the answer"), "{short}");
    let endless = why(
        |stream| {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
            let mut sent = stream.write_all(head.as_bytes());
            while sent.is_ok() {
                sent = stream.write_all(b"data: {\"choices\": []}\n\n");
                std::thread::sleep(Duration::from_millis(5));
            }
        },
        "chat.stream.done",
    );
    assert!(endless.contains("did not end in time"), "{endless}");
}

#[test]
fn a_server_that_hangs_is_asked_a_few_times() {
    let start = Instant::now();
    let stub = stub(|_| std::thread::sleep(Duration::from_secs(5)));
    let server = Http::new(&stub, None, Duration::from_millis(100)).unwrap();
    let report = run(&server, &Settings::default(), |_| {}).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(report.count("failed") > 0 && report.count("skipped") > 100, "{}", report.summary());
}

#[test]
fn exit_codes_tell_failures_from_absent_servers() {
    // Nothing listens there: the port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = inferno(&["conformance", &format!("http://{free}")]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("no connection"), "{}", ran.stderr);

    let folder = tempfile::tempdir().unwrap();
    let [json, junit] =
        ["report.json", "report.xml"].map(|name| folder.path().join(name).display().to_string());
    let refuse = |stream: &mut TcpStream| {
        let body = "\u{1b}[31m<b>&\u{0}";
        let _ = write!(stream, "HTTP/1.1 500 Oops\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    };
    let url = stub(refuse);
    let only = ["--only", "chat.answer.shape,completions.stream", "--api-key", "sk-secret"];
    let args = [&["conformance", &url, "--json", &json, "--junit", &junit], &only[..]].concat();
    let ran = inferno(&args);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("FAIL  chat.answer.shape"), "{}", ran.stdout);
    assert!(ran.stdout.contains("curl -sSNi") && ran.stdout.contains("$API_KEY"), "{}", ran.stdout);
    assert!(!ran.stdout.contains('\u{1b}'), "a server's control characters reach the terminal");
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report["summary"]["failed"], report["checks"].as_array().unwrap().len());
    let xml = std::fs::read_to_string(&junit).unwrap();
    assert!(xml.contains("<testsuite name=\"chat\" tests=\"1\" failures=\"1\""), "{xml}");
    for text in [ran.stdout, report.to_string(), xml] {
        assert!(!text.contains("sk-secret"));
    }
}
