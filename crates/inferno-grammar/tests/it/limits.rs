//! Limits of schemas and grammars: one below, at, and one above each.

use inferno_grammar::{Compiler, CompilerLimits, GrammarSource};
use serde_json::{Value, json};

use crate::walk::Walker;

fn nested(depth: usize) -> Value {
    (0..depth).fold(json!({}), |inner, _| json!({ "items": inner }))
}

fn gbnf(text: String) -> GrammarSource {
    GrammarSource::Gbnf(text)
}

#[test]
fn sources_are_bounded_exactly() {
    let limits = CompilerLimits { source_bytes: 100_000, depth: 4, nodes: 20, ..CompilerLimits::default() };
    let compiler = Compiler::new(Walker::small().tokenizer, limits);
    // Name, limit, a source that has so much of it, and what is said above it.
    type Row<'a> = (&'a str, usize, &'a dyn Fn(usize) -> GrammarSource, &'a str);
    let rows: &[Row<'_>] = &[
        (
            "bytes of a schema",
            100_000,
            // `enum` counts as 8, and quotes as 2.
            &|n| GrammarSource::JsonSchema(json!({ "enum": ["a".repeat(n - 14)] })),
            "more than 100000 bytes",
        ),
        (
            "bytes of a list",
            100_000,
            &|n| GrammarSource::Choice(vec!["a".repeat(n - 4)]),
            "more than 100000 bytes",
        ),
        (
            "bytes of a grammar",
            100_000,
            &|n| gbnf(format!("root ::= \"a\" #{}", "a".repeat(n - 14))),
            "more than 100000 bytes",
        ),
        ("depth of a schema", 4, &|n| GrammarSource::JsonSchema(nested(n)), "more than 4 deep"),
        (
            "values of a schema",
            20,
            &|n| GrammarSource::JsonSchema(json!({ "enum": (2..n).collect::<Vec<_>>() })),
            "more than 20 values",
        ),
        (
            "brackets of a regular expression",
            16,
            &|n| GrammarSource::Regex(format!("{}a{}", "(".repeat(n), ")".repeat(n))),
            "nested too deeply",
        ),
        (
            "rules",
            5000,
            &|n| {
                let rules: Vec<String> = (1..n).map(|i| format!("r{i} ::= \"a\"")).collect();
                gbnf(format!("root ::= \"b\"\n{}", rules.join("\n")))
            },
            "more than 5000 rules",
        ),
        ("repetitions", 2000, &|n| gbnf(format!("root ::= \"a\"{{{n}}}")), "more than 2000: lower it"),
    ];
    for (name, most, source, words) in rows {
        for n in [most - 1, *most] {
            let refused = compiler.compile(&source(n)).err().map(|e| e.to_string());
            assert_eq!(refused, None, "{name}: {n}");
        }
        let refused = compiler.compile(&source(most + 1)).expect_err(name);
        assert!(refused.reason.contains(words), "{name}: {refused}");
    }
}

#[test]
fn groups_of_a_grammar_and_properties_of_an_object_are_bounded_exactly() {
    let walker = Walker::small();
    let groups = |n: usize| gbnf(format!("root ::= {}\"a\"{}", "(".repeat(n), ")".repeat(n)));
    let properties = |n: usize| {
        let all: serde_json::Map<_, _> = (0..n).map(|i| (format!("p{i}"), json!({ "const": 1 }))).collect();
        GrammarSource::JsonSchema(json!({ "properties": all, "additionalProperties": false }))
    };
    for n in [99, 100] {
        walker.compile(&groups(n)).unwrap();
    }
    let refused = walker.compile(&groups(101)).unwrap_err();
    assert!(refused.reason.contains("nested too deeply"), "{refused}");
    for n in [1999, 2000] {
        walker.compile(&properties(n)).unwrap();
    }
    let refused = walker.compile(&properties(2001)).unwrap_err();
    assert!(refused.reason.contains("at most 2,000"), "{refused}");
}
