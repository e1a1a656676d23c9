//! Hints for command lines that are misspelt or meant for other programs.

use clap::error::{ContextKind, ContextValue, Error, ErrorKind};

use crate::cli::Cli;
use crate::config_file;
use crate::names::{self, Named};

/// Commands of other programs, and what there is here.
const ELSEWHERE: &[(&[&str], &str)] = &[
    (&["download", "get", "fetch", "import"], "`inferno pull MODEL` downloads a model"),
    (&["push"], "models are downloaded, and not uploaded"),
    (
        &["models", "search", "cache"],
        "`inferno list` lists the models here, `inferno list --available` those to download",
    ),
    (&["delete", "uninstall"], "`inferno rm MODEL` removes a model from the cache"),
    (&["cp", "copy"], "models are GGUF files: `inferno show MODEL` prints where one is"),
    (
        &["stop", "kill"],
        "models are loaded by `run`, `chat` and `serve`, and go with them: Ctrl-C ends one of these. `inferno ps` shows what a \
         server does",
    ),
    (
        &["info", "metadata"],
        "`inferno show MODEL` shows a model, `inferno inspect MODEL` all that is in its file",
    ),
    (
        &["create", "convert", "quantize"],
        "models are taken as they are: llama.cpp's tools convert and quantize them",
    ),
    (&["server", "start", "api"], "`inferno serve` serves a model over HTTP"),
    (&["generate", "complete", "ask", "prompt", "cli"], "`inferno run \"PROMPT\"` answers a prompt"),
    (&["benchmark"], "`inferno bench` measures speed"),
    (&["perplexity"], "there is no measurement of perplexity"),
];

/// A message in place of clap's, where one can say more.
pub(crate) fn hint(e: &Error) -> Option<String> {
    let text = |kind| match e.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match e.kind() {
        ErrorKind::InvalidSubcommand => command(text(ContextKind::InvalidSubcommand)?),
        // Some commands take a model by `-m` alone.
        ErrorKind::UnknownArgument => {
            let argument = text(ContextKind::InvalidArg)?;
            let shown: String = argument.chars().flat_map(char::escape_debug).collect();
            names::named(argument)?;
            Some(format!("error: unexpected argument `{shown}`; a model is given by `-m {shown}`"))
        }
        _ => None,
    }
}

fn command(word: &str) -> Option<String> {
    let shown: String = word.chars().flat_map(char::escape_debug).collect();
    let lower = word.to_ascii_lowercase();
    if let Some((_, what)) = ELSEWHERE.iter().find(|(words, _)| words.contains(&&*lower)) {
        return Some(format!("error: no command `{shown}` here; {what}"));
    }
    if names::named(word).is_some_and(|named| named != Named::File || lower.ends_with(".gguf")) {
        return Some(format!(
            "error: no command `{shown}`, which looks like a model\n\n  \
             inferno run {shown} \"Why is the sky blue?\"     to ask it\n  \
             inferno chat {shown}     to talk with it\n  \
             inferno pull {shown}     to download it"
        ));
    }
    let program = config_file::command::<Cli>();
    let commands = program.get_subcommands().filter(|command| !command.is_hide_set());
    // Of two that are equally near, the one of the same length.
    let near = commands
        .flat_map(|command| std::iter::once(command.get_name()).chain(command.get_visible_aliases()))
        .chain(["help"])
        .map(|name| (edits(&lower, name), name.len().abs_diff(lower.len()), name))
        .min()?;
    let advice = match near {
        (1, _, name) => format!("did you mean `{name}`?"),
        (2, _, name) if name.len() > 4 => format!("did you mean `{name}`?"),
        _ => "`inferno run \"PROMPT\"` answers a prompt, `inferno --help` lists the commands".into(),
    };
    Some(format!("error: no command `{shown}`; {advice}"))
}

/// Letters to change, add, drop or swap with the next one until `a` is `b` (optimal string alignment).
pub(crate) fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    // rows: (a.len() + 1, b.len() + 1), from the beginning of `a` up to a letter to each beginning of `b`
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i.max(j)
            } else {
                let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = changed.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let is_swap = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if is_swap { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_other_programs_and_misspelt_ones_get_a_hint() {
        for (word, part) in [
            ("download", "inferno pull"),
            ("models", "inferno list"),
            ("stop", "Ctrl-C"),
            ("info", "inferno show"),
            ("pul", "did you mean `pull`?"),
            ("rnu", "did you mean `run`?"),
            ("rum", "did you mean `run`?"),
            ("caht", "did you mean `chat`?"),
            ("tokenise", "did you mean `tokenize`?"),
            ("qwen3:0.6b", "  inferno run qwen3:0.6b \"Why"),
            ("Qwen/Qwen3-0.6B-GGUF:Q8_0", "  inferno pull Qwen/Qwen3-0.6B-GGUF:Q8_0 "),
            ("x.gguf", "  inferno chat x.gguf "),
            ("mna", "did you mean `man`?"),
            ("completion", "did you mean `completions`?"),
            ("hello", "answers a prompt"),
        ] {
            let hint = command(word).unwrap();
            assert!(
                hint.starts_with(&format!("error: no command `{word}`")) && hint.contains(part),
                "{hint}"
            );
        }
    }

    #[test]
    fn edits_count_swaps_once() {
        assert_eq!(edits("rnu", "run"), 1);
        assert_eq!(edits("", "run"), 3);
        assert_eq!(edits("serve", "serve"), 0);
        assert_eq!(edits("servre", "server"), 1);
    }
}
