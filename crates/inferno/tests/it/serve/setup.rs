//! What it is started with: flags, variables, files.

use std::io::Write;
use std::process::Command;

use super::{listening, serve};
use crate::inferno;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let served = serve(&[]);
    let (_, port) = served.address.rsplit_once(':').unwrap();
    let error = inferno(&["serve", "--port", port]).error();
    assert!(error.starts_with(&format!("cannot listen on 127.0.0.1 port {port}")), "{error}");
    assert_eq!(served.get("/health").0, 200);
}

#[test]
fn a_bad_file_of_keys_is_an_error_that_tells_no_key() {
    let cases = [
        ("sk-secret-1 color=blue\n", "line 1"),
        ("# keys\nsk-secret-1\nsk-secret-2 concurrent=0\n", "line 3"),
        ("sk-secret-1 name=ann\nsk-secret-1 name=bob\n", "`ann` and `bob` are the same"),
        ("sk-secr\u{e4}t-1\n", "visible ASCII"),
        ("# nobody\n\n", "has no keys"),
    ];
    for (text, expected) in cases {
        let keys = file(text);
        let error =
            inferno(&["serve", "--port", "0", "--api-key-file", keys.path().to_str().unwrap()]).error();
        assert!(error.contains(expected) && !error.contains("secr"), "{text}: {error}");
    }
    let error = inferno(&["serve", "--port", "0", "--api-key-file", "/nowhere/keys"]).error();
    assert!(error.contains("cannot read the keys in `/nowhere/keys`"), "{error}");
}

#[test]
fn keys_of_a_file_open_what_is_theirs() {
    let keys = file("# staff\nsk-user name=ann\nsk-root name=root admin\n");
    let served = serve(&["--api-key-file", keys.path().to_str().unwrap(), "--api-key", "sk-flag"]);
    let status = |path: &str, key: &str| served.get_with(path, &format!("Authorization: Bearer {key}\r\n")).0;
    assert_eq!(served.get("/v1/models").0, 401);
    for key in ["sk-user", "sk-root", "sk-flag"] {
        assert_eq!(status("/v1/models", key), 200);
        assert_eq!(status("/v1/loads", key), if key == "sk-root" { 200 } else { 403 });
    }
    assert!(!served.stderr.lock().unwrap().contains("sk-"));
}

#[test]
fn a_flag_counts_more_than_a_variable_and_that_more_than_a_file() {
    let config = file("alias = [\"of-the-file\"]\nmax-n = 3\n\n[limits]\nmax-stops = 2\nheaders = 50\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["serve", "--port", "0", "--headers", "60", "--config", config.path().to_str().unwrap()]);
    command.env("INFERNO_MAX_STOPS", "7").env("INFERNO_MAX_MESSAGES", "9").env("INFERNO_HEADERS", "55");
    let served = listening(command);
    let (_, body) = served.get("/server_info");
    let found: serde_json::Value = serde_json::from_str(body.split_once("\r\n\r\n").unwrap().1).unwrap();
    let limits = &found["limits"];
    assert_eq!(found["model"], "of-the-file");
    assert_eq!(
        (&limits["n"], &limits["stop_strings"], &limits["messages"]),
        (&3.into(), &7.into(), &9.into())
    );
    let headers = |n: usize| served.get_with("/live", &"A: b\r\n".repeat(n - 2)).0;
    assert_eq!((headers(60), headers(61)), (200, 431));
}

#[test]
fn a_config_file_with_an_unknown_key_is_an_error() {
    let config = file("aliass = \"a\"\n");
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    let output = command.args(["serve", "--config", config.path().to_str().unwrap()]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("aliass"), "{stderr}");
}
