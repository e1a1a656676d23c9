//! Limits of a request, a connection and the server.

use std::num::NonZero;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::kv_memory::size;

/// Limits of a request, a connection and the server.
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

    /// Ended streams of requests with `X-Conversation-Id` that can still be taken up (`GET /v1/stream`). Such streams go on
    /// without their client; 0 ends them with their connection
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_KEPT_STREAMS",
        hide_env = true,
        default_value = "64"
    )]
    pub(crate) kept_streams: usize,

    /// Bytes of such a stream that can be taken up again, the last ones
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_KEPT_STREAM_BYTES", hide_env = true, default_value = "4MiB", value_parser = size)]
    pub(crate) kept_stream_bytes: u64,

    /// Seconds that such a stream is kept after its end
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_KEPT_STREAM_TIME", hide_env = true, default_value = "300", value_parser = seconds)]
    pub(crate) kept_stream_time: Duration,

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

    /// Maximum tools of a chat
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_TOOLS",
        hide_env = true,
        default_value = "128"
    )]
    pub(crate) max_tools: NonZero<usize>,

    /// Responses of `/v1/responses` to keep for later requests; 0 keeps none
    #[arg(
        long,
        hide_short_help = true,
        value_name = "N",
        env = "INFERNO_MAX_RESPONSES",
        hide_env = true,
        default_value = "1024"
    )]
    pub(crate) max_responses: usize,

    /// Memory for kept responses and their conversations
    #[arg(long, hide_short_help = true, value_name = "SIZE", env = "INFERNO_RESPONSES_BYTES", hide_env = true, default_value = "64MiB", value_parser = size)]
    pub(crate) responses_bytes: u64,

    /// File for kept responses: read at the start, written at the end. Those of keys without a name are left out
    #[arg(
        long,
        hide_short_help = true,
        value_name = "FILE",
        env = "INFERNO_RESPONSES_FILE",
        hide_env = true
    )]
    pub(crate) responses_file: Option<PathBuf>,

    /// Seconds without progress in a step after which `/health` is 503
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_STALL_TIME", hide_env = true, default_value = "5", value_parser = seconds)]
    pub(crate) stall_time: Duration,

    /// Seconds without progress in a step after which the program aborts
    #[arg(long, hide_short_help = true, value_name = "SECONDS", env = "INFERNO_HANG_TIME", hide_env = true, default_value = "60", value_parser = seconds)]
    pub(crate) hang_time: Duration,
}

/// A length of time in seconds; it may have a fraction.
fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<f64>() {
        Ok(x) if (0.001..=1e7).contains(&x) => Ok(Duration::from_secs_f64(x)),
        _ => Err("expected seconds, from 0.001 to 10000000".into()),
    }
}
