//! Signals, and what the system does to a program.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use super::{Served, listening, serve, serve_at, unread, wait_until};
use crate::inferno;

/// Work for some seconds.
fn busy(served: &Served) -> Vec<std::net::TcpStream> {
    (0..2).map(|_| served.stream(16, 1000)).collect()
}

#[test]
fn an_idle_server_ends_well_when_told_to() {
    for signal in ["TERM", "INT"] {
        let mut served = serve(&[]);
        let open: Vec<_> = (0..10).map(|_| served.connect()).collect();
        let start = Instant::now();
        served.signal(signal);
        assert_eq!(served.ended().code(), Some(0), "{signal}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        drop(open);
    }
}

#[test]
fn a_stream_that_runs_is_sent_to_its_end() {
    let mut served = serve(&[]);
    let mut stream = served.stream(1, 200);
    served.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut served = serve(&[]);
        let streams = busy(&served);
        served.signal("TERM");
        let start = Instant::now();
        while served.get("/ready").0 != 503 {
            assert!(start.elapsed() < Duration::from_secs(10));
        }
        served.signal(signal);
        let start = Instant::now();
        assert_eq!(served.ended().code(), Some(code));
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        drop(streams);
    }
}

#[test]
fn one_that_was_killed_is_back_on_its_port_at_once() {
    let mut served = serve(&[]);
    let address = served.address.clone();
    let (_, port) = address.rsplit_once(':').unwrap();
    for _ in 0..2 {
        let streams = busy(&served);
        served.signal("KILL");
        assert_eq!(served.ended().signal(), Some(9));
        served = serve_at(port, &[]);
        assert_eq!(served.address, address);
        assert_eq!(served.get("/health").0, 200);
        drop(streams);
    }
}

/// Processor time of a process so far, in hundredths of a second.
#[cfg(target_os = "linux")]
fn processor_time(served: &Served) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", served.child.id())).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn without_descriptors_it_waits_and_goes_on_when_there_are_some() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_inferno");
    command.args(["-c", "ulimit -n 64; exec \"$0\" serve --port 0", program]);
    let mut served = listening(command);
    // It tests its model once when it has nothing to do; that takes time too.
    std::thread::sleep(Duration::from_millis(1500));
    let open: Vec<_> = (0..100).map(|_| served.connect()).collect();
    std::thread::sleep(Duration::from_millis(500));
    let before = processor_time(&served);
    std::thread::sleep(Duration::from_secs(2));
    let used = processor_time(&served) - before;
    assert!(used <= 20, "{used} hundredths of a second in two");
    drop(open);
    assert_eq!(served.get("/health").0, 200);
    let mut stream = served.stream(1, 5);
    stream.read_to_string(&mut String::new()).unwrap();
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn one_that_was_stopped_goes_on_where_it_was() {
    let served = serve(&["--stall-time", "0.5", "--hang-time", "1"]);
    let mut stream = served.stream(8, 500);
    served.signal("STOP");
    std::thread::sleep(Duration::from_millis(2500));
    served.signal("CONT");
    assert_eq!(served.get("/health").0, 200);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
    let said = served.stderr.lock().unwrap();
    assert!(!said.contains("may be stuck"), "{said}");
}

#[test]
fn nobody_has_to_read_the_log() {
    const N: usize = 8000;
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["serve", "--port", "0", "--log-format", "json"]);
    let (mut served, stderr) = unread(command);
    let stream = served.connect();
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        let request = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n";
        writer.write_all(request.repeat(N).as_bytes()).unwrap();
    });
    let mut n_answers = 0;
    for line in BufReader::new(stream).lines() {
        // A body has no line end: the next answer's first line follows it.
        n_answers += usize::from(line.unwrap().contains("HTTP/1.1 200"));
        if n_answers == N {
            break;
        }
    }
    sender.join().unwrap();
    let metrics = served.get("/metrics").1;
    let dropped = metrics.lines().find_map(|line| line.strip_prefix("inferno_log_lines_dropped_total "));
    assert!(dropped.unwrap().parse::<u64>().unwrap() > 0, "{dropped:?}");
    let mut story = served.stream(1, 20);
    let mut rest = String::new();
    story.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("[DONE]"));
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
    drop(stderr);
}

#[test]
fn a_log_whose_reader_is_gone_ends_nothing() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["serve", "--port", "0"]);
    let (mut served, stderr) = unread(command);
    drop(stderr);
    for _ in 0..10 {
        assert_eq!(served.get("/version").0, 200);
    }
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
}

#[test]
fn a_hangup_reads_the_keys_and_opens_the_log_again() {
    let folder = tempfile::tempdir().unwrap();
    let (keys, log) = (folder.path().join("keys"), folder.path().join("log"));
    std::fs::write(&keys, "sk-old name=ann\nsk-root admin\n").unwrap();
    let read = |path: &std::path::Path| std::fs::read_to_string(path).unwrap_or_default();
    let served = serve(&["--api-key-file", keys.to_str().unwrap(), "--log-file", log.to_str().unwrap()]);
    let status = |key: &str| served.get_with("/v1/models", &format!("Authorization: Bearer {key}\r\n")).0;
    assert_eq!((status("sk-old"), status("sk-new")), (200, 401));

    std::fs::write(&keys, "sk-new name=ann\nsk-root admin\n").unwrap();
    let moved = folder.path().join("log.1");
    std::fs::rename(&log, &moved).unwrap();
    served.signal("HUP");
    wait_until(|| status("sk-new") == 200);
    assert_eq!((status("sk-old"), status("sk-root")), (401, 200));
    wait_until(|| read(&log).contains("SIGHUP: read the keys again"));
    assert!(read(&log).contains("added=1 removed=1"), "{}", read(&log));
    assert!(read(&moved).contains("loaded the model"), "{}", read(&moved));

    // A file that is wrong changes nothing, and the log says so without a key.
    for wrong in ["sk-bad color=blue\n", "", "sk-bad scrape\n"] {
        std::fs::write(&keys, wrong).unwrap();
        let n = read(&log).matches("the keys are unchanged").count();
        served.signal("HUP");
        wait_until(|| read(&log).matches("the keys are unchanged").count() > n);
        assert_eq!((status("sk-new"), status("sk-bad")), (200, 401), "{wrong}");
    }
    assert!(!read(&log).contains("sk-"), "{}", read(&log));
    assert!(served.stderr.lock().unwrap().is_empty());
}

#[test]
fn a_stream_of_a_revoked_key_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("keys");
    std::fs::write(&keys, "sk-old name=ann\nsk-root admin\n").unwrap();
    let served = serve(&["--api-key-file", keys.to_str().unwrap()]);
    let mut stream = served.connect();
    let header = "Host: localhost\r\nAuthorization: Bearer sk-old\r\n";
    stream.write_all(super::story(8, 400).replace("Host: localhost\r\n", header).as_bytes()).unwrap();
    stream.read_exact(&mut [0; 300]).unwrap();
    std::fs::write(&keys, "sk-root admin\n").unwrap();
    served.signal("HUP");
    wait_until(|| served.get_with("/v1/models", "Authorization: Bearer sk-old\r\n").0 == 401);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(rest.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"), "{rest}");
}

#[test]
fn a_second_signal_still_tells_streams_that_they_are_cut_off() {
    let mut served = serve(&[]);
    let mut stream = served.stream(16, 1000);
    served.signal("TERM");
    wait_until(|| served.get("/ready").0 == 503);
    served.signal("TERM");
    let mut rest = String::new();
    let _ = stream.read_to_string(&mut rest);
    assert!(rest.contains("shutting_down"), "{rest}");
    assert_eq!(served.ended().code(), Some(143));
}

#[test]
fn the_log_begins_with_facts_and_ends_with_one_line() {
    let mut served = serve(&[]);
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
    wait_until(|| served.stderr.lock().unwrap().contains("stopped: every request was answered"));
    let said = served.stderr.lock().unwrap();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].contains("loading the model version=") && lines[0].contains("file="), "{said}");
    for part in ["loaded the model", "device=", "threads=", "seconds="] {
        assert!(lines[1].contains(part), "{said}");
    }
    for part in ["context=2048", "room=", "sequences=32", "keys and values: room for"] {
        assert!(lines[2].contains(part), "{said}");
    }
    assert!(lines.last().unwrap().contains("stopped: "), "{said}");
}

#[cfg(target_os = "linux")]
#[test]
fn lines_for_a_full_disk_are_counted() {
    let mut command = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_inferno");
    command.args(["-c", "exec \"$0\" serve --port 0 2>/dev/full", program]);
    let served = listening(command);
    for _ in 0..5 {
        assert_eq!(served.get("/version").0, 200);
    }
    let dropped = || -> u64 {
        let metrics = served.get("/metrics").1;
        let name = "inferno_log_lines_dropped_total ";
        metrics.lines().find_map(|line| line.strip_prefix(name)).unwrap().parse().unwrap()
    };
    wait_until(|| dropped() >= 5);
}

#[test]
fn responses_of_a_file_are_there_when_it_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("responses.jsonl");
    let flags = ["--responses-file", path.to_str().unwrap()];
    let body_of = |answer: &str| answer.split_once("\r\n\r\n").unwrap().1.to_owned();
    let mut served = serve(&flags);
    let body = "{\"input\": \"Hi\", \"max_output_tokens\": 2}";
    let n = body.len();
    let (status, answer) = served.ask(&format!(
        "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
    ));
    assert_eq!(status, 200, "{answer}");
    let response: serde_json::Value = serde_json::from_str(&body_of(&answer)).unwrap();
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
    let again = serve(&flags);
    let (status, found) = again.get(&format!("/v1/responses/{}", response["id"].as_str().unwrap()));
    assert_eq!((status, body_of(&found)), (200, body_of(&answer)));
    std::fs::write(&path, "no response\n").unwrap();
    // After the lines of the log about the model.
    let ran = inferno(&["serve", "--port", "0", flags[0], flags[1]]);
    let error = ran.stderr.lines().last().unwrap();
    assert_eq!((ran.code, error.starts_with("error: ")), (Some(1), true), "{}", ran.stderr);
    assert!(error.contains("--responses-file") && error.contains("line 1"), "{error}");
}
