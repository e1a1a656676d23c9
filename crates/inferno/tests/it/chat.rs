//! `inferno chat`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::run::interrupt;
use crate::{Ran, golden, inferno, pipe};

const GREEDY: [&str; 5] = ["chat", "--temperature", "0", "--max-tokens", "40"];

/// A file of `--tools`.
pub(crate) const WEATHER: &str = r#"[{"type": "function", "function": {
    "name": "get_weather", "description": "Get the weather of a city",
    "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "description": "Name of the city"}},
        "required": ["city"], "additionalProperties": false
    }
}}]"#;

/// A greedy conversation of these lines.
fn chat(lines: &[&str], args: &[&str]) -> Ran {
    pipe(lines.join("\n") + "\n", &[&GREEDY, args].concat())
}

/// Tokens of each prompt, and how many of them were cached.
fn prompts(ran: &Ran) -> Vec<(usize, usize)> {
    let lines = ran.stderr.lines().filter_map(|line| line.strip_prefix("prompt: "));
    let counts = lines.map(|line| {
        let (n, rest) = line.split_once(" tokens").unwrap();
        let cached = rest.strip_prefix(" (").and_then(|rest| rest.split_once(" cached)"));
        (n.parse().unwrap(), cached.map_or(0, |(cached, _)| cached.parse().unwrap()))
    });
    counts.collect()
}

#[test]
fn the_second_prompt_has_the_first_turn_which_is_cached() {
    let ran = chat(&["Tell me a story about a dragon.", "What is your name?"], &["-v"]);
    let prompts = prompts(&ran);
    let [(first, 0), (second, cached)] = prompts[..] else { panic!("{prompts:?}: {}", ran.stderr) };
    // 40 tokens of the answer and a few for the question; of what was computed all full pages of 32 are cached.
    assert!(second >= first + 40 + 5, "{prompts:?}");
    assert_eq!(cached, (first + 40) / 32 * 32, "{prompts:?}");
    let answers = ran.ok();
    assert!(answers.starts_with("Once upon a time") && answers.lines().count() == 2, "{answers}");
}

#[test]
fn results_of_calls_are_entered_and_answered() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), WEATHER).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("talk.json");
    let save = format!("/save {}", saved.display());
    let (ask, result) = ("What is the weather in Paris?", r#"{"condition": "sunny", "temperature": 21}"#);
    let tools = ["--tools", file.path().to_str().unwrap()];
    let ran = chat(&[ask, result, "Hello!", "/undo", &save], &tools);
    let answers: Vec<String> = ran.stdout.lines().map(str::to_owned).collect();
    assert_eq!(answers[0], r#"→ get_weather {"city": "Paris"}"#, "{}", ran.stdout);
    assert!(answers[1].contains("21") && answers.len() == 3, "{}", ran.stdout);
    assert!(!ran.stderr.contains("result of"), "a pipe has no prompts: {}", ran.stderr);
    ran.ok();
    let talk: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&saved).unwrap()).unwrap();
    let roles: Vec<&str> = talk.as_array().unwrap().iter().map(|m| m["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
    assert_eq!(
        (&talk[2]["tool_call_id"], &talk[2]["content"]),
        (&talk[1]["tool_calls"][0]["id"], &result.into())
    );
    // Read again, and answered from the result on; without one the next line is a message.
    let load = format!("/load {}", saved.display());
    let again = chat(&[&load, "/regenerate"], &tools);
    assert_eq!(again.stdout.trim_end(), answers[1]);
    let none = chat(&[ask, "", "/undo", "/undo"], &tools);
    assert_eq!((none.stdout.lines().count(), none.code), (1, Some(1)), "{}", none.stderr);
    assert!(none.stderr.contains("nothing to undo"), "{}", none.stderr);
}

#[test]
fn stdout_has_the_answers_alone() {
    let ran = chat(&["Hello!", "", "/help", "/system Be kind.", "Hello!", "/exit", "Hello!"], &[]);
    assert_eq!(ran.stdout.lines().count(), 2, "{}", ran.stdout);
    assert!(!ran.stderr.contains('>') && !ran.stderr.contains("prompt:"), "{}", ran.stderr);
    ran.ok();
}

#[test]
fn the_first_answer_is_that_of_run() {
    let flags = ["--seed", "7", "-n", "30", "-t", "1", "--system", "You are a pirate."];
    let run = inferno(&[&["run"], &flags[..], &["Tell me a story."]].concat()).ok();
    // Without a newline at its end the line is a turn all the same.
    assert_eq!(pipe("Tell me a story.", &[&["chat"], &flags[..]].concat()).ok(), run);
}

#[test]
fn each_answer_has_a_seed_of_its_own() {
    let ask = "Tell me a story.";
    let answers = |lines: &[&str], seed: &str| {
        let args = ["chat", "--seed", seed, "-n", "30", "-t", "1"];
        let text = pipe(lines.join("\n"), &args).ok();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let twice = answers(&[ask, "/reset", ask], "7");
    assert_ne!(twice[0], twice[1]);
    assert_eq!(answers(&[ask, "/reset", ask], "7"), twice);
    assert_eq!(answers(&[ask], "8")[0], twice[1]);
}

#[test]
fn reset_forgets_the_conversation_and_keeps_the_system_message() {
    let system = ["--system", "You are a pirate.", "-v"];
    let ran = chat(&["Hello!", "Hello!", "/reset", "Hello!"], &system);
    assert!(ran.stderr.contains("the conversation is forgotten\n"), "{}", ran.stderr);
    let prompts: Vec<usize> = prompts(&ran).into_iter().map(|(n, _)| n).collect();
    assert!(prompts[0] == prompts[2] && prompts[0] < prompts[1], "{prompts:?}");
    let answers = ran.ok();
    let answers: Vec<&str> = answers.lines().collect();
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn the_system_message_can_be_set_and_removed() {
    let lines = ["Hello!", "/reset", "/system You are a pirate.", "Hello!", "/reset", "/system", "Hello!"];
    let ran = chat(&lines, &["-v"]);
    assert!(ran.stderr.contains("the system message is set\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("the system message is removed\n"), "{}", ran.stderr);
    let set: Vec<usize> = prompts(&ran).into_iter().map(|(n, _)| n).collect();
    assert!(set[0] < set[1] && set[0] == set[2], "{set:?}");
    let by_flag = prompts(&chat(&["Hello!"], &["-v", "--system", "You are a pirate."]));
    assert_eq!(by_flag[0].0, set[1]);
}

#[test]
fn an_unknown_command_is_told_what_there_is_and_is_no_turn() {
    let ran = chat(&["/tell me", "/help", "/reset all"], &["-v"]);
    assert!(ran.stderr.contains("unknown command `/tell`; `/help` lists the commands"), "{}", ran.stderr);
    assert!(ran.stderr.contains("`/reset` takes no argument\n"), "{}", ran.stderr);
    assert!(ran.stderr.contains("/exit                end"), "{}", ran.stderr);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
}

#[test]
fn what_does_not_fit_is_refused_and_the_next_turn_is_as_if_it_had_not_been() {
    let long = "word ".repeat(4000);
    let ran = chat(&["Hello!", &long, "Hello!"], &["-v"]);
    let refusal = "it must leave room for an answer; this turn was dropped\n";
    assert!(ran.stderr.contains("the conversation has ") && ran.stderr.contains(refusal), "{}", ran.stderr);
    let without = chat(&["Hello!", "Hello!"], &["-v"]);
    assert_eq!(prompts(&ran), prompts(&without));
    // A turn was not answered.
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.stdout, without.ok());
}

#[test]
fn the_oldest_turns_make_room_and_that_is_said() {
    let story = "Tell me a story about a dragon.";
    let lines = [story, "Hello!", "Hello!", "Hello!", "Hello!"];
    let ran = chat(&lines, &["-c", "128", "-v"]);
    let forgotten = "the context of 128 tokens is full: the oldest ";
    assert!(ran.stderr.contains(forgotten), "{}", ran.stderr);
    let lengths: Vec<usize> = prompts(&ran).into_iter().map(|(n, _)| n).collect();
    // Each leaves a quarter of the context for the answer.
    assert!(lengths.len() == 5 && lengths.iter().all(|&n| n <= 96), "{lengths:?}");
    assert_eq!(ran.ok().lines().filter(|line| !line.is_empty()).count(), 5);
}

#[test]
fn an_answer_that_fills_the_context_says_so() {
    let story = "Tell me a story about a dragon.";
    let ran = chat(&[story, story], &["-c", "30"]);
    assert_eq!(
        ran.stderr.matches("stopped: the context of 30 positions is full\n").count(),
        2,
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.matches("the oldest turn is left out").count(), 1, "{}", ran.stderr);
    ran.ok();
}

#[test]
fn a_line_that_is_no_text_is_refused() {
    let ran = pipe(b"a\xff\nHello!\n", &GREEDY);
    assert!(ran.stderr.contains("the line is not UTF-8 at byte 1: this turn was dropped"), "{}", ran.stderr);
    assert_eq!((ran.code, ran.stdout.lines().count()), (Some(1), 1));
}

#[test]
fn turns_can_be_undone_and_answered_again() {
    let flags = ["chat", "--seed", "7", "-n", "20", "-t", "1", "-v"];
    let talk = |lines: &[&str]| pipe(lines.join("\n"), &flags);
    let ran = talk(&["Hello!", "/regen", "/undo", "Hello!"]);
    let lengths: Vec<usize> = prompts(&ran).into_iter().map(|(n, _)| n).collect();
    assert!(lengths.len() == 3 && lengths.iter().all(|&n| n == lengths[0]), "{lengths:?}");
    // Each has a seed of its own.
    let twice = talk(&["Hello!", "/reset", "Hello!"]).ok();
    assert_eq!(talk(&["Hello!", "/regen"]).ok(), twice);
    ran.ok();
    for command in ["/undo", "/regen", "/compact", "/thinking"] {
        assert_eq!(talk(&[command]).code, Some(1));
    }
}

#[test]
fn a_conversation_is_saved_and_loaded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.json");
    let path = path.to_str().unwrap();
    let save = format!("/save {path}");
    let saved = chat(&["/system You are a pirate.", "Hello!", &save], &["-v"]);
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((json.as_array().unwrap().len(), json[0]["content"].as_str()), (3, Some("You are a pirate.")));
    let loaded = chat(&[&format!("/load {path}"), "Hello!"], &["-v"]);
    let talked = chat(&["/system You are a pirate.", "Hello!", "Hello!"], &["-v"]);
    assert_eq!(prompts(&loaded)[0].0, prompts(&talked)[1].0);
    loaded.ok();
    saved.ok();
    // Nothing is overwritten.
    let again = chat(&["Hello!", &save], &[]);
    assert!(again.stderr.contains("exists and is kept"), "{}", again.stderr);
    assert_eq!(again.code, Some(1));
}

#[test]
fn another_model_goes_on_with_the_conversation() {
    let ember = xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf");
    let switch = format!("/model {}", ember.display());
    let ran = chat(&["Hello!", &switch, "Hello!", "/model"], &["-v"]);
    let same = chat(&["Hello!", "Hello!"], &["-v"]);
    let lengths = |ran: &Ran| prompts(ran).into_iter().map(|(n, _)| n).collect::<Vec<_>>();
    assert_eq!(lengths(&ran), lengths(&same));
    assert!(ran.stderr.contains("Ember: qwen3, "), "{}", ran.stderr);
    assert_eq!(ran.ok(), same.ok());
    let refused = chat(&["/model no-such-file.gguf", "Hello!"], &[]);
    assert!(refused.stderr.contains("the model is still Ember (built in)"), "{}", refused.stderr);
    assert_eq!((refused.code, refused.stdout.lines().count()), (Some(1), 1));
}

#[test]
fn settings_and_files_change_the_next_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.txt");
    std::fs::write(&path, "The dragon is green.\n").unwrap();
    let file = format!("/file {}", path.display());
    let ran = chat(&[&file, "What colour is it?", "/stats", "/set"], &["-v"]);
    let typed = inferno(&["run", "-t", "0", "-n", "40", "-v", "What colour is it?\n\nThe dragon is green."]);
    assert_eq!(prompts(&ran)[0].0, prompts(&typed)[0].0);
    assert!(ran.stderr.contains("1 turn, "), "{}", ran.stderr);
    assert_eq!(ran.ok(), typed.ok());
    let ran = chat(
        &["/set max-tokens 3", "/set temperature 0.5", "/set top_k -1", "Tell me a story.", "/set"],
        &["-v"],
    );
    assert!(
        ran.stderr.contains("temperature 0.5, top-k 0") && ran.stderr.contains("max-tokens 3"),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("decode: 3 tokens"), "{}", ran.stderr);
    ran.ok();
    for bad in
        ["/set heat 3", "/set temperature hot", "/set temperature -1", "/set max-tokens 0", "/set top-k"]
    {
        let ran = chat(&[bad], &[]);
        assert_eq!(ran.code, Some(1), "{bad}: {}", ran.stderr);
    }
}

#[test]
fn words_that_end_a_conversation_do() {
    for word in ["exit", "quit", "bye", "/quit", "/bye"] {
        assert_eq!(chat(&[word, "Hello!"], &[]).ok(), "", "{word}");
    }
    assert_ne!(chat(&[" exit"], &[]).ok(), "");
}

#[test]
fn no_turns_and_no_answers_are_a_success() {
    assert_eq!(pipe("", &GREEDY).ok(), "");
}

#[test]
fn a_model_without_a_chat_template_is_refused() {
    let error = pipe("Hello!\n", &["chat", "-m", &golden("llama")]).error();
    assert!(
        error.contains("has none; `--chat-template FILE`") && error.contains("`inferno run --raw`"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn ctrl_c_stops_an_answer_which_is_kept_and_at_the_prompt_the_program() {
    // Hot enough that no answer ends by itself; slow enough that one is not over before the signal.
    let hot = ["-t", "20", "--top-k", "0", "--min-p", "0", "--seed", "5"];
    let slow = ["chat", "-v", "--isa", "scalar", "--threads", "1"];
    // A file, as its length says what has been printed.
    let stdout = tempfile::NamedTempFile::new().unwrap();
    let n_printed = || stdout.as_file().metadata().unwrap().len();
    let mut command = Command::new(env!("CARGO_BIN_EXE_inferno"));
    command
        .args(slow)
        .args(hot)
        .stdin(Stdio::piped())
        .stdout(stdout.reopen().unwrap())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut line_with = |what: &str| {
        let mut lines = stderr.by_ref().map(Result::unwrap);
        lines.find(|line| line.contains(what)).expect(what)
    };
    let n_prompt = |line: String| line.split(' ').nth(1).unwrap().parse::<usize>().unwrap();

    let mut prompts = Vec::new();
    // Twice: the second answer can be stopped like the first.
    for _ in 0..2 {
        let n_before = n_printed();
        writeln!(stdin, "Hello!").unwrap();
        while n_printed() == n_before {
            assert!(child.try_wait().unwrap().is_none());
            std::thread::sleep(Duration::from_millis(1));
        }
        interrupt(&child);
        line_with("stopped: interrupted");
        prompts.push(n_prompt(line_with("prompt: ")));
    }
    assert!(prompts[1] > prompts[0] + 10, "{prompts:?}");
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
