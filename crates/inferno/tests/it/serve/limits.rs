//! A server that the system gives little: descriptors, address space.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Served, listening};

/// A server under `ulimit`.
fn limited(ulimit: &str, args: &str) -> Served {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_inferno");
    command.args(["-c", &format!("ulimit {ulimit} && exec '{program}' serve --port 0 {args}")]);
    listening(command)
}

#[test]
fn silent_connections_do_not_take_the_last_descriptors() {
    let served = limited("-n 64", "");
    let silent: Vec<TcpStream> = (0..200).map(|_| served.connect()).collect();
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(served.get("/health").0, 200);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
    drop(silent);
    assert!(served.stderr.lock().unwrap().contains("the limit on open files allows fewer connections"));
}

#[test]
fn a_start_without_address_space_is_refused_with_what_it_needs() {
    let program = env!("CARGO_BIN_EXE_inferno");
    // The least that the program itself runs in, and one that leaves something but too little.
    for kib in [150_000, 350_000] {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("ulimit -v {kib} && exec '{program}' serve --port 0 --kv-memory 32MiB")]);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{kib} KiB: {said}");
        assert!(said.contains("the limit on address space, ") && said.contains("`ulimit -v`"), "{said}");
    }
}

#[test]
fn large_prompts_without_memory_are_answered_503() {
    let served = limited("-v 614400", "--kv-memory 32MiB");
    let body = format!("{{\"prompt\":\"{}\"}}", " ".repeat(8_000_000));
    let head =
        format!("POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n", body.len());
    let request = format!("{head}Connection: close\r\n\r\n{body}");
    let ask = || {
        let mut stream = served.connect();
        let _ = stream.write_all(request.as_bytes());
        let mut reply = String::new();
        let _ = stream.read_to_string(&mut reply);
        reply
    };
    let replies: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    for reply in &replies {
        let known = ["context_length_exceeded", "out_of_memory", "bodies_full"];
        assert!(known.iter().any(|code| reply.contains(code)), "{reply}");
    }
    // The next one has it all, once what the others had is free: a moment after their last byte.
    let start = Instant::now();
    loop {
        let reply = ask();
        if reply.contains("context_length_exceeded") {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{reply}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(served.get("/health").0, 200);
}
