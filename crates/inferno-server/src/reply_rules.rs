//! The rules by which the tokens of a request's choices become parts.

use std::sync::Arc;

use inferno_reply::{CallSeed, ReplyRules, TextRules};
use inferno_text::ControlTokens;

use crate::app::App;
use crate::options::Options;

impl Options {
    /// The rules of every choice.
    pub(crate) fn reply_rules(&self, app: &App) -> ReplyRules {
        let Options { sampling, keep_stop, show_control, .. } = self;
        let tokenizer = &app.text.tokenizer;
        let mut silent = if *keep_stop { Vec::new() } else { sampling.stop_tokens.clone() };
        if !show_control {
            silent.extend_from_slice(tokenizer.end_of_generation());
        }
        let start = self.reply.start.clone();
        let format =
            (start.splits_reasoning || !start.tools.is_empty()).then(|| Arc::clone(&app.replies.format));
        let control = match &format {
            _ if *show_control => ControlTokens::Shown,
            Some(_) => ControlTokens::Only(Arc::clone(&app.replies.marks)),
            None => ControlTokens::Hidden,
        };
        ReplyRules {
            text: TextRules {
                tokenizer: Arc::clone(tokenizer),
                control,
                stops: self.stops.clone(),
                min_tokens: sampling.min_tokens,
                silent: silent.into(),
            },
            stop_strings: Arc::clone(&self.stop_strings),
            ends: sampling.eos_tokens.as_slice().into(),
            format,
            start,
            call_seed: CallSeed(0),
        }
    }
}
