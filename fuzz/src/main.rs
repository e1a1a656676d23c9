//! Prepares a run of a target: `inferno-fuzz list`, and `inferno-fuzz prepare TARGET FOLDER`, which writes the seeds and the
//! dictionary of a target to `FOLDER/corpus` and `FOLDER/words`, and prints the longest input.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use inferno_fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => {
            TARGETS.iter().for_each(|target| println!("{}", target.name));
            ExitCode::SUCCESS
        }
        ["prepare", name, folder] => match Target::find(name) {
            Some(target) => report(prepare(target, Path::new(folder)), folder),
            None => {
                eprintln!("error: `{name}` is not a target: see `inferno-fuzz list`");
                ExitCode::from(2)
            }
        },
        _ => {
            eprintln!("usage: inferno-fuzz list | inferno-fuzz prepare TARGET FOLDER");
            ExitCode::from(2)
        }
    }
}

fn report(outcome: std::io::Result<()>, folder: &str) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: cannot write to `{folder}`: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prepare(target: &Target, folder: &Path) -> std::io::Result<()> {
    let corpus = folder.join("corpus");
    std::fs::create_dir_all(&corpus)?;
    for (i, seed) in (target.seeds)().iter().enumerate() {
        std::fs::write(corpus.join(format!("seed-{i:03}")), seed)?;
    }
    let escaped = |word: &&str| {
        let bytes = word.bytes().map(|b| format!("\\x{b:02x}"));
        format!("\"{}\"\n", bytes.collect::<String>())
    };
    std::fs::write(folder.join("words"), target.words.iter().map(escaped).collect::<String>())?;
    println!("{}", target.max_len);
    Ok(())
}
