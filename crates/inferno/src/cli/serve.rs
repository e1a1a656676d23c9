//! What `inferno serve` accepts.

mod access;
mod limits;

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::{DraftModel, ModelArgument, ModelFile, Reasoning, Sampling, Seed, max_tokens, seed};
use crate::habits::{Habits, ServerHabits};
use crate::kv_memory::size;
use crate::load::Compute;
use crate::overrides::Overrides;
use crate::template::Choice;
pub(crate) use access::Access;
use limits::Limits;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) named: ModelArgument,

    #[command(flatten)]
    pub(crate) model: ModelFile,

    #[command(flatten)]
    pub(crate) draft: DraftModel,

    /// Addresses or names to listen on; 0.0.0.0 and :: are all addresses of this machine. Default: 127.0.0.1; without `--host` and
    /// `--port` the address in the variable `OLLAMA_HOST`, if it is set
    #[arg(long, value_name = "ADDRESS,..", env = "INFERNO_HOST", hide_env = true)]
    pub(crate) host: Option<String>,

    /// Port to listen on; 0: any that is free. Default: 8080
    #[arg(long, value_name = "PORT", env = "INFERNO_PORT", hide_env = true, short)]
    pub(crate) port: Option<u16>,

    /// Names of the model; the first is the one that `/v1/models` lists. Default: the name after `-m`, or the file's name. `default` always works
    #[arg(long, value_name = "NAME,..", env = "INFERNO_ALIAS", hide_env = true, value_delimiter = ',')]
    pub(crate) alias: Vec<String>,

    /// Accept any model name in requests
    #[arg(long, env = "INFERNO_ANY_MODEL", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) any_model: bool,

    /// Keep the line `x-anthropic-billing-header` at the top of system prompts in `/v1/messages`. It differs in every request,
    /// so that prompts miss the prefix cache; by default it is taken off
    #[arg(long, env = "INFERNO_KEEP_BILLING_HEADER", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) keep_billing_header: bool,

    /// No chat page: `/` is a line of text for browsers too
    #[arg(long, aliases = ["no-ui", "no-webui"], env = "INFERNO_NO_PAGE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_page: bool,

    /// Prefix of all paths behind a proxy that does not take it off, like `/llm`; paths without it work too
    #[arg(long, value_name = "PATH", env = "INFERNO_ROOT_PATH", hide_env = true, value_parser = root_path)]
    pub(crate) root_path: Option<String>,

    /// Chat template in place of the model's: a file with Jinja, `chatml`, or `none` for no chats
    #[arg(
        long,
        alias = "chat-template-file",
        value_name = "FILE",
        env = "INFERNO_CHAT_TEMPLATE",
        hide_env = true
    )]
    pub(crate) chat_template: Option<Choice>,

    /// Context length; default, and 0: the model's own
    #[arg(long, alias = "ctx-size", value_name = "N", env = "INFERNO_CONTEXT", hide_env = true, short)]
    pub(crate) context: Option<u32>,

    /// Maximum number of tokens of an answer where a request does not say, -1 for no limit. Default: to the end of the context,
    /// or 16 for completions as OpenAI has them
    #[arg(short = 'n', long, aliases = ["n-predict", "predict"], value_name = "N", env = "INFERNO_MAX_TOKENS", hide_env = true, allow_negative_numbers = true, value_parser = max_tokens)]
    max_tokens: Option<i64>,

    #[command(flatten)]
    pub(crate) engine: Engine,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) limits: Limits,

    /// Seed of the random numbers: a request gets the same answer every time. Default, and -1: another one for every request
    #[arg(long, value_name = "N", env = "INFERNO_SEED", hide_env = true, allow_negative_numbers = true, value_parser = seed, help_heading = "Sampling, where a request does not say")]
    seed: Option<Seed>,

    #[command(flatten, next_help_heading = "Sampling, where a request does not say")]
    pub(crate) defaults: Sampling,

    #[command(flatten)]
    pub(crate) reasoning: Reasoning,

    /// Where reasoning goes: auto and deepseek put it apart from the answer, none leaves it in the text. A request may say
    /// otherwise (`reasoning_format`)
    #[arg(
        long,
        value_name = "FORMAT",
        env = "INFERNO_REASONING_FORMAT",
        hide_env = true,
        default_value = "auto",
        value_enum
    )]
    pub(crate) reasoning_format: ReasoningFormat,

    #[command(flatten)]
    pub(crate) overrides: Overrides,

    #[command(flatten)]
    pub(crate) habits: Habits,

    #[command(flatten)]
    pub(crate) server_habits: ServerHabits,

    #[command(flatten)]
    pub(crate) logs: Logs,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

/// A path that begins with a slash, without one at its end.
fn root_path(text: &str) -> Result<String, String> {
    let path = text.trim_end_matches('/');
    let is_plain = |c: char| c.is_ascii_graphic() && !"?#%\"<>\\^`{|}".contains(c);
    match path.is_empty() || path.starts_with('/') && path.chars().all(is_plain) {
        true => Ok(path.to_owned()),
        false => Err("expected a path that begins with a slash, like /llm".to_owned()),
    }
}

impl Serve {
    /// `None` is the model's own.
    pub(crate) fn context(&self) -> Option<u32> {
        self.context.filter(|&n| n > 0)
    }

    /// `None` is no limit of the server's own.
    pub(crate) fn max_tokens(&self) -> Option<usize> {
        self.max_tokens.and_then(|n| usize::try_from(n).ok())
    }

    /// `None` is another one for every request.
    pub(crate) fn seed(&self) -> Option<u64> {
        match self.seed? {
            Seed::Any => None,
            Seed::Of(seed) => Some(seed),
        }
    }
}

/// How the engine runs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct Engine {
    /// Sequences that run at once; further ones wait in the queue
    #[arg(
        long,
        value_name = "N",
        env = "INFERNO_SEQUENCES",
        hide_env = true,
        default_value = "32",
        alias = "parallel"
    )]
    pub(crate) sequences: NonZero<usize>,

    /// Memory for keys and values, cached prefixes included, like 512MiB or 8GiB; default: what that many sequences of
    /// full length need, and at most half of the memory that the weights leave
    #[arg(long, value_name = "SIZE", env = "INFERNO_KV_MEMORY", hide_env = true, value_parser = size)]
    pub(crate) kv_memory: Option<u64>,

    /// Sequences that may wait in the queue; requests beyond are answered 429
    #[arg(long, value_name = "N", env = "INFERNO_QUEUE", hide_env = true, default_value = "512")]
    pub(crate) queue: NonZero<usize>,

    /// Prompt tokens that may wait in the queue; requests beyond are answered 429
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_QUEUE_TOKENS",
        hide_env = true,
        default_value = "4194304"
    )]
    pub(crate) queue_tokens: NonZero<usize>,

    /// Maximum rows of prompts in an engine step
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_BUDGET",
        hide_env = true,
        default_value = "512"
    )]
    pub(crate) budget: NonZero<usize>,

    /// Limit prefill rows per step to keep steps with decoding sequences below this time
    #[arg(
        long,
        hide_short_help = true,
        value_name = "MS",
        env = "INFERNO_STEP_TARGET",
        hide_env = true,
        default_value = "250"
    )]
    pub(crate) step_target: NonZero<u32>,

    /// Disable the prefix cache: compute every prompt in full
    #[arg(long, hide_short_help = true, env = "INFERNO_NO_PREFIX_CACHE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_prefix_cache: bool,

    /// Memory for cached prefixes that make room for others in the KV cache, like 8GiB: they come back when a prompt asks for
    /// them. Of use where the KV cache is on a GPU. Default: none, they are dropped
    #[arg(
        long,
        hide_short_help = true,
        value_name = "SIZE",
        env = "INFERNO_CACHE_RAM",
        hide_env = true,
        value_parser = size,
        conflicts_with = "no_prefix_cache"
    )]
    pub(crate) cache_ram: Option<u64>,

    /// Directory on a fast disk for cached prefixes that neither the KV cache nor `--cache-ram` has room for, with a size like
    /// /var/cache/inferno:100GiB; default size: 16 GiB. Nothing stays there when the server ends
    #[arg(
        long,
        hide_short_help = true,
        value_name = "DIR[:SIZE]",
        env = "INFERNO_CACHE_DISK",
        hide_env = true,
        value_parser = CacheDisk::parse,
        conflicts_with = "no_prefix_cache"
    )]
    pub(crate) cache_disk: Option<CacheDisk>,

    /// File that the prefix cache is written to when the server stops, and read from when it starts again: prompts that were
    /// known are answered as from memory. A file of another model, build or device is ignored
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        env = "INFERNO_CACHE_FILE",
        hide_env = true,
        conflicts_with = "no_prefix_cache"
    )]
    pub(crate) cache_file: Option<PathBuf>,

    /// Size of the cache file, at most: prefixes that are worth least are left out
    #[arg(
        long,
        hide_short_help = true,
        value_name = "SIZE",
        env = "INFERNO_CACHE_FILE_SIZE",
        hide_env = true,
        default_value = "4GiB",
        value_parser = size
    )]
    pub(crate) cache_file_size: u64,

    /// Disable speculative decoding
    #[arg(long, env = "INFERNO_NO_SPECULATION", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_speculation: bool,
}

/// A directory for cached prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CacheDisk {
    pub(crate) directory: PathBuf,
    pub(crate) max_bytes: u64,
}

impl CacheDisk {
    /// A directory, with a size after the last colon if that is one.
    fn parse(text: &str) -> Result<CacheDisk, String> {
        let (directory, max_bytes) = match text.rsplit_once(':') {
            Some((directory, after)) if after.starts_with(|c: char| c.is_ascii_digit()) => {
                (directory, size(after)?)
            }
            _ => (text, 16 << 30),
        };
        match directory.is_empty() {
            true => Err("expected a directory, like /var/cache/inferno:100GiB".into()),
            false => Ok(CacheDisk { directory: directory.into(), max_bytes }),
        }
    }
}

/// What is told of it.
#[derive(Debug, Args)]
#[command(next_help_heading = "Logs and metrics")]
pub(crate) struct Logs {
    /// Format of log lines: text, or json for an object a line
    #[arg(
        long,
        value_name = "FORMAT",
        env = "INFERNO_LOG_FORMAT",
        hide_env = true,
        default_value = "text",
        value_enum
    )]
    pub(crate) log_format: LogFormat,

    /// Least severe lines that are logged: off, error, warn, info (every request) or debug (health checks too)
    #[arg(
        long,
        value_name = "LEVEL",
        env = "INFERNO_LOG_LEVEL",
        hide_env = true,
        default_value = "info",
        value_enum
    )]
    pub(crate) log_level: LogLevel,

    /// File that log lines are appended to; SIGHUP opens it again. Default: stderr
    #[arg(long, value_name = "FILE", env = "INFERNO_LOG_FILE", hide_env = true)]
    pub(crate) log_file: Option<PathBuf>,

    /// Log prompts too, which are users' texts
    #[arg(long, env = "INFERNO_LOG_PROMPTS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) log_prompts: bool,

    /// Publish metrics under other servers' names too: vllm, llamacpp
    #[arg(
        long,
        value_name = "SERVER,..",
        env = "INFERNO_METRICS_COMPAT",
        hide_env = true,
        value_delimiter = ',',
        value_enum
    )]
    pub(crate) metrics_compat: Vec<MetricsCompat>,
}

/// Where reasoning goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ReasoningFormat {
    /// Apart, where the model's format is known
    Auto,
    /// Into the text
    None,
    /// Apart
    Deepseek,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// An object a line
    Json,
}

/// Which log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogLevel {
    /// None
    Off,
    /// What went wrong
    Error,
    /// What may go wrong
    Warn,
    /// Every request
    Info,
    /// Health checks and connections too
    Debug,
}

/// Whose names metrics have, beside our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum MetricsCompat {
    /// vLLM's
    Vllm,
    /// llama-server's
    Llamacpp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_may_have_a_size() {
        let parse = |text| CacheDisk::parse(text).map(|disk| (disk.directory, disk.max_bytes));
        assert_eq!(parse("/var/cache"), Ok(("/var/cache".into(), 16 << 30)));
        assert_eq!(parse("/var/cache:100GiB"), Ok(("/var/cache".into(), 100 << 30)));
        assert_eq!(parse(r"C:\cache:1g"), Ok((r"C:\cache".into(), 1 << 30)));
        assert_eq!(parse(r"C:\cache"), Ok((r"C:\cache".into(), 16 << 30)));
        for bad in ["", ":1GiB", "/var/cache:0", "/var/cache:1 apple"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
