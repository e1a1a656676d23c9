//! One file per target, and what several share.

pub(crate) mod bodies;
pub(crate) mod cache_file;
pub(crate) mod gguf;
pub(crate) mod grammar;
pub(crate) mod http;
pub(crate) mod hub;
pub(crate) mod input;
pub(crate) mod messages;
pub(crate) mod model;
pub(crate) mod reply;
pub(crate) mod server;
pub(crate) mod template;
pub(crate) mod tokenizer;
pub(crate) mod toy;
pub(crate) mod vocabulary;
