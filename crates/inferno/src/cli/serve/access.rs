//! Keys, hosts and origins that may use the server.

use std::num::NonZero;
use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

/// Keys, hosts and origins that may use the server.
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
