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
mod chameleon;
mod exaone;
mod gpt2;
mod stages;
mod threes;
mod words;

use inferno_format::Metadata;
use stages::Stage;
use words::Words;

use crate::error::{TokenizerError, printable};
use crate::vocab::Spelling;

/// How a text is cut into words.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Splitter {
    /// GPT-2's expression.
    Gpt2,
    /// The expressions of Llama 3, Qwen 2 and their kin, which differ in details.
    Words(Words),
    /// Expressions that tell upper from lower case (GPT-4o, Tekken).
    Cased(cased::Cased),
    /// EXAONE MoE's expression.
    Phrases,
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
            Splitter::Phrases => one_by_one(text, |pos| exaone::word_end(text, pos), emit),
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
    /// Spelling of tokens and merges, and with it whether words start as bytes or as characters.
    pub(crate) spelling: Spelling,
    /// A word that is a token as a whole is that token, whatever the merges say.
    pub(crate) ignore_merges: bool,
    /// The same for a run of line ends.
    pub(crate) whole_newlines: bool,
    /// Whether a BOS token is added where the file does not say.
    pub(crate) add_bos: bool,
    /// Files of this kind say wrongly that no BOS token is added.
    pub(crate) always_bos: bool,
}

/// The row of a file with tokenizer model `model`.
pub(crate) fn of_file(m: &Metadata, model: &str) -> Result<&'static Pre, TokenizerError> {
    let name = match model {
        GEMMA4 => GEMMA4,
        _ => m.opt_str("tokenizer.ggml.pre")?.unwrap_or("default"),
    };
    pre(name)
        .ok_or_else(|| TokenizerError::UnknownPreTokenizer { found: printable(name), known: known_names() })
}

/// The name of a tokenizer model that has one pre-tokenizer.
pub(crate) const GEMMA4: &str = "gemma4";

/// The row for `name`, if it is known.
fn pre(name: &str) -> Option<&'static Pre> {
    TABLE.iter().find(|row| row.names.contains(&name))
}

/// Every known name, separated by commas.
fn known_names() -> String {
    let mut names: Vec<&str> = TABLE.iter().flat_map(|row| row.names).copied().collect();
    names.sort_unstable();
    names.join(", ")
}

const PLAIN: Pre = Pre {
    names: &[],
    splitter: Splitter::Gpt2,
    spelling: Spelling::Bytes,
    ignore_merges: false,
    whole_newlines: false,
    add_bos: false,
    always_bos: false,
};

const fn row(names: &'static [&'static str], splitter: Splitter) -> Pre {
    Pre { names, splitter, ..PLAIN }
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
        ..PLAIN
    },
    row(&["dbrx", "smaug-bpe", "chatglm-bpe", "glm4", "glm5"], Splitter::Words(words::LLAMA3)),
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
    Pre {
        names: &["tekken"],
        splitter: Splitter::Cased(cased::TEKKEN),
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    row(&["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], Splitter::Cased(cased::GPT4O)),
    Pre {
        names: &["granite-embed-multi-97m"],
        splitter: Splitter::Cased(cased::GPT4O),
        ignore_merges: true,
        ..PLAIN
    },
    row(&["tiny_aya", "cohere2moe"], Splitter::Stages(stages::TINY_AYA)),
    row(&["kimi-k2"], Splitter::Cased(cased::KIMI)),
    Pre { names: &["youtu"], splitter: Splitter::Stages(stages::YOUTU), ignore_merges: true, ..PLAIN },
    row(&["ufakzeka"], Splitter::Words(words::UFAKZEKA)),
    row(&["laguna"], Splitter::Stages(stages::LAGUNA)),
    Pre { names: &["minicpm5"], splitter: Splitter::Stages(stages::MINICPM5), ignore_merges: true, ..PLAIN },
    row(&["jais-2"], Splitter::Stages(stages::JAIS2)),
    row(&["exaone-moe"], Splitter::Phrases),
    row(&["afmoe"], Splitter::Stages(stages::AFMOE)),
    row(&["spark2_5"], Splitter::Stages(stages::SPARK)),
    row(&["superbpe"], Splitter::Stages(stages::SUPERBPE)),
    Pre { names: &["chameleon"], splitter: Splitter::Stages(chameleon::CHAMELEON), add_bos: true, ..PLAIN },
    Pre {
        names: &[GEMMA4, "granite-embed-multi-311m"],
        splitter: Splitter::Stages(stages::LINES),
        spelling: Spelling::Spaces,
        whole_newlines: true,
        add_bos: true,
        always_bos: true,
        ..PLAIN
    },
    Pre {
        names: &["sarvam-moe"],
        splitter: Splitter::Stages(stages::LINES),
        spelling: Spelling::Spaces,
        ..PLAIN
    },
    Pre {
        names: &["whitespace"],
        splitter: Splitter::Stages(stages::WHITESPACE),
        spelling: Spelling::Plain,
        ..PLAIN
    },
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
