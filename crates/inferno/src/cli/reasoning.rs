//! Whether and how long a model reasons.

use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Reasoning {
    /// Whether the model reasons before it answers: on, off, or auto for what its chat template does
    #[arg(
        long,
        value_name = "MODE",
        env = "INFERNO_REASONING",
        hide_env = true,
        default_value = "auto",
        value_enum
    )]
    reasoning: Mode,

    /// Maximum number of tokens of reasoning, after which the answer begins; -1: no limit
    #[arg(
        long,
        value_name = "N",
        env = "INFERNO_REASONING_BUDGET",
        hide_env = true,
        default_value_t = -1,
        allow_negative_numbers = true,
        value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX))
    )]
    reasoning_budget: i64,
}

/// Whether a model reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Mode {
    /// Reason, where the model can
    On,
    /// Answer at once
    Off,
    /// Leave it to the chat template
    Auto,
}

impl Reasoning {
    /// `None`: as the template has it.
    pub(crate) fn thinks(&self) -> Option<bool> {
        match self.reasoning {
            Mode::On => Some(true),
            Mode::Off => Some(false),
            Mode::Auto => None,
        }
    }

    /// `None` is no limit.
    pub(crate) fn budget(&self) -> Option<usize> {
        usize::try_from(self.reasoning_budget).ok()
    }
}
