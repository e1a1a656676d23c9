//! `inferno bench serve`: every request is served in full, and how it is served changes no token.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::{inferno, start};

/// A moment's work.
const QUICK: [&str; 4] = ["--requests", "12", "--length-scale", "0.2"];

fn json(args: &[&str]) -> Json {
    let text = inferno(&[&["bench", "serve", "--json"], args].concat()).ok();
    serde_json::from_str(&text).unwrap()
}

fn trace(lines: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    file
}

#[test]
fn every_variant_serves_the_same_tokens() {
    let args = ["--compare", "--rate", "max", "--sequences", "4", "--temperature", "0.9"];
    let report = json(&[&QUICK[..], &args].concat());
    assert_eq!(report["tokens_equal"], true);
    assert_eq!(report["workload"]["requests"], 12);
    let variants = report["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["everything on", "no batching", "no prefix cache", "no speculation"]);
    for variant in variants {
        let run = &variant["runs"][0];
        assert_eq!(run["tokens_hash"], variants[0]["runs"][0]["tokens_hash"]);
        let requests = run["requests"].as_array().unwrap();
        assert_eq!(requests.len(), 12);
        let sum = |key: &str| requests.iter().map(|r| r[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("prompt_tokens"), report["workload"]["prompt_tokens"].as_u64().unwrap());
        assert_eq!(sum("completion_tokens"), report["workload"]["completion_tokens"].as_u64().unwrap());
        assert_eq!(sum("cached_tokens") > 0, variant["name"] != "no prefix cache", "{variant}");
        if variant["name"] == "no speculation" {
            assert_eq!(sum("drafted_tokens"), 0);
        }
        for request in requests {
            let n_gaps = request["inter_token_s"].as_array().unwrap().len() as u64;
            assert_eq!(n_gaps + 1, request["completion_tokens"].as_u64().unwrap());
            assert!(request["time_to_first_token_s"].as_f64() > Some(0.0));
        }
    }
    let rows = |i: usize| variants[i]["numbers"]["rows_per_step"]["median"].as_f64().unwrap();
    assert!(rows(0) > rows(1), "{} {}", rows(0), rows(1));
}

#[test]
fn constrained_answers_are_measured_beside_others_of_their_lengths() {
    let mut schema = tempfile::NamedTempFile::new().unwrap();
    let text = r#"{"type": "object", "properties": {"temperature": {"enum": [1, 2]}, "is_raining": {"type": "boolean"}},
        "required": ["temperature", "is_raining"], "additionalProperties": false}"#;
    schema.write_all(text.as_bytes()).unwrap();
    let path = schema.path().to_str().unwrap();
    let args = [
        "--json-schema",
        path,
        "--requests",
        "6",
        "--sequences",
        "3",
        "--temperature",
        "1.0",
        "--repeats",
        "2",
    ];
    let report = json(&args);
    let variants = report["variants"].as_array().unwrap();
    let names: Vec<&str> = variants.iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["unconstrained", "constrained"]);
    let lengths = |variant: usize, run: usize| -> Vec<u64> {
        let requests = variants[variant]["runs"][run]["requests"].as_array().unwrap();
        requests.iter().map(|r| r["completion_tokens"].as_u64().unwrap()).collect()
    };
    assert_eq!(lengths(0, 0), lengths(1, 0));
    assert_eq!(lengths(1, 0), lengths(1, 1));
    assert_eq!(report["tokens_equal"], true, "of the repeats of each");
    let number = |variant: usize, key: &str| variants[variant]["numbers"][key]["median"].as_f64();
    assert_eq!(number(0, "forced_percent"), Some(0.0));
    // `{"temperature": `, `, "is_raining": ` and `}` leave no choice.
    assert!(number(1, "forced_percent") > Some(50.0), "{:?}", number(1, "forced_percent"));
    assert!(number(1, "steps") < number(0, "steps"), "forced tokens are computed together");
    assert!(number(1, "grammar_percent") > Some(0.0));
}

#[test]
fn a_trace_is_told_by_its_content_and_what_does_not_fit_is_left_out() {
    let azure = trace(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6,100,20\n2023-11-16 18:15:47.6,9000,20\n\
         2023-11-16 18:15:48.6,300,4\n",
    );
    let report =
        json(&["--trace", azure.path().to_str().unwrap(), "--length-scale", "0.25", "--kv-memory", "288KiB"]);
    let workload = &report["workload"];
    assert_eq!((&workload["requests"], &workload["prompt_tokens"]), (&1.into(), &25.into()), "{workload}");
    assert_eq!(workload["left_out"], serde_json::json!({ "beyond_context": 1, "beyond_kv_pool": 1 }));

    let mooncake = trace(
        "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 8, \"hash_ids\": [4, 5]}\n\
         {\"timestamp\": 9, \"input_length\": 700, \"output_length\": 9, \"hash_ids\": [4, 6]}\n",
    );
    let args = ["--trace", mooncake.path().to_str().unwrap(), "--length-scale", "0.5", "--rate", "max"];
    let report = json(&args);
    // 256 tokens are the same: 8 pages.
    assert_eq!(report["variants"][0]["runs"][0]["requests"][1]["cached_tokens"], 256);
}

#[test]
fn an_idle_second_changes_no_token() {
    // The engine tests itself then. The second prompt is the first one, of which a page is cached.
    let line = |ms: u32| {
        format!("{{\"timestamp\": {ms}, \"input_length\": 40, \"output_length\": 200, \"hash_ids\": [7]}}\n")
    };
    let chat = trace(&(line(0) + &line(2000)));
    let args = ["--trace", chat.path().to_str().unwrap(), "--rate", "0.5", "-t", "1.5"];
    let cached = json(&args);
    let run = &cached["variants"][0]["runs"][0];
    assert_eq!(run["requests"][1]["cached_tokens"], 32);
    let anew = json(&[&args[..], &["--no-prefix-cache"]].concat());
    assert_eq!(run["tokens_hash"], anew["variants"][0]["runs"][0]["tokens_hash"]);
}

#[test]
fn people_get_a_table() {
    let text =
        inferno(&[&["bench", "serve"], &QUICK[..], &["--compare", "-r", "2", "--rate", "1000"]].concat())
            .ok();
    assert!(text.starts_with("Ember (built in): Q8_0"), "{text}");
    assert!(text.contains("made-up chats, lengths × 0.2: 12 requests, 1000 a second, "), "{text}");
    for row in
        ["completion tok/s", "time to first token p50, ms", "inter-token latency p50, ms", "preemptions"]
    {
        assert!(text.lines().any(|line| line.starts_with(row)), "{row}: {text}");
    }
    let last: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(last[..4], ["hash", "of", "the", "completions"]);
    assert!(last.len() == 8 && last[5..].iter().all(|hash| *hash == last[4]), "{text}");
}

#[test]
fn the_engine_is_compared_with_the_same_steps_without_it() {
    let text =
        inferno(&["bench", "serve", "--closed", "3", "--closed-tokens", "5", "-r", "2", "--json"]).ok();
    let report: Json = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["name"], &report["tokens"]), (&"decode 5 × 3".into(), &15.into()));
    for rate in ["kernel_tokens_per_s", "engine_tokens_per_s"] {
        assert_eq!(report[rate]["samples"].as_array().unwrap().len(), 2);
    }
    assert_eq!(report["runs"][0]["tokens_hash"], report["runs"][1]["tokens_hash"]);
}

#[test]
fn what_cannot_be_sent_is_refused() {
    let error = |args: &[&str]| inferno(&[&["bench", "serve"], args].concat()).error();
    let bad = trace("{\"timestamp\": 1, \"input_length\": 0}\n");
    let path = bad.path().to_str().unwrap();
    let expected = format!("{path}:1: expected `input_length` of 1 or more, found 0");
    assert_eq!(error(&["--trace", path]), expected);
    assert_eq!(
        error(&["--kv-memory", "144KiB"]),
        "none of the requests fits the context of 2048 positions and a KV pool of 32: `--length-scale` makes them shorter"
    );
    assert_eq!(
        error(&["--closed", "2", "--closed-tokens", "2048"]),
        "a prompt of 1 token and 2048 of completion are more than the context of 2048"
    );
    for args in [
        &["--compare", "--no-batching"][..],
        &["--closed", "2", "--rate", "3"],
        &["--rate", "0"],
        &["-r", "0"],
    ] {
        assert_eq!(inferno(&[&["bench", "serve"], args].concat()).code, Some(2), "{args:?}");
    }
    assert_eq!(inferno(&["bench", "-p", "5", "serve"]).code, Some(2));
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_load_test() {
    // Hours of waiting, told to begin before it is told to end.
    let mut child = start(&["bench", "serve", "--rate", "0.001"], Stdio::null());
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    assert!(stderr.next().unwrap().unwrap().starts_with("keys and values: room for "));
    assert_eq!(stderr.next().unwrap().unwrap(), "warming up with 4 requests at once");
    assert_eq!(stderr.next().unwrap().unwrap(), "repeat 1 of 1: everything on");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.unwrap().success());
    assert_eq!(stderr.next().unwrap().unwrap(), "stopped");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
