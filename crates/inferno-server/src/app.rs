//! What all requests share.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use inferno_engine::{Handle, Refusal};
use inferno_grammar::Compiler;
use inferno_reply::{CallSeed, mark_tokens};
use inferno_text::{ChatRenderer, ReplyFormat, Tokenizer};

use crate::drain::Drain;
use crate::early_changes::EarlyChanges;
use crate::error::ApiError;
use crate::keys::Keyring;
use crate::listener::Traffic;
use crate::metrics::Metrics;
use crate::places::Places;
use crate::registry::Registry;
use crate::responses::Store;
use crate::resume::Streams;
use crate::room::Room;
use crate::settings::Settings;
use crate::workers::Workers;

/// Threads that render conversations: a template in child processes has as many of those.
const RENDERS: usize = 2;

/// What a server is made of.
#[derive(Debug)]
pub struct Parts {
    /// The engine, which outlives the server.
    pub engine: Handle,
    /// The model's vocabulary.
    pub tokenizer: Tokenizer,
    /// Its chat template.
    pub template: Template,
    /// What it is called and what it is.
    pub card: Card,
}

/// The chat template of a model, or the reason for having none. Completions need no template.
#[derive(Debug, Clone)]
pub enum Template {
    /// Renders chats. It is called on threads of its own, which may wait.
    Usable(Arc<dyn ChatRenderer>),
    /// There is one that cannot be used: the whole message for clients.
    Unusable(String),
    /// There is none: the reason as a clause.
    Missing(String),
}

impl Template {
    /// The renderer, if there is one.
    pub fn renderer(&self) -> Option<&dyn ChatRenderer> {
        match self {
            Template::Usable(renderer) => Some(&**renderer),
            Template::Unusable(_) | Template::Missing(_) => None,
        }
    }
}

/// What a model is called and what it is.
#[derive(Debug, Clone)]
pub struct Card {
    /// Its names; the first is the one it is listed under. There is at least one.
    pub names: Vec<String>,
    /// Positions it was trained for.
    pub context_train: usize,
    /// Parameters.
    pub n_params: u64,
    /// Name of its file, without folders.
    pub file: String,
    /// Bytes of the file.
    pub n_bytes: u64,
    /// Numbers of a hidden state.
    pub dim: usize,
    /// What most of its matrices are stored as.
    pub dtype: String,
    /// Its family.
    pub family: String,
    /// The same for equal answers: build, file, instruction set, type of keys and values.
    pub fingerprint: String,
    /// The source of its chat template, whether it can be used or not.
    pub template: Option<String>,
}

impl Card {
    pub(crate) fn id(&self) -> &str {
        &self.names[0]
    }
}

/// The model that is served, under its own names and those that clients have given it.
#[derive(Debug)]
pub(crate) struct Served {
    card: Card,
    copies: Mutex<Vec<String>>,
}

/// Names that clients may give to the model.
const COPIES: usize = 64;

impl Served {
    fn new(card: Card) -> Served {
        Served { card, copies: Mutex::default() }
    }

    pub(crate) fn is_called(&self, name: &str) -> bool {
        name == "default"
            || self.card.names.iter().any(|known| known == name)
            || self.copies().iter().any(|known| known == name)
    }

    /// Names beside the first.
    pub(crate) fn aliases(&self) -> Vec<String> {
        self.card.names[1..].iter().chain(self.copies().iter()).cloned().collect()
    }

    /// Names that [`copy`](Self::copy) gave.
    pub(crate) fn copied(&self) -> Vec<String> {
        self.copies().clone()
    }

    /// Gives the model another name until the server ends; false if it has [`COPIES`] already.
    pub(crate) fn copy(&self, name: &str) -> bool {
        if self.is_called(name) {
            return true;
        }
        let mut copies = self.copies();
        let fits = copies.len() < COPIES;
        if fits {
            copies.push(name.to_owned());
        }
        fits
    }

    /// Takes a name away that [`copy`](Self::copy) gave; false if it is none.
    pub(crate) fn forget(&self, name: &str) -> bool {
        let mut copies = self.copies();
        let place = copies.iter().position(|known| known == name);
        place.map(|place| copies.remove(place)).is_some()
    }

    fn copies(&self) -> MutexGuard<'_, Vec<String>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Served {
    type Target = Card;

    fn deref(&self) -> &Card {
        &self.card
    }
}

/// Strings and tokens of the model.
#[derive(Debug)]
pub(crate) struct Text {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) template: Template,
    /// Positions that a request may have: the model's context, or the KV pool where that is smaller.
    pub(crate) context_len: usize,
}

/// The format of the model's answers, and the control tokens that are its marks.
#[derive(Debug)]
pub(crate) struct Replies {
    pub(crate) format: Arc<ReplyFormat>,
    pub(crate) marks: Arc<[u32]>,
}

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) engine: Handle,
    pub(crate) text: Arc<Text>,
    pub(crate) replies: Replies,
    pub(crate) card: Served,
    pub(crate) settings: Arc<Settings>,
    pub(crate) keyring: Keyring,
    pub(crate) metrics: Metrics,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) registry: Registry,
    pub(crate) places: Arc<Places>,
    pub(crate) early_changes: EarlyChanges,
    pub(crate) drain: Arc<Drain>,
    /// Streams that outlive their connections.
    pub(crate) streams: Streams,
    /// Memory for bodies and answers.
    pub(crate) room: Arc<Room>,
    /// Read large requests.
    pub(crate) workers: Workers,
    /// Render conversations.
    pub(crate) renders: Workers,
    /// Compiles grammars; made when the first one is asked for.
    pub(crate) compiler: Arc<OnceLock<Compiler>>,
    /// Responses that later requests may name.
    pub(crate) responses: Store,
    /// The answer of `/tokenizer_info`, once somebody has asked for it.
    pub(crate) tokenizer_info: OnceLock<Bytes>,
    /// Whether a model is being downloaded.
    pub(crate) is_pulling: Arc<AtomicBool>,
    /// Whether the log tells that a line of system prompts is taken off.
    pub(crate) has_told_nonce: AtomicBool,
    /// A step has not moved for too long.
    pub(crate) stalled: AtomicBool,
    pub(crate) started: Instant,
    /// Seconds since 1970 at the start.
    pub(crate) created: u64,
    /// Makes ids of one server differ from those of another.
    pub(crate) id_seed: u64,
    n_ids: AtomicU64,
}

impl App {
    pub(crate) fn new(
        parts: Parts,
        settings: Arc<Settings>,
        drain: Arc<Drain>,
        traffic: Arc<Traffic>,
    ) -> App {
        use std::hash::{BuildHasher, RandomState};
        assert!(!parts.card.names.is_empty(), "a model has a name");
        let n_processors = std::thread::available_parallelism().map_or(1, usize::from);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let format = parts.template.renderer().map(|renderer| renderer.profile().reply.clone());
        let format = Arc::new(format.unwrap_or_default());
        App {
            replies: Replies { marks: mark_tokens(&format, &parts.tokenizer), format },
            text: Arc::new(Text {
                tokenizer: Arc::new(parts.tokenizer),
                template: parts.template,
                context_len: parts.engine.shape().context_len.min(parts.engine.shape().longest),
            }),
            engine: parts.engine,
            card: Served::new(parts.card),
            keyring: Keyring::new(&settings),
            metrics: Metrics::default(),
            traffic,
            registry: Registry::default(),
            places: Arc::default(),
            early_changes: EarlyChanges::default(),
            drain,
            streams: Streams::default(),
            room: Room::new(settings.bodies_bytes),
            workers: Workers::new("reading", n_processors.clamp(2, 4), settings.return_memory),
            renders: Workers::new("template", RENDERS, settings.return_memory),
            compiler: Arc::default(),
            responses: Store::new(settings.responses, settings.responses_bytes),
            tokenizer_info: OnceLock::new(),
            is_pulling: Arc::default(),
            has_told_nonce: AtomicBool::new(false),
            stalled: AtomicBool::new(false),
            started: Instant::now(),
            created: since_1970.as_secs(),
            id_seed: RandomState::new().hash_one(()),
            n_ids: AtomicU64::new(0),
            settings,
        }
    }

    /// Tokens that a prompt and what follows it may have together.
    pub(crate) fn most_tokens(&self) -> usize {
        self.text.context_len.min(self.engine.shape().longest)
    }

    /// An id that no other answer has.
    pub(crate) fn new_id(&self, prefix: &str) -> String {
        let n = self.n_ids.fetch_add(1, Ordering::Relaxed);
        format!("{prefix}{:016x}{n:08x}", self.id_seed)
    }

    /// A seed for the ids of an answer's calls, which no other answer has.
    pub(crate) fn new_call_seed(&self) -> CallSeed {
        CallSeed(self.id_seed.wrapping_add(self.n_ids.fetch_add(1, Ordering::Relaxed)))
    }

    /// Seconds since 1970, now.
    pub(crate) fn now(&self) -> u64 {
        self.created + self.started.elapsed().as_secs()
    }

    /// What a client is told whose request the engine does not take; it is counted.
    pub(crate) fn refused(&self, refusal: Refusal) -> ApiError {
        let error = ApiError::refused(refusal);
        self.metrics.refuse(error.code.unwrap_or(error.kind));
        error
    }

    /// Is there anyone to compute, and does it move?
    pub(crate) fn health(&self) -> Result<(), ApiError> {
        if self.engine.is_stopped() {
            return Err(ApiError::unavailable("engine_stopped", "the engine has stopped", 30));
        }
        if self.stalled.load(Ordering::Relaxed) {
            let seconds = self.settings.stall.as_secs();
            let message = format!("the model has not moved for {seconds} s or more");
            return Err(ApiError::unavailable("engine_stalled", message, 5));
        }
        Ok(())
    }
}
