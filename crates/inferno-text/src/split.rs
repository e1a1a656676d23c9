//! Pre-tokenizers of byte-level BPE: where a text is cut into words before merges.
//!
//! A file names its pre-tokenizer in `tokenizer.ggml.pre`; each name stands for one or more regular
//! expressions (source: llama.cpp, `src/llama-vocab.cpp`). They are written out by hand here, because the
//! text is untrusted: every function below reads each character a bounded number of times.
//!
//! Where llama.cpp's regular-expression engine departs from the model's own expression (it treats U+3000 in a
//! literal range as mere white space, takes `~` for no symbol, and knows no upper and lower case beyond ASCII),
//! the expression wins. Contractions are matched in ASCII only, as llama.cpp does: `'ſ` is none.

mod cased;
mod gpt2;
mod stages;
mod words;

use stages::Stage;
use words::Words;

/// How a text is cut into words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Splitter {
    /// GPT-2's expression.
    Gpt2,
    /// The expressions of Llama 3, Qwen 2 and their kin, which differ in details.
    Words(Words),
    /// Expressions that tell upper from lower case (GPT-4o, Tekken).
    Cased(cased::Cased),
    /// Several expressions, each applied to the pieces left by the one before.
    Stages(&'static [Stage]),
}

impl Splitter {
    /// Calls `emit` with the words of `text`, in order; together they are the text.
    #[inline]
    pub(crate) fn split<'t>(&self, text: &'t str, emit: &mut impl FnMut(&'t str)) {
        match self {
            Splitter::Gpt2 => one_by_one(text, |pos| gpt2::word_end(text, pos), emit),
            Splitter::Words(rules) => one_by_one(text, |pos| rules.word_end(text, pos), emit),
            Splitter::Cased(rules) => one_by_one(text, |pos| rules.word_end(text, pos), emit),
            Splitter::Stages(all) => stages::split(all, text, emit),
        }
    }
}

/// Cuts `text` where `word_end` says that the word at a place ends: each word has a character at least.
#[inline]
fn one_by_one<'t>(text: &'t str, word_end: impl Fn(usize) -> usize, emit: &mut impl FnMut(&'t str)) {
    let mut pos = 0;
    while pos < text.len() {
        let end = word_end(pos);
        emit(&text[pos..end]);
        pos = end;
    }
}

/// One row of the table: what a name in `tokenizer.ggml.pre` stands for.
#[derive(Debug)]
pub(crate) struct Pre {
    pub(crate) names: &'static [&'static str],
    pub(crate) splitter: Splitter,
    /// A word that is a token as a whole is that token, whatever the merges say.
    pub(crate) ignore_merges: bool,
    /// Whether a BOS token is added where the file does not say.
    pub(crate) add_bos: bool,
}

/// The row for `name`, if it is known.
pub(crate) fn pre(name: &str) -> Option<&'static Pre> {
    TABLE.iter().find(|row| row.names.contains(&name))
}

/// Every known name, separated by commas.
pub(crate) fn known_names() -> String {
    let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
    names.sort_unstable();
    names.join(", ")
}

const fn row(names: &'static [&'static str], splitter: Splitter) -> Pre {
    Pre { names, splitter, ignore_merges: false, add_bos: false }
}

static TABLE: &[Pre] = &[
    row(&["default"], Splitter::Stages(stages::DEFAULT)),
    row(
        &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "jina-v1-en",
            "jina-v2-es",
            "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe",
            "modern-bert",
            "gigachat",
            "a.x-4.0",
            "mellum",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        Splitter::Gpt2,
    ),
    row(
        &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        Splitter::Stages(stages::STARCODER),
    ),
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        splitter: Splitter::Words(words::LLAMA3),
        ignore_merges: true,
        add_bos: true,
    },
    row(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4"], Splitter::Words(words::LLAMA3)),
    row(
        &[
            "qwen2",
            "qwen2.5",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
        ],
        Splitter::Words(words::QWEN2),
    ),
    row(&["qwen35"], Splitter::Words(words::QWEN35)),
    row(&["seed-coder"], Splitter::Words(words::SEED_CODER)),
    row(&["falcon"], Splitter::Stages(stages::FALCON)),
    row(&["deepseek-llm"], Splitter::Stages(stages::DEEPSEEK_LLM)),
    row(&["deepseek-coder"], Splitter::Stages(stages::DEEPSEEK_CODER)),
    row(&["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], Splitter::Stages(stages::DEEPSEEK_V3)),
    row(&["bloom", "poro-chat", "gpt3-finnish"], Splitter::Stages(stages::BLOOM)),
    row(&["viking"], Splitter::Stages(stages::VIKING)),
    Pre { names: &["tekken"], splitter: Splitter::Cased(cased::TEKKEN), ignore_merges: true, add_bos: true },
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], Splitter::Cased(cased::GPT4O)),
];

/// The length of a contraction at the start of `rest` (`'s 't 'm 'd 're 've 'll`), or 0.
#[inline]
fn contraction(rest: &[u8], fold: impl Fn(u8) -> u8) -> usize {
    match *rest {
        [b'\'', a, ..] if matches!(fold(a), b's' | b't' | b'm' | b'd') => 2,
        [b'\'', a, b, ..] if matches!((fold(a), fold(b)), (b'r' | b'v', b'e') | (b'l', b'l')) => 3,
        _ => 0,
    }
}

/// The end of the whitespace at `pos` (`\s+(?!\S)|\s+`): all of it at the end of the text, otherwise all but
/// the last character, which goes with what follows, unless it is the only one.
#[inline]
fn whitespace_end(text: &str, pos: usize) -> usize {
    let (mut end, mut last) = (pos, pos);
    loop {
        let (class, len) = crate::class::at(text, end);
        if class & crate::class::SPACE == 0 {
            return if len == 0 || last == pos { end } else { last };
        }
        last = end;
        end += len;
    }
}

#[cfg(test)]
pub(crate) mod tests;
