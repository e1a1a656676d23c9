//! Conditions that end a completion.

/// Ends a completion by its tokens and has no say in which are sampled: a stop string, for example.
///
/// It never sees logits, so a request with a stop condition is sampled and chained on a device like one without. Tokens that a
/// chain sampled after the end are dropped before they reach it.
pub trait StopCondition: Send {
    /// Takes the completion's next token.
    fn commit(&mut self, token: u32);
    /// Whether the completion ends with the last committed token.
    fn finished(&self) -> bool;
}
