//! The commands of README.md. Each is run as it stands there, from a folder that has the files it names and with a hub on loopback;
//! or [`STEPS`] says why it is not. Variables make them short: `INFERNO_MAX_TOKENS` and others set what a command leaves open.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use xtask::testing::hub::{Behaviour, Fake};

use crate::hub::{command, ember};
use crate::serve::{Served, listening};

/// The test of a command.
enum Way {
    /// Run with variables and text on stdin; its output has these texts.
    Run(&'static [(&'static str, &'static str)], &'static str, &'static [&'static str]),
    /// Run with a part of it replaced.
    Changed(&'static str, &'static str),
    /// Its output is the block of text behind it.
    Shown(&'static [(&'static str, &'static str)]),
    /// Its output is this text, where the vocabulary of Qwen3 is at hand.
    Tokens(&'static str),
    /// A server, which the next request goes to.
    Serves,
    /// A server with keys.
    ServesKeys,
    /// A request by curl.
    Asks,
    /// Not run, with the reason.
    Left(&'static str),
}

use Way::{Asks, Changed, Left, Run, Serves, ServesKeys, Shown, Tokens};

/// A folder whose model is the vocabulary of Qwen3.
const QWEN3: &str = "qwen3";

const SHORT: &[(&str, &str)] = &[("INFERNO_MAX_TOKENS", "3"), ("INFERNO_TEMPERATURE", "0")];

/// Every command of README.md, in its order.
const STEPS: &[(&str, Way)] = &[
    (
        r#"cargo run --release -- run "Tell me a story about a dragon.""#,
        // At the AMX level attention to bf16 has a definition of its own.
        Shown(&[("INFERNO_TEMPERATURE", "0"), ("INFERNO_KV", "f16")]),
    ),
    ("cargo run --release -- serve", Serves),
    (
        r#"curl http://127.0.0.1:8080/v1/chat/completions -H 'Content-Type: application/json' -d '{"model": "ember", "messages": [{"role": "user", "content": "Tell me a story about a dragon."}]}'"#,
        Asks,
    ),
    ("cargo test --workspace", Left("this test is a part of it")),
    ("cargo run --release -- chat qwen3:0.6b", Run(SHORT, "Hello!\n/stats\n", &["1 turn"])),
    (
        r#"cargo run --release -- run qwen3:4b "Why is the sky blue?""#,
        Run(SHORT, "", &["taking Q4_K_M", "downloaded 9.1 MB", "tok/s"]),
    ),
    ("inferno serve qwen3:0.6b --api-key-file keys.txt", ServesKeys),
    (r#"inferno run "Tell me a story about a dragon.""#, Run(SHORT, "", &["Once upon", "tok/s"])),
    (r#"inferno run qwen3:0.6b "Why is the sky blue?""#, Run(SHORT, "", &["tok/s"])),
    (
        r#"git diff | inferno run -m model.gguf "Summarise this change." --max-tokens 200"#,
        Run(&[("INFERNO_TEMPERATURE", "0")], "-dog\n+dragon\n", &["tok/s"]),
    ),
    (
        r#"inferno run -m model.gguf --file notes.md "What is missing?" --json --stop "\n\n""#,
        Run(SHORT, "", &["\"finish_reason\":\"length\""]),
    ),
    ("inferno chat qwen3:4b", Run(SHORT, "/help\n", &["/regenerate"])),
    ("inferno pull gpt-oss:20b", Run(&[], "", &["gpt-oss-20b-GGUF", "downloaded 9.1 MB"])),
    (r#"inferno run --tools tools.json "What is the weather in Paris?""#, Run(SHORT, "", &["tok/s"])),
    (
        r#"inferno run --json-schema '{"type": "object"}' "Describe a dragon.""#,
        Run(&[("INFERNO_MAX_TOKENS", "20"), ("INFERNO_SEED", "1")], "", &["{", "}"]),
    ),
    (r#"inferno run -m stories260K.gguf --raw "Once upon a time""#, Run(SHORT, "", &["tok/s"])),
    ("inferno inspect model.gguf", Run(&[], "", &["qwen3", "Q8_0"])),
    (r#"inferno tokenize -m model.gguf "Hello world""#, Tokens("9707 1879")),
    ("inferno detokenize -m model.gguf 9707 1879", Tokens("Hello world")),
    ("inferno logits -m model.gguf --tokens 1,2,3 --at 0,2", Run(&[], "", &["\"0\":", "\"2\":"])),
    ("inferno synth qwen3-0.6b out.gguf --vocab-from vocab.gguf", Changed("qwen3-0.6b", "tiny-qwen3")),
    ("inferno doctor", Left("it measures for seconds: `gpu.rs` runs it")),
    (
        "inferno bench model.gguf",
        Run(
            &[
                ("INFERNO_PROMPT", "4"),
                ("INFERNO_DECODE", "2"),
                ("INFERNO_REPEATS", "1"),
                ("INFERNO_STREAM_MIB", "1"),
            ],
            "",
            &["decode 2", "streaming read"],
        ),
    ),
    ("inferno conformance http://127.0.0.1:8080", Left("it takes seconds: `conformance.rs` runs it")),
    (
        "inferno bench serve model.gguf --compare",
        Run(
            &[("INFERNO_REQUESTS", "3"), ("INFERNO_LENGTH_SCALE", "0.05"), ("INFERNO_RATE", "max")],
            "",
            &["no batching"],
        ),
    ),
];

/// A command of README.md.
struct Line {
    command: String,
    comment: String,
    /// The next block of text.
    shown: String,
}

/// The commands of `text`'s blocks for a shell.
fn lines(text: &str) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    let mut blocks = text.split("\n```");
    blocks.next();
    // Every second part is a block; what is between two begins behind the fence of the first.
    while let (Some(block), Some(_)) = (blocks.next(), blocks.next()) {
        let (language, body) = block.split_once('\n').unwrap_or((block, ""));
        match language {
            "sh" | "console" => {
                for line in body.replace("\\\n", " ").lines().filter(|line| !line.trim().is_empty()) {
                    let (command, comment) = line.split_once(" # ").unwrap_or((line, ""));
                    let command = command.split_whitespace().collect::<Vec<_>>().join(" ");
                    found.push(Line { command, comment: comment.trim().into(), shown: String::new() });
                }
            }
            "text" => {
                if let Some(line) = found.last_mut() {
                    line.shown = body.into();
                }
            }
            "python" => {}
            other => panic!("a block of README.md in `{other}`, which this test does not know"),
        }
    }
    found
}

/// The words of a command, as a shell takes them.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in command.chars() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

/// The folder that commands are run in, and the hub.
struct Place {
    folder: tempfile::TempDir,
    fake: Fake,
}

impl Place {
    fn new() -> Place {
        let ember = ember();
        // Every repository of this hub has files in these quants.
        let names = ["m-Q4_K_M.gguf", "m-Q8_0.gguf", "m-MXFP4.gguf"];
        let files: Vec<(&str, &[u8])> = names.iter().map(|name| (*name, &ember[..])).collect();
        let place =
            Place { folder: tempfile::tempdir().unwrap(), fake: Fake::of_any(&files, Behaviour::default()) };
        let write = |name: &str, bytes: &[u8]| std::fs::write(place.folder.path().join(name), bytes).unwrap();
        for name in ["model.gguf", "vocab.gguf", "stories260K.gguf"] {
            write(name, &ember);
        }
        write("notes.md", b"One fox, two foxes.");
        write("keys.txt", b"sk-readme\n");
        let tools = json!([{ "type": "function", "function": { "name": "weather", "parameters": {} } }]);
        write("tools.json", tools.to_string().as_bytes());
        place
    }

    /// The program with the arguments of `line`, which begins with its name or with cargo's.
    fn command(&self, line: &str) -> Command {
        // What is before a pipe brings the input.
        let line = line.rsplit_once(" | ").map_or(line, |(_, last)| last);
        let args = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("inferno "));
        let args = words(args.unwrap_or_else(|| panic!("`{line}` is not a command of this program")));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut command = command(&self.fake, &self.folder.path().join("cache"), &args);
        let is_about_tokens = args[0].ends_with("tokenize");
        command.current_dir(self.folder.path().join(if is_about_tokens { QWEN3 } else { "" }));
        command.env("INFERNO_PORT", "0");
        command
    }

    /// Runs a command, and returns what it wrote to stdout and stderr.
    #[track_caller]
    fn run(&self, line: &str, variables: &[(&str, &str)], input: &str) -> (String, String) {
        let mut command = self.command(line);
        command.envs(variables.iter().copied()).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let (stdout, stderr) = (text(output.stdout), text(output.stderr));
        assert!(output.status.success(), "`{line}`: {stderr}{stdout}");
        (stdout, stderr)
    }
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let text = std::fs::read_to_string(xtask::testing::root().join("README.md")).unwrap();
    let lines = lines(&text);
    let found: Vec<&str> = lines.iter().map(|line| line.command.as_str()).collect();
    let known: Vec<&str> = STEPS.iter().map(|(line, _)| *line).collect();
    assert_eq!(found, known, "`STEPS` says how each command of README.md is tested");
    let place = Place::new();
    let mut server = None;
    for (line, (_, way)) in lines.iter().zip(STEPS) {
        step(&place, line, way, &mut server);
    }
}

fn step(place: &Place, line: &Line, way: &Way, server: &mut Option<Served>) {
    let command = line.command.as_str();
    match way {
        Run(variables, input, parts) => {
            let (stdout, stderr) = place.run(command, variables, input);
            let said = stdout + &stderr;
            for part in *parts {
                assert!(said.contains(part), "`{command}` says no {part:?}: {said}");
            }
        }
        Changed(from, to) => {
            place.run(&command.replace(from, to), &[], "");
        }
        Shown(variables) => {
            let (stdout, _) = place.run(command, variables, "");
            let rows = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(rows(&stdout), rows(&line.shown), "`{command}`");
        }
        Tokens(expected) => {
            let Some(vocabulary) = xtask::testing::data("tokenizers/qwen3-vocab.gguf") else { return };
            let folder = place.folder.path().join(QWEN3);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::copy(vocabulary, folder.join("model.gguf")).unwrap();
            let (stdout, _) = place.run(command, &[], "");
            assert_eq!(stdout.trim_end(), *expected, "`{command}`");
            assert!(line.comment.is_empty() || line.comment == *expected, "{}", line.comment);
        }
        Serves => *server = Some(listening(place.command(command))),
        ServesKeys => {
            let served = listening(place.command(command));
            assert_eq!(served.get("/v1/models").0, 401);
            let (status, models) = served.get_with("/v1/models", "Authorization: Bearer sk-readme\r\n");
            assert!(status == 200 && models.contains("\"qwen3:0.6b\""), "{models}");
        }
        Asks => {
            let address = &server.as_ref().expect("a server was started before").address;
            let command = command.replace("127.0.0.1:8080", address);
            assert!(command.contains(address), "`{command}` asks another server");
            let Ok(output) = Command::new("curl").arg("-sS").args(&words(&command)[1..]).output() else {
                return xtask::testing::skip("curl", "there is no curl");
            };
            let answer = String::from_utf8(output.stdout).unwrap();
            let json: Value = serde_json::from_str(&answer).unwrap();
            let content = json["choices"][0]["message"]["content"].as_str();
            assert!(content.is_some_and(|text| text.contains("dragon")), "{answer}");
        }
        Left(why) => assert!(why.len() > 10, "`{command}` is left out without a reason"),
    }
}

#[test]
fn commands_are_read_as_a_shell_reads_them() {
    assert_eq!(words(r#"a 'b "c' "d 'e" f''g "#), ["a", "b \"c", "d 'e", "fg"]);
    let text = "x\n```sh\na \\\n  b   # c d\n\ne\n```\ny\n```text\nz\n```\n";
    let found = lines(text);
    assert_eq!((found[0].command.as_str(), found[0].comment.as_str()), ("a b", "c d"));
    assert_eq!(found.last().unwrap().shown, "z");
}
