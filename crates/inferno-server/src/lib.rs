//! An OpenAI-compatible server over one engine: HTTP in, tokens to the engine, server-sent events out.
//!
//! It knows HTTP, JSON, the shapes that clients expect, and who may ask for how much. It must not know models, devices or
//! files: it is given an engine, a tokenizer, a template and a description. Every wire type is here.
//!
//! A request's way, and the order to read in:
//!
//! ```text
//! listener.rs ▶ connection.rs ▶ routes.rs ▶ guard.rs, keys.rs            may it come in?
//!   ▶ body.rs, json.rs ▶ chat.rs or completion.rs, options.rs, fields.rs  what does it ask for?
//!   ▶ generation.rs, choice.rs                                           the engine's events, as text
//!   ▶ stream.rs or whole.rs, wire.rs                                     the answer
//! ```
#![forbid(unsafe_code)]

mod access;
mod admin;
mod app;
mod body;
mod chat;
mod clock;
mod completion;
mod connection;
mod descriptors;
mod dialect;
mod drain;
mod early_changes;
mod echo;
mod error;
mod eviction;
mod exposition;
mod fields;
mod generation;
mod grammar;
mod guard;
mod health;
mod inbox;
mod infill;
mod io;
mod json;
mod keys;
mod library;
mod lines;
mod listener;
mod listing;
mod llama_server;
pub mod log;
mod meter;
mod metrics;
mod models;
mod ollama;
mod openapi;
mod options;
mod page;
mod places;
mod query;
mod registry;
mod reply_rules;
mod responses;
mod resume;
mod room;
mod routes;
mod server;
mod settings;
mod stream;
mod structure;
#[cfg(test)]
mod tests;
mod tokenizer_info;
mod tokens;
mod truncation;
mod unsupported;
mod vllm;
mod watchdog;
mod whole;
mod wire;
mod workers;

pub use app::{Card, Parts, Template};
pub use chat::{for_template, read_tools};
pub use clock::{rfc3339, since_1970};
pub use drain::Ended;
pub use keys::{Key, KeyChanges, KeyError, KeyLimits, Role, check_keys, random_key, read_keys};
pub use library::Library;
pub use server::{Control, Server, Serving};
pub use settings::{Defaults, Settings};
