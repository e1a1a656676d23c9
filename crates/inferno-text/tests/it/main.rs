//! The crate's public behaviour: on vocabularies made by hand, and, where the data directory is there, on those
//! of real models.
#![allow(missing_docs, clippy::unwrap_used)]

mod data;
mod encode;
mod fill;
mod malformed;
mod real_templates;
mod roundtrip;
mod spans;
mod templates;
mod vectors;
mod vocab;
