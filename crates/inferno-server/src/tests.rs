//! The server as clients meet it: bytes over a socket, on Ember and the reference backend.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod basics;
mod choices;
mod content;
mod harness;
mod parameters;
mod scores;
mod stops;
mod token_routes;

use harness::start;
