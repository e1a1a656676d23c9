//! The server as clients meet it: bytes over a socket, on Ember and the reference backend.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod access;
mod basics;
mod choices;
mod content;
mod defaults;
pub(crate) mod dialects;
mod ends;
mod faults;
mod forms;
mod harness;
mod held;
mod http;
mod large;
mod messages;
mod mixed;
mod native;
mod ollama;
mod operators;
pub(crate) mod page;
mod parameters;
mod raw;
mod resume;
mod samplers;
mod scores;
mod stops;
mod token_routes;
mod transcripts;
mod truncation;

use harness::Server;
pub(crate) use harness::start;
pub(crate) use harness::{app, app_as};
