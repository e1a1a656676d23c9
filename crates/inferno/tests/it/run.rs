//! `inferno run`.

use std::io::{BufRead, Read};
use std::process::{Command, Stdio};

use crate::{golden, inferno, pipe, start};

const GREEDY: [&str; 4] = ["--temperature", "0", "--max-tokens", "24"];

fn run(args: &[&str]) -> crate::Ran {
    inferno(&[&["run"], args].concat())
}

#[test]
fn ember_answers_and_the_last_line_has_the_speeds() {
    let ran = run(&[&GREEDY[..], &["Tell me a story about a dragon."]].concat());
    assert!(ran.stdout.starts_with("Once upon a time") && ran.stdout.ends_with('\n'), "{}", ran.stdout);
    let last = ran.stderr.lines().last().unwrap();
    assert!(
        last.starts_with("prompt: 16 tokens, ") && last.contains(" tok/s; decode: 24 tokens, "),
        "{last}"
    );
    assert_eq!(ran.code, Some(0));
}

#[test]
fn a_piped_prompt_is_the_same_prompt() {
    let argument = run(&[&GREEDY[..], &["Hello!"]].concat()).ok();
    assert_eq!(pipe("Hello!\n", &[&["run"], &GREEDY[..]].concat()).ok(), argument);
    assert_eq!(pipe("Hello!\r\n", &[&["run", "-"], &GREEDY[..]].concat()).ok(), argument);
}

#[test]
fn a_seed_repeats_its_text_and_another_gives_another() {
    let story = |seed| run(&["--seed", seed, "-n", "30", "-t", "1", "Tell me a story."]).ok();
    assert_eq!(story("7"), story("7"));
    assert_ne!(story("7"), story("8"));
}

#[test]
fn verbose_shows_seed_stop_and_a_hash_that_repeats() {
    let hash = || {
        let stderr = run(&[&GREEDY[..], &["-v", "--seed", "3", "Hi"]].concat()).stderr;
        assert!(stderr.contains("seed 3, loaded in ") && stderr.contains("stopped: "), "{stderr}");
        stderr.lines().find(|l| l.contains("logits hash ")).expect("a hash").to_owned()
    };
    assert_eq!(hash(), hash());
}

#[test]
fn raw_continues_text_without_a_template() {
    let raw = run(&[&GREEDY[..], &["--raw", "Once upon a time, there was"]].concat());
    assert!(raw.stderr.contains("prompt: 7 tokens"), "{}", raw.stderr);
    assert!(!raw.stdout.trim().is_empty());
}

#[test]
fn a_system_message_is_part_of_the_prompt() {
    let with = run(&[&GREEDY[..], &["--system", "You are a pirate.", "Hello!"]].concat());
    assert!(!with.stderr.contains("prompt: 9 tokens"), "{}", with.stderr);
    with.ok();
}

#[test]
fn control_tokens_in_a_prompt_stay_text() {
    // As a control token it would end the turn and cost one token; as text it costs several.
    let tokens = |prompt: &str| {
        let stderr = run(&["-n", "1", prompt]).stderr;
        let count = stderr.split("prompt: ").nth(1).unwrap().split(' ').next().unwrap();
        count.parse::<usize>().unwrap()
    };
    assert!(tokens("a<|im_end|>b") >= tokens("ab") + 3);
}

#[test]
fn a_raw_prompt_may_be_the_start_token_alone_and_has_one() {
    let error = run(&["--raw", ""]).error();
    assert_eq!(error, "the prompt is empty, and the model puts no start token in front of it to go on from");
    let start = "<|im_start|>";
    let id = inferno(&["tokenize", "--special", start]).ok();
    let metadata =
        format!("tokenizer.ggml.bos_token_id=int:{},tokenizer.ggml.add_bos_token=bool:true", id.trim());
    let tokens = |prompt: &str| {
        let flags = [&GREEDY[..], &["--override-kv", &metadata, "--json", "--raw", prompt]].concat();
        let answer: serde_json::Value = serde_json::from_str(&run(&flags).ok()).unwrap();
        (answer["usage"]["prompt_tokens"].clone(), answer["tokens"].clone())
    };
    let (n, alone) = tokens("");
    assert_eq!(n, 1);
    // Blank text is text.
    assert_eq!(tokens(" ").0, 2);
    // A start token in the text is not put in front of it a second time.
    assert_eq!(tokens(start), (n, alone));
}

#[test]
fn unfit_prompts_are_refused_with_what_to_do() {
    assert_eq!(run(&[""]).error(), "the prompt is empty");
    assert_eq!(run(&["   "]).error(), "the prompt is empty");
    assert_eq!(pipe(" \n\n", &["run"]).error(), "the prompt is empty");
    assert_eq!(run(&[]).error(), "the prompt is empty");
    assert_eq!(pipe([b'a', 0xff], &["run"]).error(), "stdin is not UTF-8 at byte 1");
    let long = "word ".repeat(3000);
    let error = run(&[&long]).error();
    assert!(error.contains("tokens and the context 2048 positions: it must leave room"), "{error}");
    let error = run(&["-m", &golden("llama"), "Hello"]).error();
    assert!(
        error.contains("has none; `--chat-template FILE`") && error.contains("`inferno run --raw`"),
        "{error}"
    );
    assert!(run(&["-m", "no such file", "Hello"]).error().starts_with("`no such file`: cannot open: "));
    let error = run(&["--context", "5000", "Hello"]).error();
    assert!(error.ends_with("context length 5000 is out of range, this model takes 1 to 2048"), "{error}");
}

#[test]
fn arguments_out_of_range_are_refused() {
    for args in [
        ["--temperature", "-1"],
        ["--temperature", "NaN"],
        ["--top-p", "-0.1"],
        ["--top-p", "1.1"],
        ["--min-p", "2"],
        ["--max-tokens", "0"],
        ["--max-tokens", "-2"],
        ["--top-k", "-2"],
        ["--seed", "x"],
        ["--repeat-penalty", "0"],
        ["--presence-penalty", "-3"],
        ["--stop", ""],
        ["--override-kv", "x"],
        ["--rope-scaling", "longrope"],
    ] {
        let ran = run(&[&args[..], &["Hello"]].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_full_context_ends_the_answer_and_says_so() {
    let ran = run(&["--context", "20", "-t", "0", "Tell me a story about a dragon."]);
    assert!(ran.stderr.contains("stopped: the context of 20 positions is full"), "{}", ran.stderr);
    assert!(ran.stderr.contains("decode: 4 tokens"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_ends_the_program_quietly() {
    let mut child = start(&["run", "--raw", "--seed", "1", "Once upon a time"], Stdio::null());
    let mut first = [0; 1];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn limits_are_told_apart() {
    let prompt = "Tell me a story about a dragon.";
    let both = run(&["-c", "20", "-n", "4", "-t", "0", "-v", prompt]).stderr;
    assert!(both.contains("stopped: the answer reached `--max-tokens`"), "{both}");
    let context = run(&["-c", "20", "-n", "5", "-t", "0", "-v", prompt]).stderr;
    assert!(context.contains("stopped: the context is full"), "{context}");
}

#[cfg(unix)]
#[test]
fn nobody_listening_on_stderr_is_no_failure() {
    let program = env!("CARGO_BIN_EXE_inferno");
    let script =
        format!("('{program}' run -v -n 3 -t 0 Hello; echo $? >&3) 3>&1 >/dev/null 2>&1 2> >(exec true)");
    let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}

#[cfg(unix)]
pub(crate) fn interrupt(child: &std::process::Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_a_prompt_cleanly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("slow.gguf");
    let path = path.to_str().unwrap();
    inferno(&["synth", "tiny-mixtral", path, "--dtype", "f32"]).ok();
    let prompt = "word ".repeat(1900);
    let mut child = start(&["run", "-v", "-m", path, "--raw", &prompt], Stdio::null());
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let loaded = stderr.next().unwrap().unwrap();
    assert!(loaded.contains("loaded in"), "{loaded}");
    interrupt(&child);
    let rest: Vec<String> = stderr.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest:?}");
    let last = rest.last().unwrap();
    assert!(last.starts_with("prompt: ") && last.ends_with(" tokens, not finished"), "{rest:?}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_the_answer_cleanly() {
    // Logits of -∞ for every end token would be needed to be sure of a long answer; a long raw text comes close. The
    // scalar level on one thread takes seconds for it.
    let slow = ["--isa", "scalar", "--threads", "1"];
    let mut child = start(
        &[&["run", "--raw", "-t", "2", "--top-k", "0", "--min-p", "0", "--seed", "5", "a"], &slow[..]]
            .concat(),
        Stdio::null(),
    );
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    interrupt(&child);
    // The first byte may be part of a character.
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(rest.ends_with(b"\n") && stderr.lines().last().unwrap().starts_with("prompt: "), "{stderr}");
}

/// Tokens of the prompt.
fn n_prompt(ran: &crate::Ran) -> usize {
    let count = ran.stderr.split("prompt: ").nth(1).unwrap_or_else(|| panic!("{}", ran.stderr));
    count.split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn prompt_files_and_piped_text_are_all_used_in_this_order() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, two) = (file("one.txt", "The first file.\n"), file("two.txt", "The second file.\r\n"));
    let args = ["run", "-n", "1", "-t", "0", "-v", "Summarise", "this:"];
    let whole = "Summarise this:\n\nThe first file.\n\nThe second file.\n\nThe piped text.";
    let hash = |ran: &crate::Ran| ran.stderr.split("logits hash ").nth(1).expect("a hash")[..16].to_owned();
    let expected = run(&["-n", "1", "-t", "0", "-v", whole]);
    let ran = pipe("The piped text.\n", &[&args[..], &["--file", &one, "-f", &two]].concat());
    assert_eq!((n_prompt(&ran), hash(&ran)), (n_prompt(&expected), hash(&expected)), "{}", ran.stderr);
    // `-` stands for what is read anyway.
    let ran = pipe("The piped text.", &[&args[..], &["-", "--file", &one, "--file", &two]].concat());
    assert_eq!(hash(&ran), hash(&expected));
    // A pipe with nothing in it adds nothing.
    let alone = run(&["-n", "1", "-t", "0", "-v", "Summarise this:"]);
    for nothing in ["", "\n", " \r\n\n"] {
        assert_eq!(hash(&pipe(nothing, &args)), hash(&alone), "{nothing:?}");
    }
    let ran = start(&args, Stdio::null()).wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&ran.stderr).contains(&hash(&alone)));
}

#[test]
fn files_that_are_no_prompt_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bytes.txt");
    std::fs::write(&path, [b'a', 0xff]).unwrap();
    let (path, folder) = (path.to_str().unwrap(), folder.path().to_str().unwrap());
    assert_eq!(run(&["--file", path, "Hi"]).error(), format!("`{path}` is not UTF-8 at byte 1"));
    assert_eq!(
        run(&["--file", folder, "Hi"]).error(),
        format!("`{folder}` is a directory, expected a text file")
    );
    std::fs::write(path, "a\0b").unwrap();
    assert_eq!(run(&["--file", path, "Hi"]).error(), format!("`{path}` is not text: byte 1 is zero"));
    assert!(run(&["--file", "no such file", "Hi"]).error().starts_with("`no such file`: cannot open: "));
}

#[test]
fn a_pipe_that_brings_nothing_is_said_and_its_end_ends_the_wait() {
    let mut child = start(&["run", "-n", "1", "-t", "0", "Hello"], Stdio::piped());
    let mut stderr = std::io::BufReader::new(child.stderr.take().unwrap()).lines();
    let line = stderr.next().unwrap().unwrap();
    assert!(line.starts_with("waiting for text from stdin") && line.contains("</dev/null"), "{line}");
    drop(child.stdin.take());
    let line = stderr.next().unwrap().unwrap();
    assert!(line.starts_with("prompt: "), "{line}");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn the_name_of_a_model_is_no_prompt() {
    for args in [
        &["x.gguf"][..],
        &["llama3"],
        &["x.gguf", "Hello"],
        &["-m", "ember", "qwen3:0.6b"],
        &["qwen3:0.6bb", "Why is the sky blue?"],
        &[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    ] {
        let ran = run(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("inferno run -- "), "{}", ran.stderr);
    }
    // A model before the prompt, which no test downloads.
    for args in [
        &["qwen3:0.6b"][..],
        &["Qwen/Qwen3-0.6B-GGUF"],
        &["hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0"],
        &["qwen3:0.6b", "Why is the sky blue?"],
        &["qwen3:0.6b", "why", "is", "it"],
    ] {
        let error = pipe("Hello", &[&["run"], args].concat()).error();
        assert!(
            error.contains("is not in the cache") && error.contains("HF_HUB_OFFLINE"),
            "{args:?}: {error}"
        );
    }
    let expected = run(&["-n", "3", "-t", "0", "Hello"]).ok();
    assert_eq!(run(&["-n", "3", "-t", "0", "-m", "ember", "Hello"]).ok(), expected);
    assert_eq!(pipe("Hello", &["run", "-n", "3", "-t", "0", "-m", "Ember"]).ok(), expected);
    // It can be sent all the same.
    for args in [&["-n", "1", "--", "llama3"][..], &["-n", "1", "--raw", "llama3"]] {
        run(args).ok();
    }
    pipe("llama3", &["run", "-n", "1"]).ok();
    for word in ["hi", "Hello!", "fox/dog", "12:30", "llama"] {
        run(&["-n", "1", word]).ok();
    }
}

#[test]
fn words_are_joined() {
    let ran = |args: &[&str]| run(&[&["-n", "5", "-t", "0"], args].concat());
    assert_eq!(ran(&["tell", "me", "a", "story"]).ok(), ran(&["tell me a story"]).ok());
    assert_eq!(n_prompt(&ran(&["what", "is", "5", "-", "-3", "?"])), n_prompt(&ran(&["what is 5 - -3 ?"])));
    assert_eq!(n_prompt(&ran(&["is", "--", "--this", "a flag?"])), n_prompt(&ran(&["is --this a flag?"])));
}

#[test]
fn commands_of_other_programs_get_a_hint() {
    for (args, part) in [
        (&["download", "qwen3"][..], "inferno pull"),
        (&["delete", "qwen3"], "inferno rm"),
        (&["rnu", "Hello"], "did you mean `run`?"),
        (&["logits", "--tokens", "1", "qwen3:0.6b"], "`-m qwen3:0.6b`"),
        (&["chat", "Tell me a story"], "`inferno run \"PROMPT\"`"),
    ] {
        let ran = inferno(args);
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.starts_with("error: ") && ran.stderr.contains(part), "{}", ran.stderr);
    }
    assert_eq!(inferno(&["version"]).ok(), inferno(&["--version"]).ok());
}

#[test]
fn negative_numbers_mean_what_they_mean_elsewhere() {
    let ran =
        run(&["--top-k", "-1", "--seed", "-1", "-n", "-1", "-c", "20", "--repeat-last-n", "-1", "Hello!"]);
    assert!(ran.stderr.contains("prompt: "), "{}", ran.stderr);
    ran.ok();
    let ran = run(&["--temperature", "-1", "Hello!"]);
    assert!(ran.stderr.contains("expected a number from 0 to 100"), "{}", ran.stderr);
    let seeded = |seed| run(&["--seed", seed, "-n", "20", "-t", "1", "Tell me a story."]).ok();
    assert_eq!(seeded("-2"), seeded("18446744073709551614"));
}

#[test]
fn more_tokens_than_fit_are_said() {
    let ran = run(&["-c", "64", "-n", "999999999", "-t", "0", "Hello!"]);
    assert!(ran.stderr.contains("`--max-tokens 999999999` is more than fits: "), "{}", ran.stderr);
    assert!(ran.stderr.contains(" of the context's 64 positions are left"), "{}", ran.stderr);
    ran.ok();
    // 0 is the model's own context, as in llama.cpp.
    run(&["-c", "0", "-n", "2", "Hello!"]).ok();
}

#[test]
fn a_stop_string_ends_the_answer_and_is_no_part_of_it() {
    let tell = |args: &[&str]| {
        run(&[&["-t", "0", "-n", "40", "-v", "Tell me a story about a dragon."], args].concat())
    };
    let whole = tell(&[]).ok();
    let word = whole.split_whitespace().nth(4).unwrap();
    let before = whole.split(word).next().unwrap();
    let ran = tell(&["--stop", "never in it", "--stop", word]);
    assert!(ran.stderr.contains(&format!("stopped: the stop string {word:?}")), "{}", ran.stderr);
    assert_eq!(ran.ok(), format!("{before}\n"));
    // Not before the minimum.
    let ran = tell(&["--stop", word, "--min-tokens", "30"]);
    assert!(ran.stdout.len() > before.len() + 30, "{}", ran.stdout);
    assert_eq!(tell(&["--min-tokens", "41"]).code, Some(1));
}

#[test]
fn an_answer_comes_as_json() {
    let args = ["-t", "0", "-n", "12", "Tell me a story about a dragon."];
    let text = run(&args).ok();
    let ran = run(&[&["--json", "--seed", "5"], &args[..]].concat());
    assert_eq!(ran.stderr, "");
    let json: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
    assert_eq!(json["text"].as_str().unwrap(), text.strip_suffix('\n').unwrap());
    assert_eq!((json["finish_reason"].as_str(), json["seed"].as_u64()), (Some("length"), Some(5)));
    assert_eq!(json["tokens"].as_array().unwrap().len(), 12);
    assert_eq!(json["usage"]["completion_tokens"], 12);
    assert_eq!(json["usage"]["total_tokens"], 12 + json["usage"]["prompt_tokens"].as_u64().unwrap());
    for time in ["load_ms", "prompt_ms", "predicted_ms", "prompt_per_second", "predicted_per_second"] {
        assert!(json["timings"][time].as_f64().unwrap() > 0.0, "{time}: {json}");
    }
    // Speeds are possible ones: the times are those of the engine.
    assert!(json["timings"]["predicted_per_second"].as_f64().unwrap() < 50_000.0, "{json}");
}

#[test]
fn penalties_change_the_answer() {
    let tell = |args: &[&str]| {
        run(&[&["-t", "0", "-n", "60", "--min-tokens", "60", "--raw", "Once upon a time"], args].concat())
            .ok()
    };
    let plain = tell(&[]);
    assert_eq!(tell(&["--repeat-penalty", "1", "--presence-penalty", "0"]), plain);
    assert_ne!(tell(&["--repeat-penalty", "5"]), plain);
    assert_eq!(tell(&["--repeat-penalty", "5", "--repeat-last-n", "0"]), plain);
    assert_ne!(tell(&["--frequency-penalty", "2", "--presence-penalty", "2"]), plain);
}

#[test]
fn the_environment_gives_flags_their_defaults() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command.args(["run", "-n", "1", "Hello"]).stdin(Stdio::null()).env("INFERNO_MODEL", "no such file.gguf");
    let output = command.output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("`no such file.gguf`: cannot open"));
}

#[test]
fn an_answer_has_the_form_that_a_flag_asks_for() {
    let schema = "{\"type\": \"object\", \"properties\": {\"ok\": {\"type\": \"boolean\"}}, \"required\": [\"ok\"], \
                  \"additionalProperties\": false}";
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), schema).unwrap();
    for given in [schema, file.path().to_str().unwrap()] {
        let answer = run(&["--json-schema", given, "-t", "1", "--seed", "5", "-n", "60", "Is it so?"]).ok();
        let answer: serde_json::Value =
            serde_json::from_str(&answer).unwrap_or_else(|e| panic!("{e}: {answer}"));
        assert!(answer["ok"].is_boolean(), "{answer}");
    }
    let wrong =
        "{\"type\": \"object\", \"properties\": {\"a\": {\"$ref\": \"#/nowhere\"}}, \"required\": [\"a\"]}";
    for (args, words) in [
        (["--json-schema", "{", "Hi"], "`--json-schema` is not JSON"),
        (["--json-schema", wrong, "Hi"], "#/nowhere"),
        (["--tools", "/nowhere/tools.json", "Hi"], "/nowhere/tools.json"),
    ] {
        let ran = run(&args);
        assert!(ran.code == Some(1) && ran.stderr.contains(words), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn tools_of_a_file_are_part_of_the_prompt() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let n_prompt = |args: &[&str]| {
        let answer = run(&[&["--json", "-n", "1", "Hi"], args].concat()).ok();
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        answer["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    std::fs::write(
        file.path(),
        "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}]",
    )
    .unwrap();
    assert!(n_prompt(&["--tools", file.path().to_str().unwrap()]) > n_prompt(&[]) + 20);
    std::fs::write(file.path(), "[{\"type\": \"web_search\"}]").unwrap();
    let ran = run(&["--tools", file.path().to_str().unwrap(), "Hi"]);
    assert!(ran.code == Some(1) && ran.stderr.contains("of type `web_search`"), "{}", ran.stderr);
}
