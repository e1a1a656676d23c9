//! Tokens of fill-in-the-middle: a model with them completes between a prefix and a suffix. Files name them in their metadata
//! or not at all, so, as in llama.cpp (`src/llama-vocab.cpp`), texts of tokens count where a file is silent.

use inferno_format::Metadata;

/// Fill-in-the-middle tokens of a vocabulary, each `None` where it has none.
///
/// ```text
/// <repository>name  <file>path  text ..  <prefix>before  <suffix>behind  <middle>
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FillTokens {
    /// In front of the text before the gap.
    pub prefix: Option<u32>,
    /// In front of the text behind the gap.
    pub suffix: Option<u32>,
    /// In front of the text that fills the gap.
    pub middle: Option<u32>,
    /// In front of a repository's name.
    pub repository: Option<u32>,
    /// In front of a file's path.
    pub file: Option<u32>,
}

const PREFIXES: &[&str] = &[
    "<|fim_prefix|>",
    "<fim-prefix>",
    "<fim_prefix>",
    "<｜fim▁begin｜>",
    "<PRE>",
    "▁<PRE>",
    "<|code_prefix|>",
    "<|prefix|>",
];

const SUFFIXES: &[&str] = &[
    "<|fim_suffix|>",
    "<fim-suffix>",
    "<fim_suffix>",
    "<｜fim▁hole｜>",
    "<SUF>",
    "▁<SUF>",
    "<|code_suffix|>",
    "<|suffix|>",
];

const MIDDLES: &[&str] = &[
    "<|fim_middle|>",
    "<fim-middle>",
    "<fim_middle>",
    "<｜fim▁end｜>",
    "<MID>",
    "▁<MID>",
    "<|code_middle|>",
    "<|middle|>",
];

const REPOSITORIES: &[&str] = &["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"];

const FILES: &[&str] = &["<|file_sep|>"];

/// Whether a token of this text is around a gap. Such tokens end nothing, but are control tokens whatever the file says.
pub(super) fn is_part(text: &str) -> bool {
    [PREFIXES, SUFFIXES, MIDDLES].iter().any(|names| names.contains(&text))
}

/// Whether a token of this text begins a repository or a file.
pub(super) fn starts_file(text: &str) -> bool {
    REPOSITORIES.contains(&text) || FILES.contains(&text)
}

/// All texts that are looked for.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    [PREFIXES, SUFFIXES, MIDDLES, REPOSITORIES, FILES].into_iter().flatten().copied()
}

impl FillTokens {
    /// The ids that the metadata names, under today's keys or the older ones; ids out of range are left out.
    pub(super) fn of_metadata(m: &Metadata, vocab_size: usize) -> FillTokens {
        let id = |keys: &[&str]| {
            let mut ids =
                keys.iter().filter_map(|key| m.opt_u32(&format!("tokenizer.ggml.{key}_token_id")).ok()?);
            ids.rfind(|&id| (id as usize) < vocab_size)
        };
        FillTokens {
            prefix: id(&["prefix", "fim_pre"]),
            suffix: id(&["suffix", "fim_suf"]),
            middle: id(&["middle", "fim_mid"]),
            repository: id(&["fim_rep"]),
            file: id(&["fim_sep"]),
        }
    }

    /// Takes the control token `id` with this text for its part, if that has no token yet.
    pub(super) fn note(&mut self, text: &str, id: u32) {
        let all = [
            (PREFIXES, &mut self.prefix),
            (SUFFIXES, &mut self.suffix),
            (MIDDLES, &mut self.middle),
            (REPOSITORIES, &mut self.repository),
            (FILES, &mut self.file),
        ];
        if let Some((_, place)) = all.into_iter().find(|(names, _)| names.contains(&text)) {
            place.get_or_insert(id);
        }
    }
}
