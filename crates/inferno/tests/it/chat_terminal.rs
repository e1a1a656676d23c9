//! `inferno chat` on a terminal: a pty of `script`, keys in, screen out.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::golden;

/// Longest wait for a text: for a busy machine, as tests wait for what they expect and no longer.
const PATIENCE: Duration = Duration::from_secs(60);

const CTRL_A: &str = "\x01";
const CTRL_C: &str = "\x03";
const CTRL_D: &str = "\x04";
const ALT_ENTER: &str = "\x1b\r";
const UP: &str = "\x1b[A";
const LEFT: &str = "\x1b[D";

/// The screen has this where the terminal begins to put pasted text in brackets, and that where it ends to.
const BRACKETS_ON: &str = "⟨";
const BRACKETS_OFF: &str = "⟩";
/// The editor's prompt.
const PROMPT: &str = "⟨> ";

/// A program on a terminal.
struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    /// Bytes that are no part of `screen` yet.
    bytes: Vec<u8>,
    /// Text that was written, without sequences and returns.
    screen: String,
    /// Bytes of it that were looked at.
    seen: usize,
}

impl Terminal {
    /// Starts a chat; `None` if there is no `script`, which is said. Files of the user are in `home`.
    fn start(home: &Path, args: &str) -> Option<Terminal> {
        let program = env!("CARGO_BIN_EXE_inferno");
        let shell = format!("stty cols 80 rows 24; echo \"pid=$$=\"; exec '{program}' chat {args}");
        let mut command = Command::new("script");
        command.args(["-qec", &shell, "/dev/null"]).env("SHELL", "/bin/sh");
        command.env("TERM", "xterm").env("NO_COLOR", "1").env("XDG_STATE_HOME", home).env("HOME", home);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut child) = child else {
            xtask::testing::skip("script", "there is no `script`");
            return None;
        };
        let keys = child.stdin.take().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = stdout.read(&mut bytes) {
                if sender.send(bytes[..n].to_vec()).is_err() {
                    break;
                }
            }
        });
        Some(Terminal { child, keys, output, bytes: Vec::new(), screen: String::new(), seen: 0 })
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for a text behind what was seen before, and returns the text between.
    #[track_caller]
    fn wait(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let new = &self.screen[self.seen..];
            if let Some((before, _)) = new.split_once(text) {
                let before = before.to_owned();
                self.seen += before.len() + text.len();
                return before;
            }
            match self.output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.add(&bytes),
                Err(_) => panic!("{text:?} did not come: {new:?}"),
            }
        }
    }

    /// Adds what was written to the screen, up to a character or sequence that is not complete.
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let n_valid = std::str::from_utf8(&self.bytes).map_or_else(|e| e.valid_up_to(), str::len);
        let text = std::str::from_utf8(&self.bytes[..n_valid]).unwrap().to_owned();
        let mut rest = text.as_str();
        while let Some(c) = rest.chars().next() {
            let mut n = c.len_utf8();
            match c {
                '\x1b' => match rest.find(|c: char| c.is_ascii_alphabetic()) {
                    Some(at) => {
                        n = at + 1;
                        self.screen += match &rest[..n] {
                            "\x1b[?2004h" => BRACKETS_ON,
                            "\x1b[?2004l" => BRACKETS_OFF,
                            _ => "",
                        };
                    }
                    None => break,
                },
                '\r' => {}
                c => self.screen.push(c),
            }
            rest = &rest[n..];
        }
        self.bytes.drain(..n_valid - rest.len());
    }

    #[track_caller]
    fn wait_for_prompt(&mut self) -> String {
        self.wait(PROMPT)
    }

    /// The exit code, at the program's end.
    fn end(mut self) -> Option<i32> {
        // Nothing that is written may hold it up.
        while self.output.recv_timeout(PATIENCE).is_ok() {}
        self.child.wait().unwrap().code()
    }

    fn pid(&mut self) -> nix::unistd::Pid {
        self.wait("pid=");
        nix::unistd::Pid::from_raw(self.wait("=").parse().unwrap())
    }
}

/// Number of turns, as `/stats` has it.
#[track_caller]
fn turns(terminal: &mut Terminal) -> usize {
    terminal.press("/stats\r");
    terminal.wait(BRACKETS_OFF);
    let turns = terminal.wait(" turn");
    terminal.wait_for_prompt();
    turns.trim().parse().unwrap()
}

#[test]
fn messages_are_edited_pasted_and_kept_for_the_next_run() {
    let home = tempfile::tempdir().unwrap();
    let Some(mut terminal) = Terminal::start(home.path(), "-t 0 -n 5") else { return };
    terminal.wait("loading Ember (built in) (");
    terminal.wait("Q8_0, context 2048, ");
    terminal.wait("`/help` lists the commands, Ctrl-D ends");
    terminal.wait_for_prompt();

    // Pasted lines are one message.
    let lines: String = (1..=30).map(|i| format!("line {i}\r")).collect();
    terminal.press(&format!("\x1b[200~{lines}\x1b[201~"));
    terminal.wait("line 30");
    terminal.press("\r");
    terminal.wait_for_prompt();
    assert_eq!(turns(&mut terminal), 1);
    // So is what is written with Alt-Enter, or between triple quotes.
    terminal.press(&format!("one{ALT_ENTER}two\r"));
    terminal.wait_for_prompt();
    terminal.press("\"\"\"\rone\r/exit\r\"\"\"\r");
    terminal.wait_for_prompt();
    assert_eq!(turns(&mut terminal), 3);

    // Ctrl-C clears what was written, and never ends the chat.
    terminal.press(CTRL_C);
    terminal.wait("Ctrl-D or `/exit` ends");
    terminal.wait_for_prompt();
    terminal.press(&format!("half a line{CTRL_C}"));
    assert!(!terminal.wait_for_prompt().contains("ends"));
    terminal.press(&format!("\x1b[200~{lines}\x1b[201~{CTRL_C}"));
    terminal.wait("line 30");
    terminal.wait_for_prompt();
    assert_eq!(turns(&mut terminal), 3);

    // Keys edit, Tab completes, Up brings back.
    terminal.press(&format!("stts{LEFT}{LEFT}a{CTRL_A}/\r"));
    terminal.wait("3 turns, ");
    terminal.wait_for_prompt();
    terminal.press("/thi\t\r");
    terminal.wait("the last answer has no reasoning");
    terminal.wait_for_prompt();
    terminal.press("/model qwen3:0\t");
    terminal.wait("/model qwen3:0.6b");
    terminal.press(CTRL_C);
    terminal.wait_for_prompt();
    terminal.press("/sats\r");
    terminal.wait("unknown command `/sats`; did you mean `/stats`?");
    terminal.wait_for_prompt();
    terminal.press(&format!("{UP}{UP}{UP}\r"));
    terminal.wait("3 turns, ");
    terminal.wait_for_prompt();
    terminal.press(CTRL_D);
    assert_eq!(terminal.end(), Some(0));

    let mut terminal = Terminal::start(home.path(), "-t 0 -n 5").unwrap();
    let pid = terminal.pid();
    terminal.wait_for_prompt();
    terminal.press(&format!("{UP}{UP}"));
    terminal.wait("/sats");
    // The terminal gets its modes back, and the next line is one of the shell's.
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(terminal.end(), Some(143));
}

#[test]
fn ctrl_c_stops_what_the_model_does_and_the_chat_goes_on() {
    let home = tempfile::tempdir().unwrap();
    // Hot enough that no answer ends by itself; slow enough for the key to come before its end.
    let args = "--isa scalar --threads 1 -t 20 --top-k 0 --min-p 0 --seed 5";
    let Some(mut terminal) = Terminal::start(home.path(), args) else { return };
    terminal.wait_for_prompt();
    // In the prompt: modes are set for the answer, and it has not begun.
    let text = "word ".repeat(800);
    terminal.press(&format!("\x1b[200~{text}\x1b[201~"));
    terminal.press("\r");
    terminal.wait(BRACKETS_OFF);
    terminal.wait(BRACKETS_ON);
    terminal.press(CTRL_C);
    terminal.wait("stopped before the first token; this turn was dropped");
    terminal.wait_for_prompt();
    // In the answer.
    terminal.press("Hello!\r");
    terminal.wait(BRACKETS_OFF);
    terminal.wait(BRACKETS_ON);
    while terminal.wait(" ").trim().is_empty() {}
    terminal.press(CTRL_C);
    terminal.wait("stopped; ");
    terminal.wait_for_prompt();
    // Text typed while the model answers is the next message, and no part of the answer.
    terminal.press("/set max-tokens 20\r");
    terminal.wait_for_prompt();
    terminal.press("Hello!\r");
    terminal.wait(BRACKETS_OFF);
    terminal.wait(BRACKETS_ON);
    terminal.press("/stats\r");
    assert!(!terminal.wait_for_prompt().contains("/stats"));
    terminal.wait("2 turns, ");
    terminal.wait_for_prompt();
    // While another model is loaded there may be no time to press it; one that cannot be loaded changes nothing.
    terminal.press(&format!("/model {}\r", golden("llama")));
    terminal.wait("back to the model before");
    terminal.wait_for_prompt();
    terminal.press("/model\r");
    terminal.wait("Ember");
    terminal.press("/exit\r");
    assert_eq!(terminal.end(), Some(0));
}

#[test]
fn results_of_calls_are_entered_behind_a_prompt_of_their_own() {
    let home = tempfile::tempdir().unwrap();
    let tools = home.path().join("tools.json");
    std::fs::write(&tools, crate::chat::WEATHER).unwrap();
    let args = format!("-t 0 -n 40 --tools {}", tools.display());
    let Some(mut terminal) = Terminal::start(home.path(), &args) else { return };
    terminal.wait_for_prompt();
    let ask = "What is the weather in Paris?";
    terminal.press(&format!("{ask}\r"));
    terminal.wait("→ get_weather");
    terminal.wait("⟨result of get_weather: ");
    terminal.press("{\"condition\": \"sunny\", \"temperature\": 21}\r");
    assert!(terminal.wait_for_prompt().contains("21"));
    assert_eq!(turns(&mut terminal), 1);
    // The history has the messages and commands, and no result.
    terminal.press(&format!("{UP}{UP}"));
    terminal.wait(ask);
    terminal.press("\r");
    terminal.wait("result of get_weather: ");
    // No result ends the turn.
    terminal.press(CTRL_C);
    terminal.wait_for_prompt();
    assert_eq!(turns(&mut terminal), 2);
    terminal.press(CTRL_D);
    assert_eq!(terminal.end(), Some(0));
}
