//! Arguments of the command line.

use std::path::PathBuf;

use clap::{ArgMatches, Args, Parser, Subcommand};

use crate::commands;
use crate::config_file::ChosenDefaults;
use crate::exit;
use crate::load::Compute;
use crate::overrides::Overrides;

mod answer;
mod bench;
mod bench_serve;
mod conformance;
mod doctor;
mod model;
mod models;
mod reasoning;
mod sampling;
mod serve;
mod synth;

pub(crate) use answer::{Answering, Chat, Run, Seed, max_tokens, seed};
pub(crate) use bench::{Bench, BenchCommand};
pub(crate) use bench_serve::{BenchServe, EngineKnobs, Rate};
pub(crate) use conformance::Conformance;
pub(crate) use doctor::Doctor;
pub(crate) use model::{DraftModel, ModelArgument, ModelFile};
pub(crate) use models::{List, Paths, Ps, Pull, Remove, Show};
pub(crate) use reasoning::Reasoning;
pub(crate) use sampling::Sampling;
pub(crate) use serve::{Access, CacheDisk, LogFormat, LogLevel, MetricsCompat, ReasoningFormat, Serve};
pub(crate) use synth::{Encoding, Synth};

/// From a GGUF checkpoint to text.
#[derive(Debug, Parser)]
#[command(name = "inferno", version, about, max_term_width = 100, after_long_help = exit::help())]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

impl ChosenDefaults for Cli {
    fn chosen(path: &[&str], given: &ArgMatches) -> Vec<(&'static str, String)> {
        match path {
            ["serve"] => commands::chosen_address(given),
            _ => Vec::new(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Answer a prompt, streaming the text to stdout
    ///
    /// The prompt is the arguments, then each `--file`, then what is piped in, with a blank line between them (one newline at
    /// the end of a file and of stdin is dropped): `inferno run "Summarise this" <notes.md`. With a prompt, a pipe that
    /// brings nothing for 30 seconds is an error; `</dev/null` answers the prompt alone. The last line, on stderr, has the
    /// speeds. Ctrl-C stops the answer, a second one ends the program.
    Run(Run),
    /// Talk with a model
    ///
    /// On a terminal messages are edited as in a shell: arrows, Ctrl-R and Tab work, pasted lines are one message, Alt-Enter
    /// begins a new line, and so does Enter between `"""` and `"""`. Text that begins with `/` is a command, `/help` lists them;
    /// `exit`, `quit`, `bye` and Ctrl-D end the program. Ctrl-C stops an answer and keeps what there is of it, or clears the
    /// line; it never ends the chat. What was entered is kept in a history file (`--no-history`).
    ///
    /// If stdin is a pipe, each line is a message or a command, answered before the next; stdout has the answers alone, and
    /// the exit code is 1 if a message was not answered. Ctrl-C between answers ends the program.
    ///
    /// The whole conversation is the prompt of each answer; what the engine has computed of it is not computed again. When
    /// it outgrows the context, the chat leaves its oldest turns out and says so. With `--seed N` the first answer is that of
    /// `run`, the second one has the seed N + 1, and so on.
    Chat(Chat),
    /// Serve a model over HTTP: an OpenAI-compatible API
    ///
    /// Prints its address once it is ready. SIGTERM or Ctrl-C lets answers finish for `--drain` seconds; a second one ends
    /// the program. SIGHUP reads `--api-key-file` again and opens `--log-file` again, or ends the server as SIGTERM does
    /// where it runs on a terminal. Every flag can also be set by an environment variable (`--port` by INFERNO_PORT) or in a
    /// TOML file (`--config`), where a key is the flag's name: `port = 8080`. A flag counts more than a variable, and a
    /// variable more than the file; `--print-config` prints all of them. `-h` leaves rarely needed limits out.
    Serve(Box<Serve>),
    /// Download models to the cache that the Hugging Face tools use, and print their paths
    ///
    /// A name is one of `inferno list --available`, like qwen3:0.6b, perhaps with a quant (qwen3:4b-q8_0); or OWNER/REPOSITORY of
    /// the hub with `:QUANT`, or the address of a file there. Without a quant it is Q4_K_M or the usual one, or the largest that
    /// fits into memory. A download that ended early goes on where it was; every file is checked against the hub's SHA-256 before
    /// it gets its name. HF_TOKEN opens gated repositories; HF_HOME, HF_HUB_CACHE, HF_ENDPOINT and HTTPS_PROXY are read too.
    Pull(Pull),
    /// List the models in the cache
    #[command(visible_alias = "ls")]
    List(List),
    /// Show a model: where it is, its quants, what it takes
    Show(Show),
    /// Remove models from the cache
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Show the model that a server has loaded, and what it is doing
    Ps(Ps),
    /// Show where models, tokens and settings are
    Paths(Paths),
    /// Show what is in a model file: a summary, the memory it needs, metadata, hyperparameters, tensors
    Inspect(Inspect),
    /// Turn text into token ids on one line
    ///
    /// The text is the argument, or stdin without one. Trims nothing and adds no BOS or EOS. Needs a vocabulary, no tensors.
    Tokenize(Tokenize),
    /// Turn token ids into text
    ///
    /// The ids are the arguments, or stdin without one. They are separated by spaces, commas or newlines; a JSON array serves too. Adds no newline.
    Detokenize(Detokenize),
    /// Print logits as one JSON object, position to array, for comparing with other engines
    Logits(Logits),
    /// Measure the speed of a model: prompts, decoding, decoding at depth, many sequences at once
    ///
    /// Every repeat does every measurement once, in turn, so that a slow minute of the machine falls on all alike.
    /// Medians are printed, with the range of the repeats behind them. Beside each decode the memory is read from one
    /// end to the other, which is the limit that its bytes per second are compared with. Tokens are random, and the
    /// same in every repeat.
    Bench(Box<Bench>),
    /// Show what can compute here, and forecast how fast models will be, before any is downloaded
    ///
    /// Measures how fast memory is read, loads a part of each model with random weights to the device that the model would
    /// have, measures it and extrapolates: whether the model fits, tokens per second of an answer and of a prompt, the time to
    /// the first token after a prompt of 1,000 tokens, and how many users `serve` has memory for. The machine's rates are printed
    /// after about two seconds, then a line for each forecast. Of a repository (OWNER/REPOSITORY) nothing but the list of its
    /// files and the header of one of them is read.
    Doctor(Doctor),
    /// Check a server against the rules that clients of its APIs rely on
    ///
    /// Asks any server at URL, this program's or another's, for short answers, in each API that it offers: OpenAI's chat
    /// completions, completions and Responses, Anthropic's Messages, Ollama's API, and routes of llama-server and vLLM. Each check
    /// has a name and the rule's source, and a failure is printed with a `curl` line that shows it. An API that the server does not
    /// have is a row, and no failure. The exit code is 1 if a check fails and 2 if no server answers.
    Conformance(Conformance),
    /// Write a model of true shape with random weights, for benchmarks and tests
    Synth(Synth),
    /// Print a script that completes this command line in a shell
    ///
    /// For bash: `inferno completions bash >~/.local/share/bash-completion/completions/inferno`. For zsh, a file `_inferno` in
    /// a folder of `$fpath`; for fish, `~/.config/fish/completions/inferno.fish`. In these three shells names of models are
    /// completed too, by `inferno list --names`.
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_enum, hide_possible_values = true)]
        shell: clap_complete::Shell,
    },
    /// Write manual pages to a folder, one for each command
    ///
    /// `inferno man ~/.local/share/man/man1` puts them where `man inferno` and `man inferno-run` find them.
    Man {
        /// Folder to write to; it is made if it is not there
        #[arg(value_name = "FOLDER")]
        folder: PathBuf,
    },
    /// Print the version
    #[command(hide = true)]
    Version,
}

impl Command {
    /// Moves a model that is the first argument of `chat`, `serve` or `bench` to where `-m` puts it.
    pub(crate) fn with_model_argument(mut self) -> Command {
        match &mut self {
            Command::Chat(args) => args.answering.model.take(&mut args.named),
            Command::Serve(args) => args.model.take(&mut args.named),
            Command::Bench(args) => match &mut args.command {
                Some(BenchCommand::Serve(args)) => args.model.take(&mut args.named),
                None => args.model.take(&mut args.named),
            },
            _ => {}
        }
        self
    }
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Model, as `-m` takes it
    #[arg(value_name = "MODEL")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) model: ModelFile,

    /// Print one JSON object, with arrays in full
    #[arg(long)]
    pub(crate) json: bool,

    /// List the tensors too
    #[arg(long)]
    pub(crate) tensors: bool,
}

impl Inspect {
    /// The argument, or else the flag.
    pub(crate) fn model_file(&self) -> ModelFile {
        let model = self.file.as_ref().or(self.model.model.as_ref()).cloned();
        ModelFile { model, ..self.model.clone() }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Tokenize {
    /// Text; several words are joined by spaces. Default: stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) text: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelFile,

    /// Print one JSON array of ids, pieces and bytes
    #[arg(long)]
    pub(crate) json: bool,

    /// Recognise control tokens in the text
    #[arg(long)]
    pub(crate) special: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Detokenize {
    /// Token ids. Default: stdin
    #[arg(allow_negative_numbers = true)]
    pub(crate) ids: Vec<String>,

    #[command(flatten)]
    pub(crate) model: ModelFile,
}

#[derive(Debug, Args)]
pub(crate) struct Logits {
    #[command(flatten)]
    pub(crate) model: ModelFile,

    /// Token ids; no BOS is added
    #[arg(long, value_name = "IDS", value_delimiter = ',', required = true)]
    pub(crate) tokens: Vec<u32>,

    /// Context length, which chooses between long and short RoPE factors; default: the model's own
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) context: Option<u32>,

    #[command(flatten)]
    pub(crate) overrides: Overrides,

    /// Positions to print, counted from 0; default: the last
    #[arg(long, value_name = "POSITIONS", value_delimiter = ',')]
    pub(crate) at: Vec<usize>,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// A parser for finite numbers in `range`.
fn number(
    range: std::ops::RangeInclusive<f32>,
) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync {
    move |text| match text.parse::<f32>() {
        Ok(x) if range.contains(&x) => Ok(x),
        _ => Err(format!("expected a number from {} to {}", range.start(), range.end())),
    }
}

#[cfg(test)]
mod tests {
    use super::Command;
    use crate::config_file;

    #[test]
    fn the_command_line_is_consistent() {
        config_file::command::<super::Cli>().debug_assert();
    }

    #[test]
    fn commands_in_the_documents_are_read() {
        let docs = std::fs::read_dir(xtask::testing::root().join("docs")).unwrap();
        let texts = docs.filter_map(|entry| std::fs::read_to_string(entry.unwrap().path()).ok());
        let text: String = texts.collect::<Vec<_>>().join("\n");
        let mut fence = None;
        let commands = text.lines().filter_map(|line| match (line.strip_prefix("```"), fence) {
            (Some(language), None) => {
                fence = Some(language);
                None
            }
            (Some(_), Some(_)) => {
                fence = None;
                None
            }
            (None, Some("sh")) => Some(line).filter(|line| line.starts_with("inferno ")),
            // A capture.
            _ => line.strip_prefix("$ ").filter(|line| line.starts_with("inferno ")),
        });
        let mut n = 0;
        for line in commands {
            // As a shell has it: up to a comment or a redirection, and one word in each pair of quotes.
            let command = line.split(['#', '>', '<']).next().unwrap_or(line);
            let parts = command.split('"').enumerate();
            let words = parts.flat_map(|(i, part)| match i % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            });
            let read = config_file::command::<super::Cli>().try_get_matches_from(words);
            assert!(read.is_ok(), "`{line}`: {}", read.unwrap_err());
            n += 1;
        }
        assert!(n > 15, "{n} commands");
    }

    #[test]
    fn a_model_may_be_the_first_argument() {
        let model = |args: &[&str]| {
            let args = ["inferno"].iter().chain(args).map(std::ffi::OsString::from);
            let cli: super::Cli = config_file::parse(args).map_err(|e| e.to_string())?;
            Ok::<_, String>(match cli.command.unwrap().with_model_argument() {
                Command::Chat(args) => args.answering.model.model,
                Command::Serve(args) => args.model.model,
                Command::Bench(args) => match args.command {
                    Some(super::BenchCommand::Serve(args)) => args.model.model,
                    None => args.model.model,
                },
                other => panic!("{other:?}"),
            })
        };
        for command in [&["chat"][..], &["serve"], &["bench"], &["bench", "serve"]] {
            let with = |more: &[&'static str]| model(&[command, more].concat());
            assert_eq!(with(&["qwen3:0.6b"]), Ok(Some("qwen3:0.6b".into())));
            assert_eq!(with(&["-m", "a.gguf"]), Ok(Some("a.gguf".into())));
            assert!(with(&["b.gguf", "-m", "a.gguf"]).unwrap_err().contains("cannot be used with"));
            assert!(with(&["Tell me a story"]).unwrap_err().contains("`inferno run \"PROMPT\"`"));
        }
    }

    #[test]
    fn every_flag_of_every_command_can_be_set_by_a_variable() {
        fn check(command: &clap::Command) {
            config_file::every_flag_has_an_environment_variable(command);
            command.get_subcommands().for_each(check);
        }
        check(&config_file::command::<super::Cli>());
    }
}
