//! `cargo xtask <command>`: chores of the tree.
#![forbid(unsafe_code)]

use std::process::ExitCode;

const USAGE: &str = "\
chores of the tree

usage: cargo xtask <command>

commands:
  tidy   check the rules that no compiler checks (also a test: `cargo test -p xtask`)
  help   print this
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["tidy"] => tidy(),
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
