//! The program: a command line over the libraries. Start reading at [`cli`], then [`load`], then the command.
#![forbid(unsafe_code)]

mod cli;
mod commands;
#[cfg(feature = "ember")]
mod ember;
mod interrupt;
mod kv_memory;
mod load;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match commands::execute(cli::Cli::parse().command) {
        Ok(code) => code,
        // The reader of our output has gone (`inferno run … | head -1`): nothing is left to say, and to whom.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) => {
            commands::note(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
