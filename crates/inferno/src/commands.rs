//! One module per subcommand.

mod bench;
mod chat;
mod completions;
mod conformance;
mod doctor;
mod inspect;
mod logits;
mod man;
mod models;
mod run;
mod serve;
mod synth;
mod tokenize;

use std::io::{Read, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};

use crate::cli::Command;
use crate::terminal;

pub(crate) use serve::chosen_address;

/// Longer prompts fit no context.
pub(crate) const MAX_PROMPT_BYTES: u64 = 16 << 20;

pub(crate) fn execute(command: Command) -> Result<ExitCode> {
    match command.with_model_argument() {
        Command::Run(args) => return run::run(args),
        Command::Chat(args) => return chat::chat(&args),
        Command::Serve(args) => return serve::serve(&args),
        Command::Pull(args) => return models::pull(&args),
        Command::List(args) => models::list(&args)?,
        Command::Show(args) => models::show(&args)?,
        Command::Rm(args) => models::remove(&args)?,
        Command::Ps(args) => models::ps(&args)?,
        Command::Paths(args) => models::paths(&args)?,
        Command::Inspect(args) => inspect::inspect(&args)?,
        Command::Tokenize(args) => tokenize::tokenize(&args)?,
        Command::Detokenize(args) => tokenize::detokenize(&args)?,
        Command::Logits(args) => logits::logits(&args)?,
        Command::Bench(args) => return bench::bench(&args),
        Command::Doctor(args) => return doctor::doctor(&args),
        Command::Conformance(args) => return conformance::conformance(&args),
        Command::Synth(args) => return synth::synth(&args),
        Command::Completions { shell } => print(completions::script(shell).as_bytes())?,
        Command::Man { folder } => man::man(&folder)?,
        Command::Version => print(format!("inferno {}\n", env!("CARGO_PKG_VERSION")).as_bytes())?,
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

/// Writes text and a newline to stderr, wrapped to a terminal's width and with its control characters made visible: names and
/// messages of a file are part of it. Errors of stderr are ignored.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{}", terminal::fitted(&terminal::visible(text)));
}

/// Bytes of files for people, in units of a thousand, as hubs and disks have it.
pub(crate) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.2} GB", n as f64 / 1e9),
    }
}

/// Writes to stdout at once.
pub(crate) fn print(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).context("cannot write to stdout")
}
