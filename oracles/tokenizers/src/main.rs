//! Encodes a text with our tokenizer and with the `tokenizers` crate, both built from the vocabulary of one GGUF
//! file; checks that the ids are equal, and prints how fast each is on one thread.
//!
//! ```text
//! cargo run --release -- [text] [vocabulary.gguf] [repeats]
//! ```
//! Without arguments it takes WikiText-2 and Qwen3's vocabulary from the data directory (`INFERNO_DATA`, or
//! `shared/data` beside the checkout). The other side is in its default configuration, so it keeps its cache of
//! words from one repeat to the next.

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use inferno_format::{Gguf, Metadata};
use inferno_text::{Special, TokenKind, Tokenizer};
use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, SplitDelimiterBehavior};

const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

fn main() -> Result<(), Box<dyn Error>> {
    // One thread: the crate splits only batches over threads, but be sure.
    tokenizers::utils::parallelism::set_parallelism(false);
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Beside the checkout, from wherever this is run.
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let data = std::env::var_os("INFERNO_DATA").map_or_else(beside, PathBuf::from);
    let path = |i: usize, default: &str| args.get(i).map_or_else(|| data.join(default), PathBuf::from);
    let text = path(0, "text/wiki.test.raw");
    let text = std::fs::read_to_string(&text).map_err(|e| format!("`{}`: {e}", text.display()))?;
    let gguf = Gguf::open(&path(1, "tokenizers/qwen3-vocab.gguf"))?;
    let repeats = args.get(2).map_or(Ok(15), |n| n.parse())?;

    let ours = Tokenizer::from_metadata(gguf.metadata())?;
    let theirs = theirs(gguf.metadata(), &ours)?;
    let expected = theirs.encode_fast(text.as_str(), false).map_err(|e| e.to_string())?;
    let found = ours.encode(&text, Special::Recognise);
    if let Some(i) = (0..found.len().max(expected.len())).find(|&i| found.get(i) != expected.get_ids().get(i))
    {
        return Err(format!(
            "ids differ from {i} on: {:?}, theirs {:?}",
            found.get(i),
            expected.get_ids().get(i)
        )
        .into());
    }
    println!("{} bytes, {} tokens, ids equal", text.len(), found.len());

    let mut seconds = [Vec::new(), Vec::new()];
    for _ in 0..repeats {
        seconds[0].push(time(|| ours.encode(&text, Special::Recognise).len()));
        seconds[1].push(time(|| theirs.encode_fast(text.as_str(), false).map_or(0, |e| e.len())));
    }
    let rates = seconds.map(|mut s| {
        s.sort_by(f64::total_cmp);
        let rate = |s: f64| text.len() as f64 / s / 1e6;
        (rate(s[s.len() / 2]), rate(s[s.len() - 1]), rate(s[0]))
    });
    for (name, (median, low, high)) in ["inferno-text", "tokenizers"].iter().zip(rates) {
        println!("{name:<14}{median:8.2} MB/s median of {repeats} ({low:.2} to {high:.2})");
    }
    println!("ratio of medians {:.2}", rates[0].0 / rates[1].0);
    Ok(())
}

fn time(f: impl FnOnce() -> usize) -> f64 {
    let start = Instant::now();
    std::hint::black_box(f());
    start.elapsed().as_secs_f64()
}

/// The same vocabulary, as the model's `tokenizer.json` would set it up.
fn theirs(m: &Metadata, ours: &Tokenizer) -> Result<tokenizers::Tokenizer, Box<dyn Error>> {
    let tokens = m.opt_strings("tokenizer.ggml.tokens")?.ok_or("no tokens")?;
    let merges = m.opt_strings("tokenizer.ggml.merges")?.ok_or("no merges")?;
    let vocab = (0..).zip(tokens.iter()).map(|(id, text): (u32, _)| (text.to_owned(), id)).collect();
    let merges = merges.iter().filter_map(|merge| {
        let (left, right) = merge.split_once(' ')?;
        Some((left.to_owned(), right.to_owned()))
    });
    let bpe =
        BPE::builder().vocab_and_merges::<tokenizers::models::bpe::Vocab>(vocab, merges.collect()).build();
    let mut all = tokenizers::Tokenizer::new(bpe.map_err(|e| e.to_string())?);
    let split = Split::new(SplitPattern::Regex(QWEN2.into()), SplitDelimiterBehavior::Isolated, false);
    all.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Split(split.map_err(|e| e.to_string())?),
        PreTokenizerWrapper::ByteLevel(ByteLevel::new(false, false, false)),
    ]))));
    let added = |special: bool, kind: TokenKind| -> Vec<AddedToken> {
        let of_kind = (0..).zip(tokens.iter()).filter(|&(id, _)| ours.token_kind(id) == Some(kind));
        of_kind.map(|(_, text)| AddedToken::from(text.to_owned(), special)).collect()
    };
    all.add_special_tokens(added(true, TokenKind::Control)).map_err(|e| e.to_string())?;
    all.add_tokens(added(false, TokenKind::UserDefined)).map_err(|e| e.to_string())?;
    Ok(all)
}
