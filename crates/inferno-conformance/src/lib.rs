//! Golden checks of LLM servers: the rules that clients of each API rely on, against any server.
//!
//! Start with [`checks`], the table of rules, and [`run`], which asks a server through a [`Transport`]: [`Http`] is a server behind a
//! URL, [`Recording`] notes its answers, [`Replay`] gives them again. The crate knows HTTP from the client's side, JSON and streams;
//! it knows no model, no engine and nothing of the server that it asks.
//!
//! ```
//! use inferno_conformance::{Outcome, Replay, Settings, run};
//!
//! // A server that has none of the APIs.
//! let server = Replay::default();
//! let settings = Settings { model: Some("m".into()), ..Settings::default() };
//! let report = run(&server, &settings, |_| {})?;
//! assert!(report.rows.iter().all(|row| matches!(row.outcome, Outcome::NotOffered(_))));
//! # Ok::<(), inferno_conformance::Unreachable>(())
//! ```

#![forbid(unsafe_code)]

mod check;
mod dialect;
mod exchange;
mod http;
mod probe;
mod recording;
mod report;
mod runner;
mod shape;
mod stream;

pub use check::{Check, Dialect, checks};
pub use exchange::{Answer, Broken, End, Request, Transport};
pub use http::Http;
pub use recording::{Recording, Replay};
pub use report::{Outcome, Report, Row, Table, curl, json, junit};
pub use runner::{Settings, Unreachable, run};
