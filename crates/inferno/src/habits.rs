//! Flags as users of llama.cpp's programs type them.

use std::ffi::OsString;

use clap::Args;
use clap::builder::FalseyValueParser;

/// Flags with more than one letter behind a single dash, and what they are here.
const SHORT: &[(&str, &str)] = &[
    ("-ngl", "--gpu-layers"),
    ("-ts", "--tensor-split"),
    ("-cmoe", "--cpu-moe"),
    ("-ncmoe", "--n-cpu-moe"),
    ("-np", "--sequences"),
    ("-fa", "--flash-attn"),
    ("-cb", "--cont-batching"),
    ("-sys", "--system"),
    ("-hf", "--model"),
    ("-hfr", "--model"),
    ("-mu", "--model"),
];

/// The command line with llama.cpp's short flags written out. What stands behind `--` stays.
pub(crate) fn written_out(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_literal = false;
    let write_out = |arg: OsString| {
        is_literal |= arg == "--";
        let Some(text) = arg.to_str().filter(|_| !is_literal) else { return arg };
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let Some((_, long)) = SHORT.iter().find(|(short, _)| *short == name) else { return arg };
        match value {
            Some(value) => format!("{long}={value}").into(),
            None => long.into(),
        }
    };
    args.into_iter().map(write_out).collect()
}

/// Flags of llama.cpp that ask for what is so anyway.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Habits {
    /// Use flash attention: on or auto, as it always is
    #[arg(long, hide = true, value_name = "MODE", env = "INFERNO_FLASH_ATTN", hide_env = true, value_parser = flash_attention)]
    pub(crate) flash_attn: Option<bool>,

    /// Use Jinja for chat templates, as is always done
    #[arg(long, hide = true, env = "INFERNO_JINJA", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) jinja: bool,

    /// Do not map the model's file into memory, as is never done
    #[arg(long, hide = true, env = "INFERNO_NO_MMAP", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) no_mmap: bool,
}

/// Flags of llama-server that ask for what is so anyway.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerHabits {
    /// Batch sequences continuously, as is always done
    #[arg(long, hide = true, env = "INFERNO_CONT_BATCHING", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) cont_batching: bool,

    /// Serve `/metrics`, as is always done
    #[arg(long, hide = true, env = "INFERNO_METRICS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) metrics: bool,

    /// Serve `/slots`, as is always done
    #[arg(long, hide = true, env = "INFERNO_SLOTS", hide_env = true, value_parser = FalseyValueParser::new())]
    pub(crate) slots: bool,
}

fn flash_attention(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" | "auto" | "1" | "true" | "enabled" => Ok(true),
        _ => Err("attention is always computed as flash attention: expected on or auto"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_flags_are_written_out_up_to_the_dashes() {
        let args = ["inferno", "run", "-ngl", "9", "-np=4", "-n", "5", "--", "-ngl"];
        let found = written_out(args.map(OsString::from));
        let expected = ["inferno", "run", "--gpu-layers", "9", "--sequences=4", "-n", "5", "--", "-ngl"];
        assert_eq!(found, expected.map(OsString::from));
    }
}
