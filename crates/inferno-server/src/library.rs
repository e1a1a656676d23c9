//! Models beside the one that is served. The program that runs a server downloads and removes them.

use std::fmt::Debug;

/// Models on this machine. Methods block, and are called on threads of their own.
pub trait Library: Debug + Send + Sync {
    /// Downloads a model by its name. `progress` takes the bytes that have come and those of all files, from any thread, and
    /// returns whether to go on.
    ///
    /// # Errors
    /// The reason, for the client.
    fn pull(&self, name: &str, progress: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<(), String>;

    /// Removes a downloaded model.
    ///
    /// # Errors
    /// The reason, for the client.
    fn remove(&self, name: &str) -> Result<(), String>;
}
