//! What the command line asks for.

use std::path::{Path, PathBuf};

use super::case::Case;
use super::{Result, USAGE};

#[derive(Debug, Default, PartialEq)]
pub(super) struct Args {
    pub(super) ours: Option<PathBuf>,
    pub(super) theirs: PathBuf,
    model: Option<PathBuf>,
    label: Option<String>,
    pub(super) out: Option<PathBuf>,
    only: Vec<Case>,
    rounds: Option<usize>,
    pub(super) quick: bool,
    threads: Option<usize>,
    pub(super) list: bool,
    /// What stands after `--`.
    pub(super) their_args: Vec<String>,
}

/// What both servers run if no file is named.
const EMBER: &str = "crates/inferno/models/ember/ember-q8_0.gguf";

impl Args {
    pub(super) fn parse(args: &[String]) -> Result<Args> {
        let (tool, theirs) = match args.iter().position(|arg| arg == "--") {
            Some(at) => (&args[..at], &args[at + 1..]),
            None => (args, &args[..0]),
        };
        let mut parsed = Args { their_args: theirs.to_vec(), ..Args::default() };
        let mut rest = tool.iter();
        while let Some(arg) = rest.next() {
            let mut value = || rest.next().ok_or_else(|| format!("`{arg}` needs a value\n\n{USAGE}"));
            let count = |text: &String| match text.parse() {
                Ok(n) if n > 0 => Ok(n),
                _ => Err(format!("`{arg}` takes a number from 1 on, not `{text}`")),
            };
            match arg.as_str() {
                "--ours" => parsed.ours = Some(value()?.into()),
                "--theirs" => parsed.theirs = value()?.into(),
                "--model" => parsed.model = Some(value()?.into()),
                "--label" => parsed.label = Some(value()?.clone()),
                "--out" => parsed.out = Some(value()?.into()),
                "--only" => parsed.only.push(Case::named(value()?)?),
                "--rounds" => parsed.rounds = Some(count(value()?)?),
                "--threads" => parsed.threads = Some(count(value()?)?),
                "--quick" => parsed.quick = true,
                "--list" => parsed.list = true,
                _ => return Err(format!("there is no option `{arg}`\n\n{USAGE}")),
            }
        }
        match parsed.theirs.as_os_str().is_empty() && !parsed.list {
            true => Err(format!("`--theirs` must name `llama-server`\n\n{USAGE}")),
            false => Ok(parsed),
        }
    }

    pub(super) fn model(&self) -> PathBuf {
        self.model.clone().unwrap_or_else(|| xtask::testing::root().join(EMBER))
    }

    pub(super) fn label(&self) -> String {
        self.label.clone().unwrap_or_else(|| file_name(&self.model()))
    }

    pub(super) fn cases(&self) -> Vec<Case> {
        Case::ALL.into_iter().filter(|case| self.only.is_empty() || self.only.contains(case)).collect()
    }

    pub(super) fn n_rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub(super) fn n_threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }

    /// The command without the paths of this machine.
    pub(super) fn to_command(&self) -> String {
        let mut words = vec!["cargo xtask bench-server --theirs llama-server".to_owned()];
        words.extend(self.model.iter().map(|path| format!("--model {}", file_name(path))));
        words.extend(self.only.iter().map(|case| format!("--only {}", case.name())));
        words.extend(self.rounds.map(|n| format!("--rounds {n}")));
        words.extend(self.quick.then(|| "--quick".into()));
        words.extend(self.threads.map(|n| format!("--threads {n}")));
        if !self.their_args.is_empty() {
            words.extend(["--".to_owned(), self.their_args.join(" ")]);
        }
        words.join(" ")
    }
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
