//! llama.cpp's test vectors: `X.inp` holds texts, `X.out` the ids of each on a line.

use inferno_text::Special;

use crate::data;

#[test]
fn every_vector_of_every_vocabulary_encodes_as_it_should() {
    ["tokenizers", "tokenizers/next"].into_iter().for_each(check);
}

fn check(folder: &str) {
    let Some(dir) = xtask::testing::data(folder) else { return };
    for (name, tokenizer) in data::in_folder(folder) {
        let file = |ext| std::fs::read_to_string(dir.join(format!("{name}.{ext}"))).unwrap();
        let (texts, ids) = (file("inp"), file("out"));
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let lines: Vec<&str> = ids.lines().collect();
        assert!(
            texts.len() >= lines.len() && lines.len() > 40,
            "{name}: {} texts, {} lines",
            texts.len(),
            lines.len()
        );
        for (text, line) in texts.iter().zip(&lines) {
            let expected: Vec<u32> = line.split_whitespace().map(|id| id.parse().unwrap()).collect();
            let found = tokenizer.encode(text, Special::AsText);
            assert_eq!(found, expected, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&found).unwrap(), text.as_bytes(), "{name}: {text:?}");
        }
    }
}
