//! One module per subcommand.

mod inspect;
mod logits;
mod run;
mod synth;
mod tokenize;

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Command;

pub(crate) fn execute(command: Command) -> Result<ExitCode> {
    match command {
        Command::Run(args) => return run::run(&args),
        Command::Inspect(args) => inspect::inspect(&args)?,
        Command::Tokenize(args) => tokenize::tokenize(&args)?,
        Command::Detokenize(args) => tokenize::detokenize(&args)?,
        Command::Logits(args) => logits::logits(&args)?,
        Command::Synth(args) => synth::synth(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// All of stdin, which must be UTF-8.
fn read_stdin() -> Result<String> {
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).context("cannot read stdin")?;
    String::from_utf8(bytes)
        .map_err(|e| anyhow::anyhow!("stdin is not UTF-8 at byte {}", e.utf8_error().valid_up_to()))
}

/// Writes to stdout at once, and reports a reader that has gone.
fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    Ok(out.flush()?)
}
