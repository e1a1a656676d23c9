//! Encoding and decoding, on vocabularies made by hand.

use std::sync::Arc;

use inferno_format::{Array, Value};
use inferno_text::{ControlTokens, Detokenizer, Special, TokenKind, TokenizerError};

use crate::vocab::{BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, bpe, spm, tokenizer};

#[test]
fn merges_go_by_rank_and_then_from_the_left() {
    let t = tokenizer(&bpe("gpt-2", &["a a", "b c", "a b", "aa a", "ab c"], &[]));
    let id = |text: &str| (256..t.vocab_size() as u32).find(|&id| t.token_text(id) == Some(text)).unwrap();
    let (a, b) = (u32::from(b'a'), u32::from(b'b'));
    assert_eq!(t.encode("aaaaa", Special::AsText), [id("aa"), id("aaa")]);
    assert_eq!(t.encode("aaab", Special::AsText), [id("aa"), id("ab")]);
    assert_eq!(t.encode("abc", Special::AsText), [a, id("bc")]); // `ab c` comes too late
    assert_eq!(t.encode("abab", Special::AsText), [id("ab"), id("ab")]);
    // The same again, now that the words are known.
    assert_eq!(t.encode("abc", Special::AsText), [a, id("bc")]);
    assert_eq!(t.encode("b", Special::AsText), [b]);
}

#[test]
fn a_long_word_merges_as_a_short_one_does() {
    let t = tokenizer(&bpe("gpt-2", &["a b", "ab ab", "b a", "abab a"], &[]));
    for n in [3, 47, 48, 49, 50, 51, 200] {
        let text = "ab".repeat(n) + "ba";
        // Merged by hand, pair by pair: the definition.
        let rank = |l: &str, r: &str| {
            ["a b", "ab ab", "b a", "abab a"].iter().position(|m| m.split_once(' ') == Some((l, r)))
        };
        let mut parts: Vec<String> = text.chars().map(String::from).collect();
        while let Some((_, i)) =
            (1..parts.len()).filter_map(|i| Some((rank(&parts[i - 1], &parts[i])?, i))).min()
        {
            let right = parts.remove(i);
            parts[i - 1] += &right;
        }
        let found = t.encode(&text, Special::AsText);
        let found: Vec<&str> = found.iter().map(|&id| t.token_text(id).unwrap()).collect();
        assert_eq!(found, parts, "{n}");
    }
}

#[test]
fn a_word_in_the_vocabulary_is_one_token_only_where_merges_are_ignored() {
    for (pre, n) in [("llama-bpe", 1), ("qwen2", 3)] {
        let t = tokenizer(&bpe(pre, &[], &[("abc", 1)]));
        for _ in 0..2 {
            assert_eq!(t.encode("abc", Special::AsText).len(), n, "{pre}");
        }
    }
}

#[test]
fn text_never_leads_to_a_control_token() {
    let t = tokenizer(&bpe("llama-bpe", &["a b"], &[("abc", CONTROL), ("xyz", UNKNOWN)]));
    assert_eq!(t.encode("abc", Special::AsText), [256, u32::from(b'c')]);
    assert_eq!(t.encode("abc", Special::Recognise), [257]);
    // Not even by a merge.
    let mut m = bpe("llama-bpe", &["a b"], &[]);
    let mut kinds = vec![1; 257];
    kinds[256] = CONTROL;
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    let t = tokenizer(&m);
    assert_eq!(t.encode("ab", Special::AsText), [u32::from(b'a'), u32::from(b'b')]);
    let mut m = spm(&[("a", -1.0), ("b", -1.0)]);
    m.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    let t = tokenizer(&m);
    assert!(t.encode("<s>ab</s><unk><0x41>", Special::AsText).iter().all(|&id| id > 2));
    assert_eq!(t.encode("<s>a</s>", Special::Recognise), [1, 259, 2]);
}

#[test]
fn of_overlapping_special_tokens_the_longest_wins() {
    let others = [("<ab", USER_DEFINED), ("b>cd", USER_DEFINED), ("<a", USER_DEFINED), ("<|x|>", CONTROL)];
    let t = tokenizer(&bpe("gpt-2", &[], &others));
    let texts = |text: &str, special| {
        let ids = t.encode(text, special);
        ids.iter().map(|&id| t.token_text(id).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(texts("<ab>cd", Special::AsText), ["<a", "b>cd"]);
    assert_eq!(texts("<ab><ab", Special::AsText), ["<ab", ">", "<ab"]);
    assert_eq!(texts("<|x|>", Special::AsText).len(), 5);
    assert_eq!(texts("<a<|x|>", Special::Recognise), ["<a", "<|x|>"]);
}

#[test]
fn sentencepiece_merges_by_score_and_spells_the_rest_in_bytes() {
    let t =
        tokenizer(&spm(&[("▁", -5.0), ("a", -5.0), ("b", -5.0), ("ab", -2.0), ("▁a", -1.0), ("bb", -3.0)]));
    let [space, a, b, ab, space_a, bb] = [259, 260, 261, 262, 263, 264];
    assert_eq!(t.encode("ab", Special::AsText), [space_a, b]);
    assert_eq!(t.encode("bab", Special::AsText), [space, b, ab]);
    assert_eq!(t.encode("bbb", Special::AsText), [space, bb, b]);
    assert_eq!(t.encode("", Special::AsText), [] as [u32; 0]);
    assert_eq!(t.encode(" a", Special::AsText), [space, space_a]);
    assert_eq!(t.encode("aé", Special::AsText), [space_a, 3 + 0xc3, 3 + 0xa9]);
    assert_eq!(t.encode("a</s>a", Special::Recognise), [space_a, 2, space_a]);
    assert_eq!(t.decode(&[space_a, 2, space_a, a]).unwrap(), b"a</s>aa");
}

#[test]
fn text_comes_out_as_soon_as_it_is_whole_characters() {
    let t = tokenizer(&bpe("gpt-2", &[], &[("<|end|>", CONTROL)]));
    let mut stream = t.detokenizer(ControlTokens::Hidden);
    let texts: Vec<String> = "aé€🦙".bytes().map(|b| stream.push(u32::from(b)).unwrap()).collect();
    assert_eq!(texts, ["a", "", "é", "", "", "€", "", "", "", "🦙"]);
    assert_eq!([0xe2, 0x82, 0x61, 256].map(|id| stream.push(id).unwrap()), ["", "", "\u{fffd}a", ""]);
    assert_eq!(stream.push(0xff).unwrap(), "\u{fffd}");
    assert_eq!(stream.push(0xf0).unwrap(), "");
    assert!(stream.push(257).is_err());
    assert_eq!(stream.finish(), "\u{fffd}");
    assert_eq!(t.detokenizer(ControlTokens::Shown).push(256).unwrap(), "<|end|>");
}

#[test]
fn a_stream_may_own_its_tokenizer_and_write_to_the_end_of_a_text() {
    let t = Arc::new(tokenizer(&bpe("gpt-2", &[], &[("<|end|>", CONTROL)])));
    let mut stream = Detokenizer::new(Arc::clone(&t), ControlTokens::Hidden);
    assert_eq!(Arc::strong_count(&t), 2);
    let mut text = String::from("> ");
    for id in "aé\u{20ac}".bytes().map(u32::from).chain([256, 0xf0]) {
        stream.push_to(id, &mut text).unwrap();
    }
    let unknown = stream.push_to(257, &mut text);
    assert_eq!(unknown, Err(TokenizerError::UnknownId { id: 257, vocab_size: 257 }));
    assert_eq!(text, "> aé€");
    assert_eq!([stream.finish(), stream.finish()], ["\u{fffd}", ""]);
}

#[test]
fn a_stream_drops_the_space_that_encoding_put_in_front_and_no_other() {
    let t = tokenizer(&spm(&[("▁a", -1.0)]));
    let first = |prompt: &[u32]| Detokenizer::after(&t, prompt, ControlTokens::Hidden).push(259).unwrap();
    assert_eq!([first(&[]), first(&[1]), first(&[259])], ["a", "a", " a"]);
    let owned = |prompt: &[u32]| {
        Detokenizer::after(Arc::new(tokenizer(&spm(&[("▁a", -1.0)]))), prompt, ControlTokens::Hidden)
            .push(259)
    };
    assert_eq!([owned(&[1]).unwrap(), owned(&[259]).unwrap()], ["a", " a"]);
    let mut m = spm(&[("▁a", -1.0)]);
    m.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    assert_eq!(tokenizer(&m).decode(&[259]).unwrap(), b" a");
}

#[test]
fn tokens_that_end_a_generation_are_known_by_key_and_by_name() {
    let others = [
        ("<|im_end|>", USER_DEFINED),
        ("<|eot_id|>", CONTROL),
        ("<|x|>", CONTROL),
        ("<think>", USER_DEFINED),
    ];
    let mut m = bpe("qwen2", &["< /", "</ s", "</s >"], &others);
    m.set("tokenizer.ggml.eos_token_id", Value::U32(261));
    let t = tokenizer(&m);
    assert_eq!(t.end_of_generation(), [259, 260, 261]);
    let is_end = |id| t.end_of_generation().contains(&id);
    assert!(is_end(259) && !is_end(262));
    assert_eq!(t.token_kind(259), Some(TokenKind::Control));
    // `</s>` is made by merges here: text, as in HTML.
    assert_eq!((t.token_kind(258), t.token_text(258)), (Some(TokenKind::Normal), Some("</s>")));
    let harmony = [("<|end|>", CONTROL), ("<|return|>", CONTROL), ("<|call|>", CONTROL)];
    assert_eq!(tokenizer(&bpe("gpt-4o", &[], &harmony)).end_of_generation(), [257, 258]);
}

#[test]
fn tags_of_html_are_text_unless_the_file_says_otherwise() {
    let kind_and_end = |m| {
        let t = tokenizer(&m);
        (t.token_kind(256).unwrap(), t.end_of_generation().contains(&256))
    };
    for kind in [USER_DEFINED, 1] {
        for text in ["</s>", "<PRE>"] {
            let mut m = bpe("qwen2", &[], &[(text, kind), ("<eos>", CONTROL)]);
            m.set("tokenizer.ggml.eos_token_id", Value::U32(257));
            let expected = if kind == 1 { TokenKind::Normal } else { TokenKind::UserDefined };
            assert_eq!(kind_and_end(m), (expected, false), "{text}");
        }
        let mut m = bpe("qwen2", &[], &[("</s>", kind)]);
        m.set("tokenizer.ggml.eos_token_id", Value::U32(256));
        assert_eq!(kind_and_end(m), (TokenKind::Control, true));
    }
    assert_eq!(kind_and_end(bpe("qwen2", &[], &[("</s>", CONTROL)])), (TokenKind::Control, true));
}

#[test]
fn a_continuation_has_no_space_in_front() {
    let t = tokenizer(&spm(&[("\u{2581}", -1.0), ("a", -2.0), ("\u{2581}a", -0.5)]));
    let id = |text: &str| (0..t.vocab_size() as u32).find(|&id| t.token_text(id) == Some(text)).unwrap();
    assert_eq!(t.encode("a", Special::AsText), [id("\u{2581}a")]);
    assert_eq!(t.encode_continuation("a", Special::AsText), [id("a")]);
    assert_eq!(t.encode_continuation(" a", Special::AsText), [id("\u{2581}a")]);
}

/// Characters and marked spaces, `<0xHH>` for all bytes, then what `merges` make.
fn characters(merges: &[&str], others: &[&str]) -> inferno_format::Metadata {
    let bytes: Vec<String> = (0..=255u8).map(|b| format!("<0x{b:02X}>")).collect();
    let made: Vec<String> = merges.iter().map(|m| m.replacen(' ', "", 1)).collect();
    let tokens: Vec<&str> =
        bytes.iter().chain(&made).map(String::as_str).chain(others.iter().copied()).collect();
    let kinds = (0..tokens.len()).map(|id| if id < 256 { BYTE } else { NORMAL }).collect();
    let mut m = inferno_format::Metadata::default();
    m.set("tokenizer.ggml.model", Value::String("gemma4".into()));
    m.set("tokenizer.ggml.tokens", crate::vocab::strings(&tokens));
    m.set("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds)));
    m.set("tokenizer.ggml.merges", crate::vocab::strings(merges));
    m
}

#[test]
fn bpe_of_characters_marks_spaces_and_spells_the_rest_in_bytes() {
    let merges = ["▁ a", "é b", "\n \n", "▁a éb"];
    let mut m = characters(&merges, &["▁", "a", "b", "é", "\n", "\n\n\n"]);
    let t = tokenizer(&m);
    let id = |text: &str| (0..t.vocab_size() as u32).find(|&id| t.token_text(id) == Some(text)).unwrap();
    assert_eq!(t.encode("b a aéb", Special::AsText), [id("b"), id("▁a"), id("▁aéb")]);
    assert_eq!(t.encode("b▁a", Special::AsText), [id("b"), id("▁a")]);
    assert_eq!(t.encode("€", Special::AsText), [0xe2, 0x82, 0xac]);
    // A run of line ends that is a token is that token, though no merge makes it.
    assert_eq!(t.encode("a\n\n\n", Special::AsText), [id("a"), id("\n\n\n")]);
    assert_eq!(t.encode("\n\n\n\n", Special::AsText), [id("\n\n"), id("\n\n")]);
    assert_eq!(t.decode(&t.encode("  aé€ a\n", Special::AsText)).unwrap(), "  aé€ a\n".as_bytes());
    // The same, where a merge reaches over a space and lines are not cut into words.
    let wide = characters(&[&merges[..], &["b ▁"]].concat(), &["▁", "a", "b", "é", "\n"]);
    let t = tokenizer(&wide);
    let text = |ids: &[u32]| ids.iter().map(|&id| t.token_text(id).unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(text(&t.encode("b b aé", Special::AsText)), ["b▁", "b", "▁a", "é"]);
    assert!(!t.add_bos());
    // Files of this kind say wrongly that no BOS token is added.
    m.set("tokenizer.ggml.bos_token_id", Value::U32(256));
    m.set("tokenizer.ggml.add_bos_token", Value::Bool(false));
    assert!(tokenizer(&m).add_bos());
}
