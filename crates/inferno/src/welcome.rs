//! The answer to `inferno` alone: the main commands, and the offer of a chat.

use std::ffi::OsString;
use std::io::{BufRead, IsTerminal};
use std::process::ExitCode;

use anyhow::Result;

use crate::cli::{Cli, Command};
use crate::commands::{execute, print};
use crate::config_file;

const TEXT: &str = "\
inferno runs language models on this machine, and serves them to others.

  inferno chat                    talk with a model
  inferno run \"Tell me a story\"   answer one prompt
  inferno serve                   an OpenAI-compatible API, and a chat page
  inferno doctor                  which models fit here, and how fast they are
  inferno run --help              flags of a command; `inferno --help`: commands

";
/// The model of these commands that name none.
const EMBER: &str = "`inferno chat qwen3:0.6b` takes a larger model (0.6 GB) than Ember, built in.\n";

/// Prints what the program can do. On a terminal it offers a chat.
pub(crate) fn welcome() -> Result<ExitCode> {
    let has_ember = cfg!(feature = "ember");
    print(TEXT.as_bytes())?;
    if !has_ember {
        print(b"A model is a GGUF file: `-m FILE`.\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    print(EMBER.as_bytes())?;
    if !(std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && std::io::stderr().is_terminal())
    {
        return Ok(ExitCode::SUCCESS);
    }
    print(b"Chat with Ember now? [Y/n] ")?;
    let mut line = String::new();
    let is_end = std::io::stdin().lock().read_line(&mut line)? == 0;
    if is_end {
        print(b"\n")?;
    }
    if is_end || !accepts(&line) {
        return Ok(ExitCode::SUCCESS);
    }
    let chat: Cli = config_file::parse(["inferno", "chat"].map(OsString::from)).unwrap_or_else(|e| e.exit());
    execute(chat.command.unwrap_or(Command::Version))
}

/// Whether an answer to `[Y/n]` is yes.
fn accepts(line: &str) -> bool {
    matches!(line.trim().to_ascii_lowercase().as_str(), "" | "y" | "yes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_welcome_has_ten_lines() {
        assert_eq!((TEXT.to_owned() + EMBER + "question").lines().count(), 10);
        assert!((TEXT.to_owned() + EMBER).lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn only_a_yes_is_a_yes() {
        assert!(accepts("\n") && accepts(" Y \n") && accepts("yes\n"));
        assert!(!accepts("n\n") && !accepts("tell me a story\n"));
    }
}
