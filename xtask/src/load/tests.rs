//! Against a fake server, and every rule against a stream that breaks it.

mod parts;
mod scenarios;
mod streams;
