//! What it is started with: flags, variables, files.

use std::io::Write;
use std::process::Command;

use super::{listening, serve};
use crate::inferno;
use xtask::testing::testdata;

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

fn print_config(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    let output = command.arg("serve").args(args).arg("--print-config").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_printed_config_is_read_back_and_has_every_setting() {
    let plain = print_config(&[]);
    let keys = |text: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| {
            let line = line.strip_prefix("# No default: ").or(line.strip_prefix('#')).unwrap_or(line);
            Some(line.split_once(" = ")?.0.to_owned())
        });
        lines.filter(|key| !key.contains(' ')).collect()
    };
    let help = Command::new(env!("CARGO_BIN_EXE_inferno")).args(["serve", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let flags = help.lines().filter_map(|line| line.trim().split("--").nth(1)?.split([' ', '=']).next());
    let known = keys(&plain);
    for flag in flags.filter(|flag| !["help", "version", "config", "print-config", ""].contains(flag)) {
        if help.contains(&format!("      --{flag}")) || help.contains(&format!(", --{flag}")) {
            assert!(known.contains(&flag.to_owned()), "{flag} is missing");
        }
    }
    assert!(known.len() > 50, "{known:?}");

    // As it is it sets nothing; with every default uncommented it means the same.
    let is_setting = |line: &str| line.starts_with('#') && !line.starts_with("# ") && line != "#";
    let all: Vec<&str> = plain.lines().map(|line| if is_setting(line) { &line[1..] } else { line }).collect();
    for text in [plain.clone(), all.join("\n")] {
        let config = file(&text);
        assert_eq!(print_config(&["--config", config.path().to_str().unwrap()]), plain);
    }

    // What is set stands there as it is, and a secret does not.
    let set = print_config(&["--port", "9000", "--any-model", "--alias", "a\"b,c", "--api-key", "sk-hush"]);
    for line in ["port = 9000", "any-model = true", "alias = [\"a\\\"b\", \"c\"]"] {
        assert!(set.lines().any(|found| found == line), "{set}");
    }
    assert!(!set.contains("sk-hush"));
    let config = file(&set);
    assert_eq!(
        print_config(&["--config", config.path().to_str().unwrap()]),
        set.replace(
            "# api-key is set; its value is a secret and not shown",
            "# No default: api-key = KEY,.."
        )
    );
}

#[test]
fn a_wrong_variable_is_named_and_an_unknown_one_warned_of() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    let output = command.args(["serve"]).env("INFERNO_PORT", "abc").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("`INFERNO_PORT` has the value 'abc'"), "{stderr}");
    // A flag's own fault is the flag's.
    let stderr = inferno(&["serve", "--port", "abc"]).stderr;
    assert!(stderr.contains("--port") && !stderr.contains("INFERNO_PORT"), "{stderr}");

    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["serve", "--port", "0"]).env("INFERNO_PROT", "1").env("INFERNO_TEST_X", "1");
    let served = listening(command);
    served.says("`INFERNO_PROT` sets nothing, is it `INFERNO_PORT`?");
    served.says("keys and values: room for");
    assert!(!served.stderr.lock().unwrap().contains("INFERNO_TEST_X"));
}

#[test]
fn a_name_is_an_address_too() {
    let served = serve(&["--host", "localhost"]);
    assert_eq!(served.get("/health").0, 200);
    let error = inferno(&["serve", "--port", "0", "--host", "no.such.name.invalid"]).error();
    assert!(error.contains("`no.such.name.invalid`"), "{error}");
}

#[test]
fn the_context_that_memory_leaves_is_what_everybody_is_told() {
    let served = serve(&["--kv-memory", "1MiB"]);
    let body = served.get("/v1/models").1;
    let models: serde_json::Value = serde_json::from_str(body.split_once("\r\n\r\n").unwrap().1).unwrap();
    let told = models["data"][0]["max_model_len"].as_u64().unwrap();
    assert!(told < 1024 && models["data"][0]["meta"]["n_ctx"] == told, "{models}");
    served.says(&format!("requests may have {told} tokens"));
    let prompt = "a b c d e ".repeat(400);
    let request = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{{\"prompt\": \"{prompt}\"}}",
        prompt.len() + 14
    );
    let (status, answer) = served.ask(&request);
    assert!(status == 400 && answer.contains(&format!("maximum context length is {told}")), "{answer}");
    let error = inferno(&["serve", "--port", "0", "--kv-memory", "900TiB"]).error();
    assert!(error.contains("900.0 TiB") && error.contains("ask for at most"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_key_file_that_all_can_read_is_warned_of() {
    use std::os::unix::fs::PermissionsExt;
    for (mode, is_open) in [(0o644, true), (0o640, false), (0o600, false)] {
        let keys = file("sk-a\n");
        std::fs::set_permissions(keys.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        let served = serve(&["--api-key-file", keys.path().to_str().unwrap()]);
        served.says("keys and values: room for");
        let said = served.stderr.lock().unwrap();
        assert_eq!(
            said.contains("every user of this machine can read the keys"),
            is_open,
            "{mode:o}: {said}"
        );
    }
}

#[test]
fn the_printed_command_works_as_it_is() {
    if Command::new("curl").arg("--version").output().is_err() {
        return xtask::testing::skip("curl", "there is no curl");
    }
    for key in [None, Some("sk-a'b")] {
        let args = key.map_or(vec![], |key| vec!["--api-key", key]);
        let mut served = serve(&args);
        let mut printed = String::new();
        // The shell in which it is pasted has the key.
        while !printed.trim_end().ends_with('\'') {
            assert!(std::io::BufRead::read_line(&mut served.stdout, &mut printed).unwrap() > 0, "{printed}");
        }
        assert!(!printed.contains("sk-a"), "{printed}");
        let printed = printed.replacen("curl ", "curl -s -w '%{http_code}' ", 1);
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", &printed]).env("INFERNO_API_KEY", key.unwrap_or("")).output().unwrap();
        let answer = String::from_utf8(output.stdout).unwrap();
        assert!(answer.ends_with("200"), "{printed}\n{answer}");
    }
}

#[test]
fn sampling_defaults_come_from_the_file_and_flags_replace_them() {
    let defaults = |args: &[&str]| {
        let served = serve(args);
        let (_, body) = served.get("/server_info");
        let json: serde_json::Value = serde_json::from_str(&body[body.find('{').unwrap()..]).unwrap();
        json["sampling_defaults"].clone()
    };
    let found = defaults(&["--top-k", "-1", "--repeat-penalty", "1.5", "-np", "2", "-c", "0"]);
    // Ember's own, except for what the flags say.
    assert_eq!((&found["temperature"], &found["min_p"]), (&0.5.into(), &0.05.into()), "{found}");
    assert_eq!((&found["top_k"], &found["repetition_penalty"]), (&0.into(), &1.5.into()), "{found}");
    let found = defaults(&["--no-model-defaults"]);
    assert_eq!((&found["temperature"], &found["top_k"]), (&0.6.into(), &40.into()), "{found}");
}

#[test]
fn pages_are_shown_for_every_cache_group() {
    let model = testdata("goldens/gemma3.gguf");
    let long = "gemma3.context_length=int:8192";
    let served = serve(&["-m", model.to_str().unwrap(), "--override-kv", long, "--sequences", "2"]);
    let (_, body) = served.get("/server_info");
    let json: serde_json::Value = serde_json::from_str(&body[body.find('{').unwrap()..]).unwrap();
    // 3 pages of the window for every 128 pages, and 16 for the rows of a step.
    let group = |window: Option<usize>, pages: usize| serde_json::json!({ "kind": "pages", "window": window, "pages": pages });
    let groups = [group(Some(8), 28), group(None, 512)];
    assert_eq!(json["kv_pool"], serde_json::json!({ "pages": 512, "positions": 16_384, "groups": groups }));
    assert_eq!(json["context_length"], 8192);
    let (_, metrics) = served.get("/metrics");
    for line in [
        "inferno_kv_group_pages{group=\"0\",window=\"8\",state=\"free\"} 28",
        "inferno_kv_group_pages{group=\"1\",window=\"all\",state=\"free\"} 512",
        "inferno_kv_pages{state=\"free\"} 540",
    ] {
        assert!(metrics.lines().any(|l| l == line), "no `{line}` in {metrics}");
    }
}
