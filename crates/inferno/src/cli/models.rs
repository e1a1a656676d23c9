//! Arguments of the commands that manage models: `pull`, `list`, `show`, `rm`, `ps`, `paths`.

use clap::Args;
use clap::builder::FalseyValueParser;

/// A name and how it is shown.
const NAMES: &str = "MODEL";

#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Names like qwen3:0.6b, OWNER/REPOSITORY:QUANT or the address of a file on the hub
    #[arg(value_name = NAMES, required = true)]
    pub(crate) models: Vec<String>,

    /// Print one JSON object per model: name, repository, file, path, size and bytes downloaded
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    /// List the models that have short names instead, whether or not they are here
    #[arg(long, short)]
    pub(crate) available: bool,

    /// Print names alone, one on each line: of the models here and of those to download, as completion in shells needs them
    #[arg(long, conflicts_with_all = ["available", "json"])]
    pub(crate) names: bool,

    /// Print one JSON array
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A file, a name like qwen3:0.6b, or OWNER/REPOSITORY:QUANT
    #[arg(value_name = NAMES)]
    pub(crate) model: String,

    /// Ask no hub: show what is known here (also: HF_HUB_OFFLINE=1)
    #[arg(long, env = "INFERNO_OFFLINE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) offline: bool,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Names as `inferno list` has them; a repository without a quant is one of its models if there is only one
    #[arg(value_name = NAMES, required = true)]
    pub(crate) models: Vec<String>,

    /// Remove all models of a repository, and what there is of unfinished downloads
    #[arg(long, short)]
    pub(crate) all: bool,

    /// Print one JSON object per name: the models removed and the bytes freed
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {
    /// Address of the server
    #[arg(
        long,
        value_name = "URL",
        env = "INFERNO_URL",
        hide_env = true,
        default_value = "http://127.0.0.1:8080"
    )]
    pub(crate) url: String,

    /// Key, if the server asks for one; better given by the variable INFERNO_API_KEY
    #[arg(long, value_name = "KEY", env = "INFERNO_API_KEY", hide_env_values = true)]
    pub(crate) api_key: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Paths {
    /// Print one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}
