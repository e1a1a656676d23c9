//! What an operator can set. Every limit has its default here and a flag of the same name in the program.

use std::sync::Arc;
use std::time::Duration;

use inferno_engine::Samplers;

use crate::keys::{Key, KeyLimits};
use crate::library::Library;

/// Limits and rules of a server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may ask; nobody needs a key if there are none.
    pub keys: Vec<Key>,
    /// Limits of a key that has none of its own, and of everybody if there are no keys.
    pub key_limits: KeyLimits,
    /// All keys share one prefix cache. It lets one learn from the time an answer takes what others have asked.
    pub share_cache: bool,
    /// Key of the hashes that keep prefixes of different owners apart: another process with the same salt key and API keys finds
    /// the prefixes that this process has cached. `None`: a random key for each process.
    pub salt_key: Option<[u8; 16]>,
    /// Names under which the server may be called beside `localhost` and addresses; `*` is any.
    pub allowed_hosts: Vec<String>,
    /// Web pages that may ask; `*` is any.
    pub cors_origins: Vec<String>,
    /// Prefix of paths behind a proxy that does not take it off, like `/llm`; empty is none. Paths without it work too.
    pub root_path: String,
    /// `/` is a chat page for browsers.
    pub page: bool,
    /// Any model name is taken for the one there is.
    pub any_model: bool,
    /// System prompts of Messages keep the line that differs in every request (`x-anthropic-billing-header`).
    pub keeps_billing_header: bool,
    /// Also give metrics the names that vLLM has for them.
    pub vllm_metrics: bool,
    /// Metrics under llama-server's names too.
    pub llama_metrics: bool,
    /// Models that Ollama's clients may download and remove; `None`: they may not.
    pub library: Option<Arc<dyn Library>>,
    /// How a request is sampled that does not say.
    pub defaults: Defaults,
    /// Seed of requests that name none; `None` is another one for each.
    pub seed: Option<u64>,
    /// Most tokens of an answer, where a request does not say; `None` is as each API has it.
    pub max_tokens: Option<usize>,
    /// The engine may guess what comes next; it changes speed only.
    pub speculate: bool,

    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Headers of a request.
    pub headers: usize,
    /// Until the first byte of a new connection, and from the first byte of a head to its last.
    pub header_time: Duration,
    /// Between two requests of a connection.
    pub idle_time: Duration,
    /// Bytes of a request's body.
    pub body_bytes: usize,
    /// For a body of no length; a KiB adds a second.
    pub body_time: Duration,
    /// Bytes of all bodies and answers that are in memory at once.
    pub bodies_bytes: usize,
    /// Bytes of text that `/tokenize` takes.
    pub tokenize_bytes: usize,
    /// Tokens that `/detokenize` takes.
    pub detokenize_tokens: usize,
    /// A connection that takes nothing for so long is closed, and its request cancelled.
    pub write_time: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Of one address. `None`: no limit, but where all places are taken, the address with the most silent connections
    /// gives way first.
    pub connections_per_address: Option<usize>,

    /// How deep JSON may nest.
    pub json_depth: usize,
    /// Values and keys of a body.
    pub json_nodes: usize,
    /// Choices of a request.
    pub n: usize,
    /// Prompts of a request.
    pub prompts: usize,
    /// Stop strings of a request.
    pub stops: usize,
    /// Bytes of a stop string.
    pub stop_bytes: usize,
    /// Tokens of `stop_token_ids` and of `allowed_token_ids`.
    pub token_lists: usize,
    /// Entries of `logit_bias`.
    pub logit_bias: usize,
    /// Messages of a chat.
    pub messages: usize,
    /// Variables of `chat_template_kwargs`, and the bytes of them all.
    pub template_variables: usize,
    /// See above.
    pub template_variable_bytes: usize,
    /// Tools of a chat.
    pub tools: usize,
    /// Responses of `/v1/responses` that are kept for later requests; 0 keeps none.
    pub responses: usize,
    /// Bytes of them all, and of their conversations.
    pub responses_bytes: usize,
    /// Whether models reason that can do without, where a request does not say; `None` is as their template has it.
    pub thinking: Option<bool>,
    /// Tokens of reasoning at most, where a request does not say.
    pub thinking_budget: Option<usize>,
    /// Whether reasoning is told apart from the answer, where a request does not say.
    pub splits_reasoning: bool,

    /// How long a stream may hold its status line back for the first token.
    pub hold: Duration,
    /// Between signs of life on a stream that has nothing to say.
    pub keep_alive: Duration,
    /// Streams with an `X-Conversation-Id` that are kept after their end; 0 keeps none, and ends them with their connection.
    pub kept_streams: usize,
    /// Bytes of such a stream, of which the first are dropped beyond.
    pub kept_stream_bytes: usize,
    /// Time that such a stream is kept after its end.
    pub kept_stream_time: Duration,
    /// Events that may wait for a slow reader; if it then takes nothing for `write_time`, its request is cancelled.
    pub pending_events: usize,
    /// A request is given up after this time.
    pub deadline: Option<Duration>,
    /// How long streams may go on after the server was told to end.
    pub drain: Duration,
    /// Time without progress of an engine step after which the server is unhealthy.
    pub stall: Duration,
    /// Time without progress of an engine step after which the program ends.
    pub hang: Duration,
    /// Prompts and completions go into the log.
    pub log_text: bool,
    /// Gives freed memory back to the system. It is called when large requests have been read.
    pub return_memory: fn(),
}

/// How tokens are chosen where a request does not say.
#[derive(Debug, Clone, PartialEq)]
pub struct Defaults {
    /// 0 always takes the best token.
    pub temperature: f32,
    /// 0 keeps all.
    pub top_k: usize,
    /// 1 keeps all.
    pub top_p: f32,
    /// 0 keeps all.
    pub min_p: f32,
    /// 1 is off.
    pub repeat_penalty: f32,
    /// Tokens that `repeat_penalty` looks back at; `None` is all of them, 0 is off.
    pub repeat_last_n: Option<usize>,
    /// 0 is off.
    pub presence_penalty: f32,
    /// 0 is off.
    pub frequency_penalty: f32,
    /// Samplers beyond these, and their order.
    pub samplers: Samplers,
    /// Texts across which nothing counts as a repetition for DRY.
    pub dry_sequence_breakers: Vec<String>,
    /// Mirostat's target, for requests that ask for it alone.
    pub mirostat_tau: f32,
    /// Mirostat's rate.
    pub mirostat_eta: f32,
}

impl Default for Defaults {
    fn default() -> Defaults {
        Defaults {
            temperature: 0.6,
            top_k: 40,
            top_p: 1.0,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: None,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            samplers: Samplers::default(),
            dry_sequence_breakers: ["\n", ":", "\"", "*"].map(str::to_owned).into(),
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let seconds = Duration::from_secs;
        Settings {
            keys: Vec::new(),
            key_limits: KeyLimits::default(),
            share_cache: false,
            salt_key: None,
            allowed_hosts: Vec::new(),
            cors_origins: Vec::new(),
            root_path: String::new(),
            page: true,
            any_model: false,
            keeps_billing_header: false,
            vllm_metrics: false,
            llama_metrics: false,
            library: None,
            defaults: Defaults::default(),
            seed: None,
            max_tokens: None,
            speculate: true,
            header_bytes: 32 << 10,
            headers: 100,
            header_time: seconds(10),
            idle_time: seconds(75),
            body_bytes: 8 << 20,
            body_time: seconds(30),
            bodies_bytes: 256 << 20,
            tokenize_bytes: 4 << 20,
            detokenize_tokens: 250_000,
            write_time: seconds(30),
            connections: 1024,
            connections_per_address: None,
            json_depth: 32,
            json_nodes: 250_000,
            n: 16,
            prompts: 128,
            stops: 4,
            stop_bytes: 256,
            token_lists: 1024,
            logit_bias: 300,
            messages: 2048,
            template_variables: 16,
            template_variable_bytes: 16 << 10,
            tools: 128,
            responses: 1024,
            responses_bytes: 64 << 20,
            thinking: None,
            thinking_budget: None,
            splits_reasoning: true,
            hold: seconds(5),
            keep_alive: seconds(5),
            kept_streams: 64,
            kept_stream_bytes: 4 << 20,
            kept_stream_time: seconds(300),
            pending_events: 256,
            deadline: None,
            drain: seconds(30),
            stall: seconds(5),
            hang: seconds(60),
            log_text: false,
            return_memory: || (),
        }
    }
}
