//! F6: a step that does not end.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::super::harness::{PATIENCE, start};
use super::super::raw::check_well;
use super::{story, text_of};
use crate::Settings;

#[test]
fn a_step_that_stands_still_is_seen_from_outside_and_forgotten_when_it_moves_again() {
    let settings = Settings { stall: Duration::from_millis(200), ..Settings::default() };
    let server = start(settings);
    let calm = server.post("/v1/completions", &story("Once", 8)).json();
    assert_eq!(server.metric("inferno_healthy"), 1.0);
    server.faults.block(true);
    let mut body = story("Once", 8);
    body["stream"] = true.into();
    let stream = server.open_stream("/v1/completions", &body).into_inner();
    let start = Instant::now();
    server.wait_until(|server| server.get("/health").status == 503);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(server.get("/health").error(), (503, "engine_stalled".into(), "null".into()));
    assert_eq!(server.get("/ready").status, 503);
    assert_eq!(server.metric("inferno_healthy"), 0.0);
    // The process lives, and what needs no model is answered.
    for path in ["/live", "/v1/models", "/metrics", "/v1/loads"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    let text = serde_json::json!({ "content": "a" });
    assert_eq!(server.post("/tokenize", &text).status, 200);
    server.faults.block(false);
    let reply = super::super::raw::reply(stream).unwrap();
    assert_eq!(calm["choices"][0]["text"], text_of(&reply.events()));
    server.wait_until(|server| server.get("/health").status == 200);
    check_well(&server);
}

#[test]
fn a_model_that_is_slow_or_idle_does_not_stand_still() {
    let server = start(Settings { stall: Duration::from_millis(400), ..Settings::default() });
    *server.faults.delay.lock().unwrap() = Duration::from_millis(60);
    let mut stream = server.open_stream("/v1/completions", &story("Once", 20)).into_inner();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1500) {
        assert_eq!(server.get("/health").status, 200);
    }
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    std::io::Read::read_exact(&mut stream, &mut [0; 16]).unwrap();
}

/// Set in the process that is to end.
const CHILD: &str = "INFERNO_TEST_HANG";

#[test]
fn a_step_that_never_ends_ends_the_program() {
    if std::env::var_os(CHILD).is_some() {
        let ms = Duration::from_millis;
        let server = start(Settings { stall: ms(100), hang: ms(1000), ..Settings::default() });
        server.faults.block(true);
        let _ = server.post("/v1/completions", &story("Once", 8));
        unreachable!("it never answers");
    }
    let name = "tests::faults::stalls::a_step_that_never_ends_ends_the_program";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    #[cfg(unix)]
    {
        const SIGABRT: i32 = 6;
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.status.signal(), Some(SIGABRT), "{}", child.status);
    }
    let stderr = String::from_utf8(child.stderr).unwrap();
    assert!(
        !child.status.success() && stderr.contains("a step of the model has not moved for 1 s"),
        "{stderr}"
    );
}
