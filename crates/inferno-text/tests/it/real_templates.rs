//! Chat templates of real models, where the data is there.

use inferno_text::{ChatTemplate, TokenKind, message};

use crate::data;
use crate::templates::{control_ids, options};
use crate::vocab::{self, CONTROL};

#[test]
fn a_template_mentions_the_roles_it_knows() {
    let Some(dir) = xtask::testing::data("templates") else { return };
    let template =
        |name: &str| ChatTemplate::from_source(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap();
    let (gpt_oss, qwen3) = (template("openai-gpt-oss-120b.jinja"), template("Qwen-Qwen3-0.6B.jinja"));
    assert_eq!([gpt_oss.mentions("developer"), qwen3.mentions("developer")], [true, false]);
    assert_eq!([gpt_oss.mentions("user"), qwen3.mentions("user")], [true, true]);
    // Names in the code and text outside of it are no constants.
    let made =
        ChatTemplate::from_source("developer {% if x == 'a developers' %}{{ tool }}{% endif %}").unwrap();
    assert_eq!(
        ["developer", "a developers", "tool", "if"].map(|word| made.mentions(word)),
        [true, true, false, false]
    );
    let text = ChatTemplate::from_source("developer {# 'developer' #} {{ developer }}").unwrap();
    assert!(!text.mentions("developer"));
}

/// What a template calls its control tokens: everything in it that looks like one.
fn control_texts(source: &str) -> Vec<String> {
    let mut found: Vec<String> = ["<s>", "</s>", "<unk>"].map(String::from).into();
    for (open, close) in [('<', '>'), ('[', ']')] {
        for (start, _) in source.match_indices(open) {
            let Some(len) = source[start..].find(close) else { continue };
            let text = &source[start..start + len + 1];
            let inside = &text[1..len];
            let is_name = inside.chars().all(|c| c.is_alphanumeric() || "|_/-｜▁:".contains(c));
            let is_upper = inside.chars().all(|c| c.is_ascii_uppercase() || "_/".contains(c));
            if len > 2 && len < 40 && is_name && (open == '<' || is_upper) {
                found.push(text.into());
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn no_real_template_makes_a_control_token_of_a_message() {
    let Some(dir) = xtask::testing::data_dir() else { return };
    let mut paths: Vec<_> = dir.join("templates").read_dir().unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 40);
    let mut refusing = Vec::new();
    for path in &paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let source = std::fs::read_to_string(path).unwrap();
        let template = ChatTemplate::from_source(&source).unwrap_or_else(|e| panic!("{name}: {e}"));
        let texts = control_texts(&source);
        let others: Vec<(&str, i32)> = texts.iter().map(|t| (t.as_str(), CONTROL)).collect();
        let mut m = vocab::bpe("qwen2", &[], &others);
        let id_of = |text| 256 + texts.iter().position(|t| t == text).unwrap() as u32;
        m.set("tokenizer.ggml.bos_token_id", inferno_format::Value::U32(id_of("<s>")));
        m.set("tokenizer.ggml.eos_token_id", inferno_format::Value::U32(id_of("</s>")));
        let tokenizer = vocab::tokenizer(&m);
        let chat = |text: &str| {
            let messages = [message("user", text), message("assistant", text), message("user", text)];
            template.render_tokens(&tokenizer, &messages, &options())
        };
        let plain = match chat("hello") {
            Ok(ids) => ids,
            Err(e) => {
                refusing.push(format!("{name}: {e}"));
                continue;
            }
        };
        let everything = format!("x {} y", texts.concat());
        let mut evil = vec![everything, "<".into(), "<|".into(), "<|im_".into(), "[".into(), "|>".into()];
        evil.extend(
            texts.iter().flat_map(|t| [format!("a{t}b"), t.clone(), format!("<{t}"), format!("{t}>")]),
        );
        for text in evil {
            let ids = chat(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(control_ids(&tokenizer, &ids), control_ids(&tokenizer, &plain), "{name}: {text}");
        }
    }
    // It wants a variable `functions`.
    let refusing: Vec<&str> = refusing.iter().map(|r| r.split(':').next().unwrap()).collect();
    assert_eq!(refusing, ["fireworks-ai-llama-3-firefunction-v2"]);
}

#[test]
fn with_real_vocabularies_a_message_of_every_control_token_is_text() {
    let Some(dir) = xtask::testing::data_dir() else { return };
    let mut n = 0;
    for (name, tokenizer) in data::tokenizers() {
        let m = data::metadata(&dir.join(format!("tokenizers/{name}-vocab.gguf")));
        let Some(template) = ChatTemplate::from_metadata(&m).unwrap() else { continue };
        let all = 0..tokenizer.vocab_size() as u32;
        let is_control = |id: &u32| tokenizer.token_kind(*id) == Some(TokenKind::Control);
        let evil: String = all.filter(is_control).filter_map(|id| tokenizer.token_text(id)).collect();
        let render = |text: &str| {
            let ids = template.render_tokens(&tokenizer, &[message("user", text)], &options()).unwrap();
            (control_ids(&tokenizer, &ids), tokenizer.decode(&ids).unwrap())
        };
        let ((plain, _), (found, text)) = (render("hello"), render(&evil));
        assert_eq!(found, plain, "{name}");
        assert!(String::from_utf8(text).unwrap().contains(&evil), "{name}");
        n += 1;
    }
    assert!(n >= 2);
}
