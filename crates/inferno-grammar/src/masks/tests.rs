//! Masks of strings are those of a walk of all tokens.

use std::sync::Arc;

use llguidance::api::TopLevelGrammar;
use llguidance::earley::SlicedBiasComputer;
use llguidance::{ParserFactory, TokenParser};
use serde_json::{Value, json};
use toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use xtask::testing::Random;

use super::{StringMasks, StringTokens};

/// All bytes, texts that patterns tell apart, and an end.
fn tokens() -> TokEnv {
    let texts = [
        "20",
        "2025",
        "-0",
        "-01-",
        "T1",
        "ab",
        " ab",
        "a/b",
        "/a",
        "//",
        "é",
        "日本",
        "日",
        "x@y",
        "@",
        ".c",
        "\"}",
        "\",",
        "\\n",
        "abcdefghijklmno",
        " 12",
        "ñ1",
    ];
    let mut words: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    words.extend(texts.iter().map(|text| text.as_bytes().to_vec()));
    let end = words.len() as u32;
    words.push(b"\xff<end>".to_vec());
    let info = TokRxInfo::new(words.len() as u32, end);
    Arc::new(ApproximateTokEnv::new(TokTrie::from(&info, &words)))
}

struct Masks {
    factory: ParserFactory,
    strings: Arc<StringTokens>,
}

impl Masks {
    fn new() -> Masks {
        let tokens = tokens();
        let slices = SlicedBiasComputer::json_slices();
        let mut factory = ParserFactory::new(&tokens, InferenceCapabilities::default(), &slices).unwrap();
        factory.quiet();
        let mut strings = StringTokens::new(tokens, factory.slicer());
        strings.few_nodes = 0;
        Masks { factory, strings: Arc::new(strings) }
    }

    /// Writes random answers to `schema` under both kinds of masks; how many states were learned.
    fn check(&self, schema: &Value) -> usize {
        let grammar = TopLevelGrammar::from_json_schema(schema.clone());
        let plain = self.factory.create_parser(grammar).unwrap();
        let mut n_learned = 0;
        for seed in 0..20 {
            let mut random = Random(seed);
            let new = || {
                let mut parser = plain.deep_clone();
                parser.start_without_prompt();
                parser
            };
            let (mut plain, mut other) = (new(), new());
            let masks = Arc::new(StringMasks::new(self.strings.clone()));
            other.bias_computer = masks.clone();
            for _ in 0..80 {
                let allowed = plain.compute_mask().unwrap();
                assert_eq!(other.compute_mask().unwrap(), allowed, "{schema}");
                let allowed: Vec<u32> = allowed.iter().collect();
                // Texts of a string rather than its end.
                let token = allowed[random.below(allowed.len())];
                let step = |parser: &mut TokenParser| {
                    parser.consume_token(token).unwrap();
                    parser.check_stop().unwrap()
                };
                let is_over = step(&mut plain);
                assert_eq!(step(&mut other), is_over);
                if is_over {
                    break;
                }
            }
            n_learned += masks.learned.lock().unwrap().states.values().filter(|set| set.is_some()).count();
        }
        n_learned
    }
}

#[test]
fn masks_of_strings_are_those_of_a_walk() {
    let masks = Masks::new();
    for (schema, learns) in [
        (json!({ "type": "string", "pattern": "\\d{4}-\\d{2}-\\d{2}T" }), true),
        (json!({ "type": "string", "pattern": "^.*@.*\\..*$" }), true),
        (json!({ "type": "string", "pattern": "^/?([^/]+/)*[^/]+/?$" }), true),
        (json!({ "type": "string", "pattern": "[ab]é" }), true),
        (json!({ "type": "string", "pattern": "^[a-c日é/]*$" }), false),
        (json!({ "type": "string", "maxLength": 12 }), false),
        (json!({ "type": "string", "minLength": 7 }), true),
        (json!({ "type": "object", "additionalProperties": { "type": "string", "pattern": "x" } }), true),
    ] {
        assert_eq!(masks.check(&schema) > 0, learns, "{schema}");
    }
}
