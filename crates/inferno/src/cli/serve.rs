//! What `inferno serve` accepts.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::FalseyValueParser;

use super::Sampling;
use crate::habits::Habits;
use crate::kv_memory::size;
use crate::load::Compute;
use crate::overrides::Overrides;
use crate::template::Choice;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// TOML file with values for these flags, by their names
    #[arg(long, value_name = "FILE", env = "INFERNO_CONFIG", hide_env = true)]
    pub(crate) config: Option<PathBuf>,

    /// Print all settings as a file for `--config` and exit: those that are set with their values, the others as comments
    /// with their defaults
    #[arg(long)]
    pub(crate) print_config: bool,

    /// GGUF file (any file of a split model); default: Ember, the small model inside the program
    #[arg(long, value_name = "FILE", env = "INFERNO_MODEL", hide_env = true, short)]
    pub(crate) model: Option<PathBuf>,

    /// Address or name to listen on; 0.0.0.0 and :: are all addresses of this machine
    #[arg(long, value_name = "ADDRESS", env = "INFERNO_HOST", hide_env = true, default_value = "127.0.0.1")]
    pub(crate) host: String,

    /// Port to listen on; 0: any that is free
    #[arg(long, value_name = "PORT", env = "INFERNO_PORT", hide_env = true, default_value = "8080", short)]
    pub(crate) port: u16,

    /// Names of the model; the first is the one that `/v1/models` lists. Default: the file's name. `default` always works
    #[arg(long, value_name = "NAME,..", env = "INFERNO_ALIAS", hide_env = true, value_delimiter = ',')]
    pub(crate) alias: Vec<String>,

    /// Accept any model name in requests
    #[arg(long, env = "INFERNO_ANY_MODEL", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) any_model: bool,

    /// Chat template in place of the model's: a file with Jinja, `chatml`, or `none` for no chats
    #[arg(long, value_name = "FILE", env = "INFERNO_CHAT_TEMPLATE", hide_env = true)]
    pub(crate) chat_template: Option<Choice>,

    /// Context length; default, and 0: the model's own
    #[arg(long, alias = "ctx-size", value_name = "N", env = "INFERNO_CONTEXT", hide_env = true, short)]
    pub(crate) context: Option<u32>,

    #[command(flatten)]
    pub(crate) engine: Engine,

    #[command(flatten)]
    pub(crate) access: Access,

    #[command(flatten)]
    pub(crate) limits: Limits,

    #[command(flatten, next_help_heading = "Sampling, where a request does not say")]
    pub(crate) defaults: Sampling,

    #[command(flatten)]
    pub(crate) overrides: Overrides,

    #[command(flatten)]
    pub(crate) habits: Habits,

    #[command(flatten)]
    pub(crate) logs: Logs,

    #[command(flatten)]
    pub(crate) compute: Compute,
}

impl Serve {
    /// `None` is the model's own.
    pub(crate) fn context(&self) -> Option<u32> {
        self.context.filter(|&n| n > 0)
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

    /// Disable speculative decoding
    #[arg(long, env = "INFERNO_NO_SPECULATION", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_speculation: bool,
}

/// Who may ask.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub(crate) struct Access {
    /// API keys; every request except health checks must have one (`Authorization: Bearer KEY`). Other users of the machine
    /// see them in the list of processes: prefer `--api-key-file`. Default: none, requests need no key
    #[arg(
        long,
        value_name = "KEY,..",
        env = "INFERNO_API_KEY",
        hide_env = true,
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) api_key: Vec<String>,

    /// Admin keys: may also list and cancel anyone's requests. If no keys of any kind are set, requests from this machine
    /// are admin. Prefer `--api-key-file`, as for `--api-key`
    #[arg(
        long,
        value_name = "KEY,..",
        env = "INFERNO_ADMIN_KEY",
        hide_env = true,
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) admin_key: Vec<String>,

    /// Scrape keys: may read `/metrics` and nothing else. If any keys are set, `/metrics` needs one, or an admin key
    #[arg(
        long,
        value_name = "KEY,..",
        env = "INFERNO_METRICS_KEY",
        hide_env = true,
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub(crate) metrics_key: Vec<String>,

    /// File with a key per line, and behind it any of `name=NAME`, `admin` or `scrape`, `concurrent=N`,
    /// `requests-per-minute=N`, `tokens-per-minute=N`. SIGHUP reads it again
    #[arg(long, value_name = "FILE", env = "INFERNO_API_KEY_FILE", hide_env = true)]
    pub(crate) api_key_file: Option<PathBuf>,

    /// Concurrent requests of a key without limits of its own. Default: no limit
    #[arg(long, hide_short_help = true, value_name = "N", env = "INFERNO_KEY_CONCURRENT", hide_env = true)]
    pub(crate) key_concurrent: Option<NonZero<u64>>,

    /// Requests per minute of a key without limits of its own. Default: no limit
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_KEY_REQUESTS_PER_MINUTE",
        hide_env = true
    )]
    pub(crate) key_requests_per_minute: Option<NonZero<u64>>,

    /// Tokens per minute, prompt tokens computed and completion tokens, of a key without limits of its own. Default: no limit
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_KEY_TOKENS_PER_MINUTE",
        hide_env = true
    )]
    pub(crate) key_tokens_per_minute: Option<NonZero<u64>>,

    /// Share cached prefixes between keys. The time of an answer then tells one key what another has asked
    #[arg(long, hide_short_help = true, env = "INFERNO_SHARE_CACHE", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) share_cache: bool,

    /// Host names that requests may use, besides localhost and IP addresses; `*`: any
    #[arg(
        long,
        value_name = "NAME,..",
        env = "INFERNO_ALLOWED_HOST",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) allowed_host: Vec<String>,

    /// Origins of web pages that may send requests, like `https://chat.example`; `localhost`: this machine at any port; `*`: any. Default: none
    #[arg(
        long,
        value_name = "ORIGIN,..",
        env = "INFERNO_CORS_ORIGIN",
        hide_env = true,
        value_delimiter = ','
    )]
    pub(crate) cors_origin: Vec<String>,
}

/// What a request, a connection and the server may take.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct Limits {
    /// Seconds for running requests to finish after SIGTERM
    #[arg(long, value_name = "SECONDS", env = "INFERNO_DRAIN", hide_env = true, default_value = "30", value_parser = seconds)]
    pub(crate) drain: Duration,

    /// Seconds after which a request is cancelled; a request may set less (`deadline_ms`). Default: no limit
    #[arg(long, value_name = "SECONDS", env = "INFERNO_DEADLINE", hide_env = true, value_parser = seconds)]
    pub(crate) deadline: Option<Duration>,

    /// Seconds that a stream's status line waits for the first token
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_HOLD", hide_env = true, default_value = "5", value_parser = seconds)]
    pub(crate) hold: Duration,

    /// Seconds between comments on a stream without events
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_KEEP_ALIVE", hide_env = true, default_value = "5", value_parser = seconds)]
    pub(crate) keep_alive: Duration,

    /// Open connections; those without a request are closed to make room for new ones
    #[arg(long, value_name = "N", env = "INFERNO_CONNECTIONS", hide_env = true, default_value = "1024")]
    pub(crate) connections: NonZero<usize>,

    /// Connections of one address; default: no limit, but when all places are taken, the address with the most silent
    /// connections gives way first
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_CONNECTIONS_PER_ADDRESS",
        hide_env = true
    )]
    pub(crate) connections_per_address: Option<NonZero<usize>>,

    /// Maximum size of a request's head
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_HEADER_BYTES", hide_env = true, default_value = "32KiB", value_parser = size)]
    pub(crate) header_bytes: u64,

    /// Maximum number of headers of a request
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_HEADERS",
        hide_env = true,
        default_value = "100"
    )]
    pub(crate) headers: NonZero<usize>,

    /// Seconds to receive a request's head
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_HEADER_TIME", hide_env = true, default_value = "10", value_parser = seconds)]
    pub(crate) header_time: Duration,

    /// Seconds after which an idle connection is closed
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_IDLE_TIME", hide_env = true, default_value = "75", value_parser = seconds)]
    pub(crate) idle_time: Duration,

    /// Maximum size of a request's body
    #[arg(long, value_name = "SIZE", env = "INFERNO_BODY_BYTES", hide_env = true, default_value = "8MiB", value_parser = size)]
    pub(crate) body_bytes: u64,

    /// Seconds to receive a request's body, plus one per KiB
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_BODY_TIME", hide_env = true, default_value = "30", value_parser = seconds)]
    pub(crate) body_time: Duration,

    /// Memory for the bodies of requests and for answers that are being written
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_BODIES_BYTES", hide_env = true, default_value = "256MiB", value_parser = size)]
    pub(crate) bodies_bytes: u64,

    /// Maximum size of a text for `/tokenize`
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_TOKENIZE_BYTES", hide_env = true, default_value = "4MiB", value_parser = size)]
    pub(crate) tokenize_bytes: u64,

    /// Maximum tokens for `/detokenize`
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_DETOKENIZE_TOKENS",
        hide_env = true,
        default_value = "250000"
    )]
    pub(crate) detokenize_tokens: NonZero<usize>,

    /// Drop a client that has read nothing for this many seconds
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_WRITE_TIME", hide_env = true, default_value = "30", value_parser = seconds)]
    pub(crate) write_time: Duration,

    /// Events that may wait for a slow reader before `--write-time` counts
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_PENDING_EVENTS",
        hide_env = true,
        default_value = "256"
    )]
    pub(crate) pending_events: NonZero<usize>,

    /// Maximum nesting of JSON
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_JSON_DEPTH",
        hide_env = true,
        default_value = "32"
    )]
    pub(crate) json_depth: NonZero<usize>,

    /// Maximum number of values and keys of a JSON body
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_JSON_NODES",
        hide_env = true,
        default_value = "250000"
    )]
    pub(crate) json_nodes: NonZero<usize>,

    /// Maximum choices of a request (`n`)
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_N",
        hide_env = true,
        default_value = "16"
    )]
    pub(crate) max_n: NonZero<usize>,

    /// Maximum prompts of a request
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_PROMPTS",
        hide_env = true,
        default_value = "128"
    )]
    pub(crate) max_prompts: NonZero<usize>,

    /// Maximum stop strings of a request
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_STOPS",
        hide_env = true,
        default_value = "4"
    )]
    pub(crate) max_stops: NonZero<usize>,

    /// Maximum bytes of a stop string
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_STOP_BYTES",
        hide_env = true,
        default_value = "256"
    )]
    pub(crate) max_stop_bytes: NonZero<usize>,

    /// Maximum ids in `stop_token_ids` and `allowed_token_ids`
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_TOKEN_IDS",
        hide_env = true,
        default_value = "1024"
    )]
    pub(crate) max_token_ids: NonZero<usize>,

    /// Maximum entries of `logit_bias`
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_LOGIT_BIAS",
        hide_env = true,
        default_value = "300"
    )]
    pub(crate) max_logit_bias: NonZero<usize>,

    /// Maximum messages of a chat
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_MESSAGES",
        hide_env = true,
        default_value = "2048"
    )]
    pub(crate) max_messages: NonZero<usize>,

    /// Maximum variables in `chat_template_kwargs`
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_TEMPLATE_VARIABLES",
        hide_env = true,
        default_value = "16"
    )]
    pub(crate) max_template_variables: NonZero<usize>,

    /// Maximum size of all variables in `chat_template_kwargs`
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_MAX_TEMPLATE_BYTES", hide_env = true, default_value = "16KiB", value_parser = size)]
    pub(crate) max_template_bytes: u64,

    /// Seconds without progress in a step after which `/health` is 503
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_STALL_TIME", hide_env = true, default_value = "5", value_parser = seconds)]
    pub(crate) stall_time: Duration,

    /// Seconds without progress in a step after which the program aborts
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_HANG_TIME", hide_env = true, default_value = "60", value_parser = seconds)]
    pub(crate) hang_time: Duration,
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

    /// Publish metrics under another server's names too: vllm
    #[arg(long, value_name = "SERVER", env = "INFERNO_METRICS_COMPAT", hide_env = true, value_enum)]
    pub(crate) metrics_compat: Option<MetricsCompat>,
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
}

/// A length of time in seconds; it may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(x) if (0.001..=1e7).contains(&x) => Ok(Duration::from_secs_f64(x)),
        _ => Err("expected seconds, from 0.001 to 10000000".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn every_flag_can_be_set_by_a_variable() {
        let cli = super::super::Cli::command();
        let serve = cli.find_subcommand("serve").unwrap();
        crate::config_file::every_flag_has_an_environment_variable(serve);
    }
}
