//! The prefix cache over restarts (`--cache-file`), and prefixes on disk (`--cache-disk`).

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Served, serve};

fn with_file(file: &Path) -> Served {
    serve(&["--cache-file", file.to_str().unwrap()])
}

/// A prompt's answer, and the tokens of it that came from the cache.
fn ask(served: &Served) -> (String, u64) {
    ask_of(served, "dragon")
}

fn ask_of(served: &Served, animal: &str) -> (String, u64) {
    let words: Vec<String> = (0..120).map(|i| format!("{animal} {i}")).collect();
    let prompt = words.join(", ");
    let body = format!("{{\"prompt\": \"{prompt}\", \"max_tokens\": 8, \"temperature\": 0}}");
    let length = body.len();
    let (status, answer) = served.ask(&format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ));
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
    let n_cached = answer["usage"]["prompt_tokens_details"]["cached_tokens"].as_u64().unwrap();
    (answer["choices"][0]["text"].as_str().unwrap().to_owned(), n_cached)
}

fn stop(mut served: Served) {
    served.signal("TERM");
    assert_eq!(served.ended().code(), Some(0));
    served.says("wrote the cache file");
}

#[test]
fn a_server_that_starts_again_knows_the_prompts_it_knew() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache");
    let served = with_file(&file);
    served.says("there is no cache file yet");
    let (text, n_cached) = ask(&served);
    assert_eq!(n_cached, 0);
    let (_, n_known) = ask(&served);
    assert!(n_known > 200, "{n_known}");
    stop(served);
    // What a server that was killed while it wrote has left.
    fs::write(directory.path().join("cache.partial"), [1; 5000]).unwrap();

    let served = with_file(&file);
    served.says("read the cache file");
    assert_eq!(ask(&served), (text.clone(), n_known));
    stop(served);
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the file is left");

    let mut damaged = fs::read(&file).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).unwrap();
    let served = with_file(&file);
    served.says("the cache file is ignored: it is damaged");
    assert_eq!(ask(&served), (text, 0));
    // Killed, it leaves the file as it is.
    let before = fs::read(&file).unwrap();
    drop(served);
    assert_eq!(fs::read(&file).unwrap(), before);

    let served = serve(&["--cache-file", file.to_str().unwrap(), "--kv", "q8_0"]);
    served.says("the cache file is ignored: it was written with another device, type of keys and values");
}

#[test]
fn a_server_that_is_killed_while_it_writes_leaves_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cache");
    let first = with_file(&file);
    let (text, _) = ask(&first);
    stop(first);
    for millis in [0, 5, 20] {
        let mut served = with_file(&file);
        served.says("read the cache file");
        let (again, n_cached) = ask(&served);
        assert!(again == text && n_cached > 200, "killed after {millis} ms: {n_cached} tokens");
        served.signal("TERM");
        std::thread::sleep(Duration::from_millis(millis));
        served.signal("KILL");
        served.ended();
    }
    stop(with_file(&file));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn prompts_that_made_room_for_others_come_back_from_disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = format!("{}:1GiB", directory.path().display());
    let served = serve(&["--sequences", "1", "--kv-memory", "4MiB", "--cache-disk", &disk]);
    served.says("evicted prefixes go to disk");
    let animals = ["dragon", "horse", "owl"];
    let first = animals.map(|animal| ask_of(&served, animal).0);
    for (animal, first) in animals.into_iter().zip(first) {
        let (again, n_cached) = ask_of(&served, animal);
        assert!(again == first && n_cached > 200, "{animal}: {n_cached} tokens");
    }
    let (_, metrics) = served.get("/metrics");
    let n_back = metrics.lines().find_map(|line| line.strip_prefix("inferno_prefix_cache_pages_back_total "));
    assert!(n_back.unwrap().parse::<u64>().unwrap() > 0, "{n_back:?}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "the file has no name");
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing");
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    let output = command.args(["serve", "--port", "0", "--cache-disk"]).arg(&missing).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot create a file in") && said.contains("--cache-disk"), "{said}");
}
