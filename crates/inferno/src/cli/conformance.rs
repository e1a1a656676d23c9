//! Arguments of `conformance`.

use std::path::PathBuf;

use clap::Args;
use inferno_conformance::Dialect;

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Address of the server, like http://127.0.0.1:8080
    #[arg(value_name = "URL", required_unless_present = "list")]
    pub(crate) url: Option<String>,

    /// Key, if the server asks for one; better given by the variable INFERNO_API_KEY. With a key, a wrong one is tried too
    #[arg(long, value_name = "KEY", env = "INFERNO_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// Model to ask for. Default: the first that the server lists
    // A configuration file's `model` is a model of this machine.
    #[arg(short = 'm', long = "served-model", visible_alias = "model", value_name = "NAME")]
    pub(crate) served_model: Option<String>,

    /// APIs to check: chat, completions, responses, messages, ollama, native. Default: all
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = dialect)]
    pub(crate) dialect: Vec<Dialect>,

    /// Checks to run, or groups of them: chat.stream.done, chat.stream. Default: all
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub(crate) only: Vec<String>,

    /// Print the checks with their sources, and ask no server
    #[arg(long)]
    pub(crate) list: bool,

    /// Write a JSON report to a file; `-` prints it in place of the table
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Write a JUnit XML report to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Seconds for each request, to the end of its answer
    #[arg(
        long,
        value_name = "N",
        env = "INFERNO_CONFORMANCE_TIMEOUT",
        hide_env = true,
        default_value_t = 60,
        value_parser = clap::value_parser!(u64).range(1..=3600)
    )]
    pub(crate) timeout: u64,

    /// Requests at once in the checks of load
    #[arg(
        long,
        value_name = "N",
        env = "INFERNO_CONFORMANCE_CONCURRENCY",
        hide_env = true,
        default_value_t = 8,
        value_parser = clap::value_parser!(u8).range(2..=64)
    )]
    pub(crate) concurrency: u8,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    let names: Vec<&str> = Dialect::ALL.iter().map(|dialect| dialect.name()).collect();
    let found = Dialect::ALL.into_iter().find(|dialect| dialect.name() == name);
    found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}
