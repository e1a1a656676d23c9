//! Models by name: the Hugging Face hub's protocol, and the cache on disk that its own tools use.
//!
//! Start with [`ModelName`], what a user types, and [`Hub`], which finds the file of a name in the cache or downloads it. A file has
//! its final name only once all of it is there and its checksum is right. Layout of the cache: the hub's documentation,
//! `local-cache.md`.

#![forbid(unsafe_code)]

mod blob;
mod cache;
mod catalog;
mod client;
mod error;
mod fetch;
mod listing;
mod name;
mod settings;
mod watch;

pub use cache::{Cache, CachedFile, CachedModel};
pub use catalog::{Catalog, CatalogFile, CatalogModel};
pub use error::HubError;
pub use fetch::{Fetched, Hub, Listing};
pub use listing::{RemoteFile, RemoteModel};
pub use name::{ModelName, RepoId};
pub use settings::Settings;
pub use watch::{Quiet, Watch};
