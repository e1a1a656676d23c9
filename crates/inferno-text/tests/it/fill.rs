//! Fill-in-the-middle tokens of vocabularies made by hand, with the names that models for code have.

use inferno_format::Value;
use inferno_text::{FillTokens, TokenKind};

use crate::vocab::{CONTROL, USER_DEFINED, bpe, tokenizer};

/// Names of prefix, suffix, middle, repository and file; an empty one is not there.
const FAMILIES: [(&str, [&str; 5]); 7] = [
    (
        "Qwen2.5-Coder",
        ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|repo_name|>", "<|file_sep|>"],
    ),
    ("StarCoder", ["<fim_prefix>", "<fim_suffix>", "<fim_middle>", "<reponame>", ""]),
    ("SantaCoder", ["<fim-prefix>", "<fim-suffix>", "<fim-middle>", "<fim-repo>", ""]),
    ("CodeLlama", ["▁<PRE>", "▁<SUF>", "▁<MID>", "", ""]),
    ("DeepSeek-Coder", ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", "", ""]),
    ("GLM-4", ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", "", ""]),
    ("Falcon-H1", ["<|prefix|>", "<|suffix|>", "<|middle|>", "", ""]),
];

#[test]
fn tokens_of_gaps_are_known_by_name() {
    for (family, names) in FAMILIES {
        for kind in [CONTROL, USER_DEFINED] {
            // Ids behind those of bytes, in another order than that of the parts.
            let there: Vec<&str> = names.into_iter().rev().filter(|name| !name.is_empty()).collect();
            let tokens: Vec<(&str, i32)> = there.iter().map(|&name| (name, kind)).collect();
            let t = tokenizer(&bpe("qwen2", &[], &tokens));
            let ids = names.map(|name| Some(256 + there.iter().position(|&other| other == name)? as u32));
            let [prefix, suffix, middle, repository, file] = ids;
            assert_eq!(
                t.fill_tokens(),
                FillTokens { prefix, suffix, middle, repository, file },
                "{family}, kind {kind}"
            );
            for id in ids.into_iter().flatten() {
                assert_eq!(t.token_kind(id), Some(TokenKind::Control), "{family}: {id}");
            }
            // An answer ends where another file begins, and not at the parts of a gap.
            let ends: Vec<u32> = [file, repository].into_iter().flatten().collect();
            assert_eq!(t.end_of_generation(), ends, "{family}");
        }
    }
}

#[test]
fn the_metadata_counts_more_than_names() {
    let names = [("<|fim_prefix|>", CONTROL), ("<|fim_suffix|>", CONTROL), ("<|fim_middle|>", CONTROL)];
    let others = [("<a>", CONTROL), ("<b>", CONTROL), ("<c>", CONTROL), ("<d>", CONTROL), ("<e>", CONTROL)];
    let found = |keys: &[(&str, u32)]| {
        let mut m = bpe("qwen2", &[], &[&names[..], &others].concat());
        for (key, id) in keys {
            m.set(format!("tokenizer.ggml.{key}_token_id"), Value::U32(*id));
        }
        let FillTokens { prefix, suffix, middle, repository, file } = tokenizer(&m).fill_tokens();
        [prefix, suffix, middle, repository, file]
    };
    assert_eq!(found(&[]), [Some(256), Some(257), Some(258), None, None]);
    let all = [("fim_pre", 259), ("fim_suf", 260), ("fim_mid", 261), ("fim_rep", 262), ("fim_sep", 263)];
    assert_eq!(found(&all), [259, 260, 261, 262, 263].map(Some));
    let older = [("prefix", 259), ("suffix", 260), ("middle", 261)];
    assert_eq!(found(&older)[..3], [259, 260, 261].map(Some));
    // Today's keys count more than the older ones, and a token that is not there is none.
    assert_eq!(found(&[("prefix", 259), ("fim_pre", 260)])[0], Some(260));
    assert_eq!(found(&[("fim_pre", 9999)])[0], Some(256));
}
