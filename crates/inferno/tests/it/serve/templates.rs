//! Chat templates of files: what does not work fails the chats that need it, and nothing else.

use std::io::Write;
use std::time::{Duration, Instant};

use inferno_format::{Array, Value};

use super::{Served, serve};

/// A server with this template.
fn serve_with(template: &str) -> Served {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(template.as_bytes()).unwrap();
    serve(&["--chat-template", file.path().to_str().unwrap()])
}

/// Waits for a line on stderr, which another thread collects.
fn warns(served: &Served, expected: &str) {
    let begun = Instant::now();
    while !served.stderr.lock().unwrap().contains(expected) {
        assert!(begun.elapsed() < super::PATIENCE, "no warning: {expected}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn post(served: &Served, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    served.ask(&format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

fn chat(served: &Served, content: &str) -> (u16, String) {
    let body = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{content}\"}}], \"max_tokens\": 2, \"temperature\": 0}}"
    );
    post(served, "/v1/chat/completions", &body)
}

const COMPLETION: &str =
    "{\"prompt\": \"Once\", \"max_tokens\": 40, \"temperature\": 0, \"ignore_eos\": true}";

/// The text of a completion that always gives the same.
fn completion(served: &Served) -> String {
    let (status, answer) = post(served, "/v1/completions", COMPLETION);
    assert_eq!(status, 200, "{answer}");
    let text = answer.split_once("\"text\":").unwrap().1;
    text.split_once("\",").unwrap().0.to_owned()
}

#[test]
fn a_template_that_cannot_be_used_leaves_completions() {
    let templates = [
        ("{% trans %}hi{% endtrans %}", "unknown tag `trans`"),
        (&format!("{{{{ {}1 }}}}", "-".repeat(20_000)), "more than 150 levels"),
    ];
    for (template, reason) in templates {
        let served = serve_with(template);
        warns(&served, reason);
        completion(&served);
        // A client that renders chats by itself may still have it.
        let get = "GET /tokenizer_info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let (status, info) = served.ask(get);
        assert!(status == 200 && info.contains(&serde_json::Value::from(template).to_string()), "{info}");
        let messages = "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}";
        for path in ["/v1/chat/completions", "/apply-template", "/tokenize"] {
            let (status, answer) = post(&served, path, messages);
            assert_eq!(status, 400, "{path}: {answer}");
            assert!(answer.contains("template_failed") && answer.contains(reason), "{path}: {answer}");
        }
    }
}

#[test]
fn a_server_without_a_template_says_so() {
    let served = serve(&["--chat-template", "none"]);
    warns(&served, "`--chat-template none`");
    let (status, answer) = chat(&served, "x");
    assert!(status == 400 && answer.contains("--chat-template none"), "{answer}");
    completion(&served);
}

/// Does its worst where a message says what.
const HOSTILE: &str = "
{%- set what = messages[0].content -%}
{%- set ns = namespace(x='aaaaaaaaaaaaaaaa', l=[]) -%}
{%- macro twice(x) %}{{ x }}{{ x }}{% endmacro -%}
{%- macro again() %}{{ again() }}{% endmacro -%}
{%- if what == 'deep' %}{% for i in range(32200) %}{% set ns.l = [ns.l] %}{% endfor -%}
{%- elif what == 'deep-json' %}{% for i in range(32200) %}{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson -}}
{%- elif what == 'tilde' %}{% for i in range(40) %}{% set ns.x = ns.x ~ ns.x %}{% endfor -%}
{%- elif what == 'plus' %}{% for i in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor -%}
{%- elif what == 'macro' %}{% for i in range(40) %}{% set ns.x = twice(ns.x) %}{% endfor -%}
{%- elif what == 'set' %}{% for i in range(40) %}{% set y %}{{ ns.x }}{{ ns.x }}{% endset %}{% set ns.x = y %}{% endfor -%}
{%- elif what == 'tuple' %}{% set a = (what,) * 100000000 -%}
{%- elif what == 'search' %}{% set a = what * 9000000 %}{% for i in range(90000) %}{% if 'b' in a %}{% endif %}{% endfor -%}
{%- elif what == 'compare' %}{% set a = what * 9000000 %}{% for i in range(90000) %}{% if a == a ~ '' %}{% endif %}{% endfor -%}
{%- elif what == 'steps' %}{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor -%}
{%- elif what == 'output' %}{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor -%}
{%- elif what == 'recursion' %}{{ again() -}}
{%- endif -%}
{{ what }}";

/// Kinds of hostile templates, with the reason that is given for each.
const KINDS: [(&str, &str); 12] = [
    ("deep", "nests deeper"),
    ("deep-json", "nests deeper"),
    ("tilde", "MiB"),
    ("plus", "MiB"),
    ("macro", "MiB"),
    ("set", "MiB"),
    ("tuple", "items"),
    ("search", "steps"),
    ("compare", "MiB"),
    ("steps", "steps"),
    ("output", "bytes"),
    ("recursion", "nest deeper"),
];

#[test]
fn a_hostile_render_fails_alone() {
    let served = serve_with(HOSTILE);
    let alone = completion(&served);
    let calm = chat(&served, "calm");
    assert_eq!(calm.0, 200);
    let before = resident(&served);
    std::thread::scope(|scope| {
        let hostile = scope.spawn(|| {
            for (kind, reason) in KINDS {
                let (status, answer) = chat(&served, kind);
                assert_eq!(status, 400, "{kind}: {answer}");
                // On a slow machine the limit of time may come first.
                let is_slow = answer.contains("more than 1 s");
                assert!(answer.contains(reason) || is_slow, "{kind}: {answer}");
            }
        });
        while !hostile.is_finished() {
            assert_eq!(completion(&served), alone);
            assert_eq!(chat(&served, "calm").0, 200);
            let begun = Instant::now();
            assert_eq!(served.get("/live").0, 200);
            assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        }
    });
    let after = resident(&served);
    assert!(after < before + (64 << 10), "{before} KiB, then {after} KiB");
}

/// Memory of the server in KiB; 0 where the system does not tell.
fn resident(served: &Served) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", served.child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().map_or(0, |n| n.parse().unwrap())
}

#[cfg(target_os = "linux")]
mod processes {
    use super::*;

    /// The server's children.
    fn children(served: &Served) -> Vec<String> {
        let pid = served.child.id();
        let mut all = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let list = std::fs::read_to_string(task.unwrap().path().join("children")).unwrap_or_default();
            all.extend(list.split_whitespace().map(str::to_owned));
        }
        all
    }

    fn signal(name: &str, pid: &str) {
        let status = std::process::Command::new("kill").args([&format!("-{name}"), pid]).status();
        assert!(status.unwrap().success());
    }

    fn is_gone(pid: &str) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        status.map_or(true, |status| status.rsplit_once(')').unwrap().1.trim_start().starts_with('Z'))
    }

    #[test]
    fn a_child_outlives_ctrl_c_and_is_replaced_when_it_dies() {
        let served = serve_with("{{ messages[0].content }}");
        let before = children(&served);
        assert_eq!(before.len(), 1);
        for name in ["INT", "TERM", "HUP"] {
            signal(name, &before[0]);
        }
        assert_eq!(chat(&served, "x").0, 200);
        assert_eq!(children(&served), before);
        signal("KILL", &before[0]);
        assert_eq!(chat(&served, "x").0, 200);
        let after = children(&served);
        assert!(after.len() == 1 && after != before);
    }

    #[test]
    fn a_chat_outlives_children_that_others_kill() {
        let served = serve_with("{{ messages[0].content }}");
        let mut killed = children(&served);
        signal("KILL", &killed[0]);
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| chat(&served, "x"));
            while killed.len() < 3 && !asked.is_finished() {
                for child in
                    children(&served).into_iter().filter(|child| !killed.contains(child)).collect::<Vec<_>>()
                {
                    signal("KILL", &child);
                    killed.push(child);
                }
            }
            let (status, answer) = asked.join().unwrap();
            assert_eq!(status, 200, "{answer}");
        });
        assert!(killed.len() > 1, "no child was killed while it was asked");
    }

    #[test]
    fn children_end_with_their_parent_even_while_they_render() {
        let mut served = serve_with(HOSTILE);
        let (idle, address) = (children(&served), served.address.clone());
        assert_eq!(idle.len(), 1);
        let body = "{\"messages\": [{\"role\": \"user\", \"content\": \"search\"}]}";
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        served.child.kill().unwrap();
        served.child.wait().unwrap();
        let begun = Instant::now();
        while !is_gone(&idle[0]) {
            assert!(begun.elapsed() < Duration::from_secs(30), "it still runs");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn chats_are_503_while_no_child_can_be_started() {
        use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

        let served = serve_with("{{ messages[0].content }}");
        let pid = Pid::from_raw(served.child.id().cast_signed());
        let descriptors = |most: Option<u64>| {
            let own = getrlimit(Resource::Nofile);
            prlimit(pid, Resource::Nofile, Rlimit { current: most, ..own }).unwrap()
        };
        assert_eq!(chat(&served, "x").0, 200);
        let n = std::fs::read_dir(format!("/proc/{}/fd", served.child.id())).unwrap().count() as u64;
        let before = descriptors(Some(n + 1));
        signal("KILL", &children(&served)[0]);
        let (status, answer) = chat(&served, "x");
        assert_eq!(status, 503, "{answer}");
        assert!(
            answer.contains("template_unavailable") && answer.contains("Too many open files"),
            "{answer}"
        );
        descriptors(before.current);
        assert_eq!(chat(&served, "x").0, 200);
    }

    #[test]
    fn a_child_has_neither_secrets_nor_descriptors_of_the_server() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"{{ messages[0].content }}").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_inferno"));
        command.args(["serve", "--port", "0", "--chat-template", file.path().to_str().unwrap()]);
        command.env("INFERNO_API_KEY", "sk-secret").env("OTHER_SECRET", "sk-secret");
        let (served, _stderr) = super::super::unread(command);
        let child = &children(&served)[0];
        let environment = std::fs::read_to_string(format!("/proc/{child}/environ")).unwrap();
        assert!(!environment.contains("secret") && !environment.contains("INFERNO"), "{environment}");
        let open = std::fs::read_dir(format!("/proc/{child}/fd")).unwrap().count();
        assert_eq!(open, 3);
        let limits = std::fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
        let limit = |name: &str| {
            let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().to_owned()
        };
        assert_eq!(limit("Max core file size"), "0");
        assert!(limit("Max data size").parse::<u64>().unwrap() < 1 << 30);
    }
}

#[test]
fn tokens_that_a_file_suppresses_are_in_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let first = |suppressed: Vec<u32>| -> u64 {
        let path = crate::odd_files::ember(folder.path(), |m| {
            m.set("tokenizer.ggml.suppress_tokens", Value::Array(Array::U32(suppressed)));
        });
        let served = serve(&["-m", &path]);
        let body =
            "{\"prompt\": \"Once\", \"max_tokens\": 1, \"temperature\": 0, \"return_token_ids\": true}";
        let (status, answer) = post(&served, "/v1/completions", body);
        assert_eq!(status, 200, "{answer}");
        let answer: serde_json::Value =
            serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        answer["choices"][0]["token_ids"][0].as_u64().unwrap()
    };
    let usual = first(Vec::new());
    assert_ne!(first(vec![usual as u32]), usual);
}
