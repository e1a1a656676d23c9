//! `inferno bench`: its arguments, the table and the JSON. Speeds are not tested, only that they are there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::{golden, inferno, pipe, start};

/// Small enough for any machine.
const QUICK: [&str; 5] = ["bench", "--stream-mib", "1", "-r", "2"];

fn json(args: &[&str]) -> Json {
    let text = inferno(&[&QUICK[..], &["--json"], args].concat()).ok();
    serde_json::from_str(&text).unwrap()
}

fn names(report: &Json) -> Vec<&str> {
    let measured = report["measurements"].as_array().unwrap();
    measured.iter().map(|m| m["name"].as_str().unwrap()).collect()
}

#[test]
fn every_combination_is_measured_in_turn() {
    let report = json(&["-p", "0,5,9", "-n", "2", "-d", "0,40", "--sequences", "1,3"]);
    let expected =
        ["prompt 5", "prompt 9", "decode 2", "decode 2 × 3", "decode 2 at 40", "decode 2 at 40 × 3"];
    assert_eq!(names(&report), expected);
    for m in report["measurements"].as_array().unwrap() {
        let seconds = m["seconds"].as_array().unwrap();
        assert_eq!(seconds.len(), 2);
        let tokens = m["tokens"].as_f64().unwrap();
        let rates = m["tokens_per_s"]["samples"].as_array().unwrap().iter();
        for (rate, seconds) in rates.zip(seconds) {
            let product = rate.as_f64().unwrap() * seconds.as_f64().unwrap();
            assert!((product / tokens - 1.0).abs() < 1e-9, "{m}");
        }
        let (least, most) = (&m["tokens_per_s"]["least"], &m["tokens_per_s"]["most"]);
        assert!(least.as_f64() > Some(0.0) && least.as_f64() <= most.as_f64(), "{m}");
        let is_decode = m["kind"] == "decode";
        assert_eq!(m["share_of_stream"]["median"].is_f64(), is_decode, "{m}");
    }
}

#[test]
fn a_decode_reads_the_weights_and_its_keys_and_values() {
    let report = json(&["-p", "0", "-n", "4", "-d", "0,100", "--sequences", "1,2"]);
    let bytes = |i: usize| report["measurements"][i]["bytes_per_step"].as_f64().unwrap();
    let model = &report["model"];
    let kv_bytes = report["settings"]["kv_type"].as_str().map(|t| match t {
        "f32" => 4.0,
        "f16" | "bf16" => 2.0,
        other => panic!("the default is no {other}"),
    });
    let n = |key: &str| model[key].as_f64().unwrap();
    let position = 2.0 * n("n_layers") * n("n_kv_heads") * n("head_dim") * kv_bytes.unwrap();
    // Positions 0 to 3 see 1 to 4 others and themselves: 2.5 in the mean.
    let weights = bytes(0) - 2.5 * position;
    assert!(weights > 0.9 * n("bytes") && weights < n("bytes"), "{weights} of {}", n("bytes"));
    let near =
        |found: f64, expected: f64| assert!((found / expected - 1.0).abs() < 1e-9, "{found} {expected}");
    near(bytes(1), weights + 2.0 * 2.5 * position);
    near(bytes(2), weights + 102.5 * position);
    near(bytes(3), weights + 2.0 * 102.5 * position);
}

#[test]
fn the_same_tokens_give_the_same_logits_however_they_come() {
    let hash = |args: &[&str]| {
        let report = json(&[&["-m", &golden("gemma3")], args].concat());
        report["measurements"][0]["logits_hash"].as_str().unwrap().to_owned()
    };
    let whole = hash(&["-p", "40", "-n", "0"]);
    assert_eq!(whole.len(), 16);
    assert_eq!(whole, hash(&["-p", "40", "-n", "0", "--chunk", "7"]));
    assert_eq!(whole, hash(&["-p", "0", "-n", "40"]));
    assert_eq!(whole, hash(&["-p", "0", "-n", "3", "-d", "37"]));
    assert_ne!(whole, hash(&["-p", "40", "-n", "0", "--seed", "2"]));
}

#[test]
fn a_report_is_a_page_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("page.md");
    let path = path.to_str().unwrap();
    let model = golden("qwen3");
    let args = ["bench", "--report", path, "--json", "--backend", "cpu", "--isa", "scalar", "-m", &model];
    let text = inferno(&args).ok();
    assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    for part in
        ["# inferno ", "- reads: ", "- matrices: ", "| one stream ", "| 32 streams ", "Left out:", "Took "]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    let json = std::fs::read_to_string(folder.path().join("page.json")).unwrap();
    let json: Json = serde_json::from_str(&json).unwrap();
    let rows = json["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 6, "{json:#}");
    for row in rows {
        let is_there = row["tokens_per_s"]["median"].as_f64().is_some_and(|rate| rate > 0.0);
        assert!(is_there || row["left_out"].is_string(), "{row:#}");
    }
    let message = inferno(&args).error();
    assert!(message.contains("page.md` exists: name another file"), "{message}");
}

#[test]
fn people_get_a_table() {
    let text = inferno(&[&QUICK[..], &["-p", "3", "-n", "2"]].concat()).ok();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("Ember (built in): Q8_0"), "{text}");
    let columns = ["tok/s", "GB/s", "% of streaming read", "hash of logits"];
    assert!(columns.iter().all(|column| lines[3].contains(column)), "{text}");
    assert!(lines[4].starts_with("prompt 3 ") && lines[5].starts_with("decode 2 "), "{text}");
    assert!(lines[6].starts_with("streaming read"), "{text}");
}

#[test]
fn a_line_on_stdin_is_a_repeat() {
    let text = pipe("\n\n", &["bench", "--stream-mib", "1", "--paced", "-p", "3", "-n", "2"]).ok();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(names(&lines[0]), ["prompt 3", "decode 2"]);
    for repeat in &lines[1..] {
        assert_eq!(repeat[1]["name"], "decode 2");
        assert!(repeat[1]["seconds"].as_f64() > Some(0.0));
        assert_eq!(repeat[0]["logits_hash"], lines[1][0]["logits_hash"]);
    }
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let error = |args: &[&str]| inferno(&[&["bench"], args].concat()).error();
    for (args, expected) in [
        (&["-p", "3000"][..], "`prompt 3000` takes 3000 positions, and the model's context is 2048"),
        (&["-d", "2000"], "`decode 128 at 2000` takes 2128 positions, and the model's context is 2048"),
        (&["-p", "0", "-n", "0"], "there is nothing to measure: no prompt and no decode has a length"),
        (&["-p", "5,6,5"], "`prompt 5` is asked for twice"),
        (&["--sequences", "1,0"], "a step of 0 sequences has nothing to measure"),
    ] {
        assert_eq!(error(args), expected);
    }
    for args in
        [&["-r", "0"][..], &["--chunk", "0"], &["-p", "x"], &["--paced", "--json"], &["--story", "-p", "5"]]
    {
        assert_eq!(inferno(&[&["bench"], args].concat()).code, Some(2), "{args:?}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_measurement() {
    // Hours of work, told to begin before it is told to end.
    let work = ["--stream-mib", "1", "-p", "0", "-n", "1000", "--sequences", "300"];
    let mut child = start(&[&["bench", "--paced"], &work[..]].concat(), Stdio::piped());
    let mut ready = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut ready).unwrap();
    assert!(ready.starts_with('{'), "{ready}");
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "stopped\n");
}

#[cfg(unix)]
#[test]
fn a_story_that_is_stopped_leaves_no_models_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["bench", "--story"]).env("TMPDIR", folder.path()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(stderr.next().unwrap().unwrap(), "making a model in F32");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(stderr.next().unwrap().unwrap(), "stopped");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn operations_are_shown_on_request() {
    let report = json(&["-p", "3", "-n", "2", "--profile"]);
    for m in report["measurements"].as_array().unwrap() {
        let operations = m["profile"].as_array().unwrap();
        let calls =
            |name: &str| operations.iter().find(|o| o["operation"] == name).unwrap()["calls"].as_u64();
        // Nine layers, over two repeats of one step or of two.
        let n_steps = if m["kind"] == "prompt" { 2 } else { 4 };
        assert_eq!((calls("attend"), calls("embed")), (Some(9 * n_steps), Some(n_steps)), "{m}");
        let total: f64 = m["seconds"].as_array().unwrap().iter().map(|s| s.as_f64().unwrap()).sum();
        let parts: f64 = operations.iter().map(|o| o["seconds"].as_f64().unwrap()).sum();
        assert!(parts > 0.0 && parts <= total, "{parts} of {total}");
    }
    let text = inferno(&[&QUICK[..], &["-p", "3", "-n", "0", "--profile"]].concat()).ok();
    assert!(text.contains("prompt 3: where the time goes") && text.contains("between operations"), "{text}");
    assert!(text.contains("matmul 256 → 1536"), "{text}");
}
