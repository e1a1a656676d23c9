//! Settings of all commands: the configuration file, variables, manual pages; and the program without a command.

use std::process::{Command, Output};

use xtask::testing::root;

use crate::inferno;

/// Runs the program with a configuration file, which is the user's own.
fn with_config(toml: &str, env: &[(&str, &str)], args: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir(home.path().join("inferno")).unwrap();
    std::fs::write(home.path().join("inferno/config.toml"), toml).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(args).env("XDG_CONFIG_HOME", home.path()).envs(env.iter().copied());
    command.stdin(std::process::Stdio::null()).output().unwrap()
}

#[test]
fn one_file_has_settings_of_all_commands() {
    let config = "temperature = 0.0\nmax-tokens = 9\nport = 1\n[run]\nmax-tokens = 3\n[serve]\nqueue = 5";
    let n_tokens = |env: &[(&str, &str)], args: &[&str]| {
        let args = [&["run", "--json", "Tell me a story"], args].concat();
        let output = with_config(config, env, &args);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        json["tokens"].as_array().unwrap().len()
    };
    assert_eq!(n_tokens(&[], &[]), 3);
    assert_eq!(n_tokens(&[("INFERNO_MAX_TOKENS", "5")], &[]), 5);
    assert_eq!(n_tokens(&[("INFERNO_MAX_TOKENS", "5")], &["-n", "4"]), 4);

    let chat = with_config(config, &[], &["chat", "--print-config"]);
    let text = String::from_utf8(chat.stdout).unwrap();
    for line in ["[chat]", "max-tokens = 9", "[chat.sampling]"] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in {text}");
    }
    let refused = with_config("[run]\nmax-token = 3", &[], &["run", "Hi"]);
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(stderr.contains("line 2: `max-token`") && stderr.contains("`max-tokens`"), "{stderr}");
}

#[test]
fn the_address_is_printed_as_it_holds() {
    let address = |config: &str, env: &[(&str, &str)], args: &[&str]| {
        let printed = with_config(config, env, &[&["serve", "--print-config"], args].concat());
        let text = String::from_utf8(printed.stdout).unwrap();
        let lines = ["host = ", "port = "].map(|name| {
            let line = text.lines().find(|line| line.trim_start_matches('#').starts_with(name));
            line.unwrap_or_else(|| panic!("no `{name}` in {text}")).to_owned()
        });
        lines.join(" ")
    };
    assert_eq!(address("", &[], &[]), r#"#host = "127.0.0.1" #port = 8080"#);
    assert_eq!(address("", &[], &["--port", "9"]), r#"#host = "127.0.0.1" port = 9"#);
    assert_eq!(address("[serve]\nhost = \"::1\"", &[], &[]), r#"host = "::1" #port = 8080"#);
    let ollama = [("OLLAMA_HOST", "0.0.0.0:11434")];
    assert_eq!(address("", &ollama, &[]), r#"#host = "0.0.0.0" #port = 11434"#);
    assert_eq!(address("[serve]\nport = 9", &ollama, &[]), r#"#host = "127.0.0.1" port = 9"#);
}

#[test]
fn a_variable_that_sets_nothing_is_warned_of() {
    let ran = with_config("", &[("INFERNO_MAX_TOKEN", "3")], &["tokenize", "hello"]);
    let stderr = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{stderr}");
    assert!(stderr.contains("`INFERNO_MAX_TOKEN` sets nothing, is it `INFERNO_MAX_TOKENS`?"), "{stderr}");
}

#[test]
fn the_program_alone_says_what_it_can_do() {
    let said = inferno(&[]).ok();
    for command in ["inferno chat", "inferno run", "inferno serve", "inferno doctor", "Ember"] {
        assert!(said.contains(command), "{said}");
    }
    assert!(said.lines().count() <= 10 && !said.contains("[Y/n]"), "{said}");
    let help = inferno(&["--help"]).ok();
    assert!(help.contains("Exit codes:") && help.contains("130  Ctrl-C"), "{help}");
}

#[test]
fn manual_pages_and_completions_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("man1");
    inferno(&["man", pages.to_str().unwrap()]).ok();
    let page = std::fs::read_to_string(pages.join("inferno-run.1")).unwrap();
    assert!(page.starts_with(".ie") && page.contains("max\\-tokens"), "{page}");
    let script = inferno(&["completions", "bash"]).ok();
    assert!(script.contains("--print-config") && script.contains("doctor"), "{script}");
}

#[cfg(target_os = "linux")]
#[test]
fn bash_completes_names_of_models_up_to_and_behind_their_colons() {
    let script = inferno(&["completions", "bash"]).ok();
    let program = env!("CARGO_BIN_EXE_inferno");
    let complete = |line: &str| {
        let line = line.replacen("inferno", program, 1);
        let code = format!(
            "{script}\nCOMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; COMP_WORDS=($COMP_LINE); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _inferno_or_model \"${{COMP_WORDS[0]}}\" \"${{COMP_LINE##*[ :=]}}\" x\nprintf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let mut bash = Command::new("bash");
        bash.args(["-c", &code]).env("HF_HUB_CACHE", "/nowhere");
        String::from_utf8(bash.current_dir("/").output().unwrap().stdout).unwrap()
    };
    for line in [
        "inferno chat qwen3:0",
        "inferno serve -m qwen3:0",
        "inferno chat --model=qwen3:0",
        "inferno run qwen3:0",
    ] {
        assert_eq!(complete(line), "0.6b\n", "{line}");
    }
    assert!(complete("inferno pull qwen3").lines().any(|name| name == "qwen3:0.6b"));
    assert_eq!(complete("inferno chat --temp"), "--temperature\n");
    assert_eq!(complete("inferno doc"), "doctor\n");
    assert!(!complete("inferno run Why qwen3:0").contains("0.6b"));
}

/// Files of Rust below a folder, put together.
fn sources(folder: &std::path::Path, all: &mut String) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_table_of_limits_has_every_flag_and_names_tests_that_exist() {
    let table = std::fs::read_to_string(root().join("docs/limits.md")).unwrap();
    let printed = with_config("", &[], &["serve", "--print-config"]);
    let printed = String::from_utf8(printed.stdout).unwrap();
    let limits = printed.split("[serve.limits]\n").nth(1).unwrap();
    let limits = limits.split("\n[").next().unwrap();
    // `#name = value`, or `# No default: name = VALUE`.
    let names: Vec<&str> = limits
        .lines()
        .filter_map(|line| line.strip_prefix("# No default: ").or(line.strip_prefix('#')))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name)
        .filter(|name| !name.contains(' '))
        .collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(table.contains(&format!("`--{name}`")), "docs/limits.md has no --{name}");
    }
    let mut code = String::new();
    sources(&root().join("crates"), &mut code);
    let mut n_tests = 0;
    for row in table.lines().filter(|line| line.starts_with("| ") && !line.ends_with("test |")) {
        let tests = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for test in tests.split(", ") {
            let name = test.trim_matches('`');
            assert!(code.contains(&format!("fn {name}(")), "docs/limits.md names no test: {row}");
            n_tests += 1;
        }
    }
    assert!(n_tests > 60, "{n_tests}");
}
