//! `cargo xtask <command>`: chores of the tree.
#![forbid(unsafe_code)]

mod load;
mod peer;
mod versus;

use std::process::ExitCode;

const USAGE: &str = "\
chores of the tree

usage: cargo xtask <command>

commands:
  tidy         check the rules that no compiler checks (also a test: `cargo test -p xtask`);
               `--baseline` removes lines that are gone from the list of lines older than the rule about language
  bench-peer   compare our speed with llama.cpp's, in alternating runs (`cargo xtask bench-peer --help`)
  bench-server compare our HTTP server with llama.cpp's, in alternating runs (`cargo xtask bench-server --help`)
  load         put a server under load: many clients, slow clients, too many, aborts (`cargo xtask load --help`)
  help         print this
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy(),
        ["tidy", "--baseline"] => exit_code(shrink_baseline()),
        ["bench-peer", "help" | "--help" | "-h"] => {
            print!("{}", peer::USAGE);
            ExitCode::SUCCESS
        }
        ["bench-peer", ..] => exit_code(peer::bench_peer(&args[1..])),
        ["bench-server", "help" | "--help" | "-h"] => {
            print!("{}", versus::USAGE);
            ExitCode::SUCCESS
        }
        ["bench-server", ..] => exit_code(versus::bench_server(&args[1..])),
        ["load", "help" | "--help" | "-h"] => {
            print!("{}", load::USAGE);
            ExitCode::SUCCESS
        }
        ["load", ..] => load::load(&args[1..]).unwrap_or_else(|why| exit_code(Err(why))),
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprint!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn exit_code(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn shrink_baseline() -> Result<(), String> {
    let path = xtask::tidy::shrink_baseline(xtask::testing::root()).map_err(|e| e.to_string())?;
    println!("wrote {path}");
    Ok(())
}

fn tidy() -> ExitCode {
    let report = match xtask::tidy::check(xtask::testing::root()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("the tree cannot be read: {error}");
            return ExitCode::FAILURE;
        }
    };
    for note in &report.notes {
        println!("note: {note}");
    }
    for violation in &report.violations {
        println!("{violation}");
    }
    match report.violations.len() {
        0 => ExitCode::SUCCESS,
        n => {
            eprintln!("{n} violations");
            ExitCode::FAILURE
        }
    }
}
