//! Structured output over a small vocabulary, and over a real one where the data directory is there.
#![allow(missing_docs, clippy::unwrap_used)]

mod calls;
mod closing;
mod closing_calls;
mod gbnf;
mod hostile;
mod limits;
mod reasoning;
mod schemas;
mod sources;
mod speed;
mod tags;
mod walk;
