//! Models by name, from a hub on loopback.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::testing::hub::{Behaviour, Fake, content};

use crate::Ran;

/// The repository of `qwen3:0.6b`.
pub(crate) const REPO: &str = "Qwen/Qwen3-0.6B-GGUF";

/// Ember under the name of another model.
pub(crate) fn ember() -> Vec<u8> {
    std::fs::read(xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf")).unwrap()
}

/// The program with a hub and a cache of its own.
pub(crate) fn command(fake: &Fake, cache: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command
        .args(args)
        .env("HF_ENDPOINT", &fake.address)
        .env("HF_HUB_CACHE", cache)
        .env("NO_PROXY", "127.0.0.1");
    command.env_remove("HF_HUB_OFFLINE").env_remove("HF_TOKEN").env("HF_TOKEN_PATH", cache.join("none"));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() }
}

#[test]
fn the_first_line_that_everybody_types_works() {
    let fake = Fake::of(REPO, &[("Qwen3-0.6B-Q8_0.gguf", &ember())], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| ran(command(&fake, folder.path(), args));
    let options = ["-t", "0", "-n", "5"];
    let expected = crate::inferno(&[&["run", "Hello!"], &options[..]].concat()).ok();
    let first = run(&[&["run", "qwen3:0.6b", "Hello there, you!"], &options[..]].concat());
    assert!(
        first.stderr.contains("downloading `Qwen3-0.6B-Q8_0.gguf` of Qwen/Qwen3-0.6B-GGUF, 9.1 MB"),
        "{}",
        first.stderr
    );
    first.ok();
    let n_requests = fake.requests().len();
    // From now on nothing is asked of the hub, however the model is called.
    for name in ["qwen3:0.6b", "Qwen/Qwen3-0.6B-GGUF", "hf.co/Qwen/Qwen3-0.6B-GGUF:q8_0", "qwen3:0.6b-q8_0"] {
        let again = run(&[&["run", "-m", name, "Hello!"], &options[..]].concat());
        assert_eq!(again.stdout, expected, "{}", again.stderr);
    }
    let address = format!("{}/{REPO}/resolve/main/Qwen3-0.6B-Q8_0.gguf", fake.address);
    let json = run(&[&["run", "-hf", &address, "--json", "--offline", "Hello!"], &options[..]].concat()).ok();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["model"], format!("{REPO}/Qwen3-0.6B-Q8_0.gguf"));
    assert_eq!(fake.requests().len(), n_requests);
    run(&["tokenize", "-m", "qwen3:0.6b", "Hi"]).ok();
    run(&["inspect", "qwen3:0.6b"]).ok();

    let listed: Value = serde_json::from_str(&run(&["ls", "--json"]).ok()).unwrap();
    assert_eq!(listed[0]["name"], "Qwen/Qwen3-0.6B-GGUF:Q8_0");
    assert_eq!((&listed[0]["short_name"], &listed[0]["size"]), (&"qwen3:0.6b".into(), &9_106_176.into()));
    let shown = run(&["show", "qwen3:0.6b"]).ok();
    for part in ["Q8_0", "9.1 MB  here, taken without a quant", "SUMMARY", "MEMORY"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let paths: Value = serde_json::from_str(&run(&["paths", "--json"]).ok()).unwrap();
    assert_eq!((&paths["models_count"], &paths["hub"]), (&1.into(), &fake.address.as_str().into()));
    let removed = run(&["rm", "qwen3:0.6b"]);
    assert!(removed.stderr.contains("removed Qwen/Qwen3-0.6B-GGUF:Q8_0: 9.1 MB freed"), "{}", removed.stderr);
    assert!(run(&["rm", "qwen3:0.6b"]).error().contains("is not in the cache"));
    let error = run(&["run", "-m", "qwen3:0.6b", "--offline", "Hi"]).error();
    assert!(error.contains("`--offline` (or HF_HUB_OFFLINE) forbids a download"), "{error}");
}

#[test]
fn pull_prints_a_path_and_says_what_it_took() {
    let files: [(&str, &[u8]); 3] =
        [("m-Q4_K_M.gguf", &content(30_000)), ("m-Q8_0.gguf", &content(50_000)), ("mmproj-F16.gguf", b"x")];
    let fake = Fake::start(&files, Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| ran(command(&fake, folder.path(), args));
    let first = run(&["pull", "acme/tiny-GGUF"]);
    assert!(
        first.stdout.trim_end().ends_with("/m-Q4_K_M.gguf") && Path::new(first.stdout.trim_end()).is_file()
    );
    for part in ["taking Q4_K_M (30.0 kB)", "Q8_0 (50.0 kB)", "mmproj-F16.gguf", "downloaded 30.0 kB in"] {
        assert!(first.stderr.contains(part), "{part}: {}", first.stderr);
    }
    let json = run(&["pull", "--json", "acme/tiny-GGUF:Q4_K_M", "acme/tiny-GGUF:Q8_0"]).ok();
    let downloaded: Vec<Value> =
        json.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["downloaded"].clone()).collect();
    assert_eq!(downloaded, [0, 50_000]);
    // Notes come before the message.
    let fails = |args: &[&str]| {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""), "{}", ran.stderr);
        ran.stderr
    };
    let error = fails(&["rm", "acme/tiny-GGUF"]);
    assert!(
        error.contains("2 models") && error.contains("`acme/tiny-GGUF:Q8_0`") && error.contains("--all"),
        "{error}"
    );
    run(&["rm", "--all", "acme/tiny-GGUF"]).ok();
    assert_eq!(run(&["list"]).ok(), "");

    for (name, part) in [
        ("acme/tiny-GGUF:Q5_K_M", "it has Q4_K_M, Q8_0"),
        ("acme/other", "does not exist on 127.0.0.1"),
        ("qwen3:06b", "the nearest are qwen3:0.6b"),
        ("https://example.org/x/y.gguf", "curl -L -O"),
        ("./x.gguf", "is not a file here"),
    ] {
        let error = fails(&["pull", name]);
        assert!(error.contains(part), "{name}: {error}");
    }
    let resolve = Some((401, "X-Error-Code: GatedRepo\r\n".into()));
    fake.behave(Behaviour { resolve, ..Behaviour::default() });
    let error = fails(&["pull", "acme/tiny-GGUF"]);
    assert!(error.contains(&format!("accept its terms at {}/acme/tiny-GGUF", fake.address)), "{error}");
    assert!(error.contains("/settings/tokens") && error.contains("set HF_TOKEN"), "{error}");
}

/// Starts a pull, interrupts it once `is_due` holds, and returns what it said.
#[cfg(unix)]
fn interrupted(fake: &Fake, folder: &Path, is_due: impl Fn() -> bool) -> (Ran, Duration) {
    let mut command = command(fake, folder, &["pull", "acme/tiny-GGUF"]);
    let child = command.spawn().unwrap();
    let start = Instant::now();
    while !is_due() {
        assert!(start.elapsed() < Duration::from_secs(60), "nothing happens");
        std::thread::sleep(Duration::from_millis(5));
    }
    // The program listened before its first request.
    let told = Instant::now();
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { stdout: text(output.stdout), stderr: text(output.stderr), code: output.status.code() };
    (ran, told.elapsed())
}

#[cfg(unix)]
#[test]
fn ctrl_c_keeps_what_has_come_and_waits_for_nothing() {
    let bytes = content(3_000_000);
    let pace = Some(20_000);
    let fake = Fake::start(&[("m-Q8_0.gguf", &bytes)], Behaviour { pace, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("models--acme--tiny-GGUF/blobs");
    let came = || {
        let entries = std::fs::read_dir(&blobs).into_iter().flatten().flatten();
        entries.map(|entry| entry.metadata().map_or(0, |meta| meta.len())).sum::<u64>()
    };
    let (ran, _) = interrupted(&fake, folder.path(), || came() > 200_000);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(130), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("cancelled; what has come is kept"), "{}", ran.stderr);
    let listed = self::ran(command(&fake, folder.path(), &["list"]));
    assert!(listed.stderr.contains("of an unfinished download"), "{}", listed.stderr);
    let kept = came();
    assert!(kept > 200_000 && kept < 3_000_000);
    fake.behave(Behaviour::default());
    let path = self::ran(command(&fake, folder.path(), &["pull", "acme/tiny-GGUF"])).ok();
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), bytes);
    assert!(
        fake.requests().iter().any(|head| head.to_lowercase().contains(&format!("range: bytes={kept}-")))
    );

    // A hub that says nothing delays nothing.
    fake.behave(Behaviour { is_mute: true, ..Behaviour::default() });
    let n = fake.requests().len();
    let (ran, took) = interrupted(&fake, folder.path(), || fake.requests().len() > n);
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_name_alone_offers_what_to_do() {
    let fake = Fake::start(&[], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| ran(command(&fake, folder.path(), args));
    let alone = run(&["qwen3:0.6b"]);
    assert_eq!(alone.code, Some(2));
    assert!(
        alone.stderr.contains("inferno run qwen3:0.6b ") && alone.stderr.contains("inferno pull qwen3:0.6b")
    );
    let available = run(&["list", "--available"]).ok();
    assert!(available.lines().any(|line| line.starts_with("qwen3:0.6b ")) && available.lines().count() > 50);
    assert!(available.lines().all(|line| line.chars().count() < 80), "{available}");
    let all: Value = serde_json::from_str(&run(&["list", "--available", "--json"]).ok()).unwrap();
    assert_eq!(all[0]["repository"], REPO);
    assert!(fake.requests().is_empty());
    assert!(available.lines().any(|line| line.starts_with("bge-m3 ") && line.ends_with("  embeddings")));
    let error = run(&["run", "-m", "bge-m3", "Hello"]).error();
    assert!(error.contains("a model for embeddings") && error.contains("inferno pull bge-m3"), "{error}");
    let error = run(&["ps", "--url", "http://127.0.0.1:1"]).error();
    assert!(error.contains("no server answers") && error.contains("inferno serve"), "{error}");
    let error = run(&["ps", "--url", "here"]).error();
    assert!(error.contains("expected one like http://127.0.0.1:8080"), "{error}");
}

/// A proxy that tunnels every connection to `target`. Returns its address; heads of requests come on the channel.
fn proxy(target: String) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, heads) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).unwrap();
                head.push(byte[0]);
            }
            if sender.send(String::from_utf8(head).unwrap()).is_err() {
                return;
            }
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let server = TcpStream::connect(&target).unwrap();
            for (mut from, mut to) in
                [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    (address, heads)
}

#[test]
fn a_proxy_of_the_environment_is_used() {
    let location = Some("http://hub.invalid/cdn/m-Q8_0.gguf".into());
    let bytes = content(30_000);
    let fake = Fake::start(&[("m-Q8_0.gguf", &bytes)], Behaviour { location, ..Behaviour::default() });
    let (address, heads) = proxy(fake.address.trim_start_matches("http://").to_owned());
    let folder = tempfile::tempdir().unwrap();
    let mut command = command(&fake, folder.path(), &["pull", "acme/tiny-GGUF"]);
    command.env("HF_ENDPOINT", "http://hub.invalid").env("ALL_PROXY", address).env_remove("NO_PROXY");
    let path = ran(command).ok();
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), bytes);
    assert!(heads.try_recv().unwrap().starts_with("CONNECT hub.invalid:80 "));
}
