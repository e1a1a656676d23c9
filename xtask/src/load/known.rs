//! Requests whose texts are known: asked one by one of a server that does nothing else.

use super::Result;
use super::ask::Ask;
use super::client::{Answer, Client};
use super::target::Target;

/// `n` requests of `next`, with their texts.
///
/// # Errors
/// One of them was not answered.
pub(super) fn known(target: &Target, n: usize, mut next: impl FnMut() -> Ask) -> Result<Vec<Ask>> {
    let mut client = Client::new(target);
    let mut alone = || {
        let ask = next();
        match client.whole(&ask)? {
            Answer::Done(_, text) => Ok(Ask { known: Some(text), ..ask }),
            other => Err(format!("a request to a server that does nothing else: {other:?}")),
        }
    };
    (0..n).map(|_| alone()).collect()
}
