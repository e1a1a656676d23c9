//! The program: a command line over the libraries. Start reading at [`cli`], then [`load`], then the command.
#![forbid(unsafe_code)]

mod answer;
mod cli;
mod commands;
mod config_file;
mod draft;
#[cfg(feature = "ember")]
mod ember;
mod exit;
mod form;
mod habits;
mod hub;
mod interrupt;
mod kv_memory;
mod load;
mod misspelt;
mod names;
mod overrides;
mod prompt;
mod sampling;
mod sandbox;
mod session;
mod template;
mod terminal;
mod welcome;

use std::io::{self, ErrorKind};
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = sandbox::run_if_asked(sandbox::answerer()) {
        return code;
    }
    let cli: cli::Cli = match config_file::parse(habits::written_out(std::env::args_os())) {
        Ok(cli) => cli,
        Err(e) => match misspelt::hint(&e) {
            None => e.exit(),
            Some(hint) => {
                commands::note(&hint);
                return ExitCode::from(exit::USAGE);
            }
        },
    };
    let outcome = match cli.command {
        Some(command) => {
            config_file::note_unknown_variables(&command);
            commands::execute(command)
        }
        None => welcome::welcome(),
    };
    match outcome {
        Ok(code) => code,
        // The reader of our output has gone (`inferno run … | head -1`): nothing is left to say, and to whom.
        Err(e) if is_broken_pipe(&e) => ExitCode::SUCCESS,
        Err(e) if hub::is_cancelled(&e) => {
            commands::note(&format!("{e:#}"));
            ExitCode::from(interrupt::EXIT_CODE)
        }
        Err(e) => {
            commands::note(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(e: &anyhow::Error) -> bool {
    e.chain().any(|e| e.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == ErrorKind::BrokenPipe))
}
