//! What operators see and do: requests, metrics, log lines.

use std::io::Write;
use std::process::Stdio;
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Reply, Server, read_reply, start, start_with};
use super::raw::check_well;
use crate::{Role, Settings};

fn story(max_tokens: usize) -> Value {
    json!({ "prompt": "Once upon a time", "max_tokens": max_tokens, "ignore_eos": true, "seed": 5 })
}

fn list(server: &Server) -> Vec<Value> {
    server.get("/admin/requests").json()["requests"].as_array().unwrap().clone()
}

fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// A server with one place for four requests, in their order.
fn busy() -> (Server, Vec<std::io::BufReader<std::net::TcpStream>>) {
    let settings = Settings { hold: Duration::from_millis(1), ..Settings::default() };
    let server = start_with(settings, |config| config.limits.max_sequences = 1);
    *server.faults.delay.lock().unwrap() = Duration::from_millis(10);
    let mut streams = Vec::new();
    for (i, is_stream) in [true, false, true, true].into_iter().enumerate() {
        let mut body = story(900);
        body["stream"] = is_stream.into();
        let mut stream = server.connect();
        let request = super::harness::post("/v1/completions", &format!("X-Request-Id: r{i}\r\n"), &body);
        stream.write_all(request.as_bytes()).unwrap();
        streams.push(std::io::BufReader::new(stream));
        server
            .wait_until(|server| list(server).len() == i + 1 && list(server)[i]["sequences"][0].is_object());
    }
    (server, streams)
}

#[test]
fn operators_see_what_runs_and_can_end_it() {
    let (server, mut streams) = busy();
    let all = list(&server);
    let ids: Vec<&str> = all.iter().map(|r| r["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["r0", "r1", "r2", "r3"]);
    let places: Vec<&Value> = all.iter().map(|r| &r["sequences"][0]["queue_position"]).collect();
    assert_eq!(places, [&Value::Null, &json!(1), &json!(2), &json!(3)]);
    let states: Vec<&Value> = all.iter().map(|r| &r["sequences"][0]["state"]).collect();
    assert_eq!(states, ["running", "waiting", "waiting", "waiting"]);
    assert_eq!(
        (&all[1]["stream"], &all[0]["stream"], &all[0]["key"]),
        (&json!(false), &json!(true), &json!("anyone"))
    );
    assert!(!all.iter().any(|r| r.to_string().contains("Once")));

    // By its own name, and by that of its answer.
    let cancel = |server: &Server, id: &str| server.raw(request("DELETE", &format!("/admin/requests/{id}")));
    assert_eq!(cancel(&server, "r1").json()["cancelled"], 1);
    let whole = read_reply(&mut streams[1]).unwrap();
    assert_eq!(whole.error(), (503, "request_cancelled".into(), "null".into()));
    assert_eq!(whole.header("x-should-retry"), Some("false"));
    let answer = all[0]["id"].as_str().unwrap();
    let path = format!("/admin/requests/{answer}/cancel");
    assert_eq!(server.raw(request("POST", &path)).json()["cancelled"], 1);
    let stream = read_reply(&mut streams[0]).unwrap();
    let events = stream.events();
    assert_eq!(events.last().unwrap()["error"]["code"], "request_cancelled");
    assert!(!stream.text().contains("[DONE]"));
    server.wait_until(|server| list(server).len() == 2);
    assert_eq!(cancel(&server, "r1").error(), (404, "request_not_found".into(), "null".into()));
    assert_eq!(cancel(&server, "r2").status, 200);
    assert_eq!(cancel(&server, "r3").status, 200);
    check_well(&server);
    assert_eq!(list(&server), Vec::<Value>::new());
}

#[test]
fn choices_come_in_order_and_are_told_apart() {
    let server = start(Settings::default());
    let mut body = story(6);
    body["n"] = 4.into();
    body["temperature"] = 1.2.into();
    let whole = server.post("/v1/completions", &body).json();
    let choices = whole["choices"].as_array().unwrap();
    let indices: Vec<u64> = choices.iter().map(|c| c["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2, 3]);
    assert_eq!(whole["usage"]["completion_tokens"], 24);
    body["stream"] = true.into();
    let events = server.post("/v1/completions", &body).events();
    let of = |i: usize| events.iter().map(|e| &e["choices"][0]).filter(move |c| c["index"] == i);
    for (i, choice) in choices.iter().enumerate() {
        let text: String = of(i).filter_map(|c| c["text"].as_str()).collect();
        assert_eq!(choice["text"], text);
        assert_eq!(of(i).filter(|c| c["finish_reason"].is_string()).count(), 1);
    }
    // Every choice is seen before any goes on, in order.
    let first: Vec<u64> = events[..4].iter().map(|e| e["choices"][0]["index"].as_u64().unwrap()).collect();
    assert_eq!(first, [0, 1, 2, 3]);
    let texts: std::collections::HashSet<&str> =
        choices.iter().map(|c| c["text"].as_str().unwrap()).collect();
    assert!(texts.len() > 1, "{texts:?}");
    // Prompts and choices: prompt by prompt.
    body["stream"] = false.into();
    body["prompt"] = json!(["Once", "Tom and Sam"]);
    body["n"] = 2.into();
    body["echo"] = true.into();
    let both = server.post("/v1/completions", &body).json();
    let begins: Vec<bool> = both["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["text"].as_str().unwrap().starts_with("Tom"))
        .collect();
    assert_eq!(begins, [false, false, true, true]);
}

#[test]
fn counters_move_under_our_names_and_under_vllms() {
    let server = start(Settings { vllm_metrics: true, ..Settings::default() });
    let names = [
        "inferno_completion_tokens_total",
        "inferno_request_seconds_count",
        "inferno_request_completion_tokens_sum",
        "inferno_requests_abandoned_total",
        "inferno_finished_total{reason=\"length\"}",
        "vllm:generation_tokens_total{model_name=\"ember\",engine=\"0\"}",
        "vllm:prompt_tokens_total{model_name=\"ember\",engine=\"0\"}",
        "vllm:request_success_total{model_name=\"ember\",engine=\"0\",finished_reason=\"length\"}",
        "vllm:e2e_request_latency_seconds_count{model_name=\"ember\",engine=\"0\"}",
        "vllm:time_to_first_token_seconds_count{model_name=\"ember\",engine=\"0\"}",
        "vllm:request_queue_time_seconds_count{model_name=\"ember\",engine=\"0\"}",
    ];
    let read = || names.map(|name| server.metric(name));
    assert_eq!(read(), [0.0; 11]);
    let reply = server.post("/v1/completions", &story(7));
    let n_prompt = reply.json()["usage"]["prompt_tokens"].as_f64().unwrap();
    let expected = [7.0, 1.0, 7.0, 0.0, 1.0, 7.0, n_prompt, 1.0, 1.0, 1.0, 1.0];
    server.wait_until(|server| server.metric(names[0]) == 7.0);
    assert_eq!(read(), expected);
    for name in
        ["num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "num_preemptions_total"]
    {
        assert_eq!(server.metric(&format!("vllm:{name}{{model_name=\"ember\",engine=\"0\"}}")), 0.0);
    }
    let answers = "inferno_http_requests_total{route=\"/v1/completions\",method=\"POST\",status=";
    assert_eq!(server.metric(&format!("{answers}\"200\"}}")), 1.0);
    // Paths and methods of strangers do not become labels.
    for i in 0..50 {
        server.get(&format!("/nowhere/{i}"));
        server.raw(request(&format!("M{i}"), "/nowhere"));
    }
    let page = server.get("/metrics").text();
    let others = |l: &&str| l.starts_with("inferno_http_requests_total{route=\"other\"");
    assert_eq!(page.lines().filter(others).count(), 2, "{page}");
    assert!(!page.contains("nowhere"));
    // A page that a scraper can read: every name has its type, once.
    let types: Vec<&str> = page.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
    assert_eq!(types.len(), types.iter().collect::<std::collections::HashSet<_>>().len());
    assert!(!start(Settings::default()).get("/metrics").text().contains("vllm:"));
}

#[test]
fn counters_move_under_llama_servers_names() {
    let server = start(Settings { llama_metrics: true, ..Settings::default() });
    let read = |name: &str| server.metric(&format!("llamacpp:{name}"));
    assert_eq!(read("n_tokens_max"), 0.0);
    let (mut n_prompt, mut n_cached) = (0.0, 0.0);
    for i in 1..=2 {
        let timings = server.post("/v1/completions", &story(7 * i)).json()["timings"].clone();
        n_prompt += timings["prompt_n"].as_f64().unwrap();
        n_cached += timings["cache_n"].as_f64().unwrap();
    }
    server.wait_until(Server::is_idle);
    let counts =
        ["prompt_tokens_total", "prompt_tokens_cached_total", "tokens_predicted_total", "n_tokens_max"];
    let longest = (n_prompt + n_cached) / 2.0 + 14.0;
    assert_eq!(counts.map(read), [n_prompt, n_cached, 21.0, longest]);
    let n_drafted = read("spec_decode_num_draft_tokens_total");
    assert!(read("spec_decode_num_accepted_tokens_total") <= n_drafted);
    let n_drafts = read("spec_decode_num_drafts_total");
    assert!(n_drafts <= n_drafted && (n_drafts > 0.0) == (n_drafted > 0.0), "{n_drafts} of {n_drafted}");
    // The requests came one after the other.
    assert_eq!(read("n_busy_slots_per_decode"), 1.0);
    assert!(read("n_decode_total") > 0.0 && read("requests_processing") + read("requests_deferred") == 0.0);
    let rate = read("tokens_predicted_total") / read("tokens_predicted_seconds_total");
    assert!((read("predicted_tokens_seconds") / rate - 1.0).abs() < 1e-6);
    assert!(!start(Settings::default()).get("/metrics").text().contains("llamacpp:"));
}

/// Complaints of Debian's `promtool` about a page, except that names with a colon, as vLLM's are, are for rules.
fn linted(page: &str) -> Option<String> {
    let mut command = std::process::Command::new("promtool");
    let command = command.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().ok()?;
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    Some(said.lines().filter(|line| !line.ends_with("should not contain ':'")).collect::<Vec<_>>().join("\n"))
}

#[test]
fn metrics_pass_promtool() {
    let server = start(Settings { vllm_metrics: true, ..Settings::default() });
    server.post("/v1/completions", &story(3));
    server.get("/nowhere");
    let page = server.get("/metrics").text();
    match linted(&page) {
        Some(said) => assert_eq!(said, "", "{page}"),
        None => xtask::testing::skip("promtool", "there is no promtool (Debian's package prometheus)"),
    }
}

#[test]
fn help_is_a_phrase_and_the_process_is_there() {
    let server = start(Settings::default());
    server.post("/v1/completions", &story(3));
    server.wait_until(|server| server.metric("inferno_key_requests_total{key=\"anyone\"}") == 1.0);
    assert_eq!(server.metric("inferno_key_completion_tokens_total{key=\"anyone\"}"), 3.0);
    assert_eq!(server.metric("inferno_refused_total{reason=\"rate_limit_exceeded\"}"), 0.0);
    let page = server.get("/metrics").text();
    let helps = page.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    for (name, help) in helps {
        assert!(help.split(' ').count() > 1 && help.ends_with('.'), "{name}: {help}");
        let is_of_time = name.contains("seconds") && !name.ends_with("_count");
        assert!(!is_of_time || help.contains("seconds"), "{name}: {help}");
        assert!(!name.ends_with("_bytes") || help.contains("bytes"), "{name}: {help}");
    }
    if cfg!(target_os = "linux") {
        assert!(server.metric("process_resident_memory_bytes") > 1e6);
        assert!(server.metric("process_open_fds") > 3.0 && server.metric("process_max_fds") > 3.0);
        assert!(server.metric("process_cpu_seconds_total") > 0.0 && server.metric("process_threads") > 1.0);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - server.metric("process_start_time_seconds");
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}

static LINES: LazyLock<Mutex<Vec<u8>>> = LazyLock::new(Mutex::default);

#[derive(Clone)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LINES.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_log_tells_of_requests_and_not_of_texts() {
    let level = crate::log::Level::TRACE;
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(|| Lines).init();
    let key = crate::keys::tests::named("sk-hush", "ann", Role::User);
    let said = |log_text: bool, word: &str| {
        let settings = Settings {
            log_text,
            body_time: Duration::from_millis(100),
            keys: vec![key.clone()],
            ..Settings::default()
        };
        let server = start(settings);
        let headers = format!("Authorization: Bearer sk-hush\r\nX-Request-Id: id-{word}\r\n");
        let ask = |path: &str, body: &Value| -> Reply { server.post_with(path, &headers, body) };
        let messages = json!([{ "role": "user", "content": word }]);
        let chat = json!({ "messages": messages, "max_tokens": 3 });
        assert_eq!(ask("/v1/chat/completions", &chat).status, 200);
        assert_eq!(ask("/v1/completions", &json!({ "prompt": word, "max_tokens": 3 })).status, 200);
        assert_eq!(ask("/tokenize", &json!({ "content": word })).status, 200);
        for wrong in [
            json!({ "prompt": word, "n": word }),
            json!({ "prompt": [word, 1] }),
            json!({ "messages": word }),
        ] {
            assert_eq!(ask("/v1/chat/completions", &wrong).status, 400);
            assert_eq!(ask("/v1/completions", &wrong).status, 400);
        }
        server.raw(format!(
            "POST /tokenize HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: 20\r\n\r\n{{\"{word}\": "
        ));
        drop(server);
        String::from_utf8(LINES.lock().unwrap().clone()).unwrap()
    };
    let lines = said(false, "xylophonist");
    assert!(lines.contains("request_id=\"id-xylophonist\"") && lines.contains("status=200"), "{lines}");
    assert!(lines.contains("status=400") && lines.contains("reason=\"invalid_value\""), "{lines}");
    assert!(!lines.replace("id-xylophonist", "").contains("xylophonist"), "{lines}");
    let lines = said(true, "bassoonist");
    assert!(lines.replace("id-bassoonist", "").contains("bassoonist"), "{lines}");
    assert!(!lines.contains("sk-hush"), "{lines}");
}
