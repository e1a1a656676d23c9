//! Brings every form of structure to one of llguidance's.

use inferno_text::Tokenizer;
use llguidance::api::{GrammarWithLexer, TopLevelGrammar};
use serde_json::{Value, json};

use crate::gbnf;
use crate::named_tokens;
use crate::schema;
use crate::source::{GrammarError, GrammarPart, GrammarSource, LarkText};
use crate::structural_tag;

/// A schema of more bytes is compiled once, with spaces that are free behind every `:` and `,`.
const MOST_SPACED: usize = 32 << 10;

/// A source in llguidance's form.
pub(super) struct Lowered {
    /// Grammars of which an answer has one, that of the shortest answers first.
    pub(super) grammars: Vec<TopLevelGrammar>,
    /// Keywords of schemas that are not enforced.
    pub(super) unenforced: Vec<String>,
    /// Tokens that the grammar names, each once.
    pub(super) named: Vec<u32>,
    /// Marks that an ending may need: see [`LarkText::marks`].
    pub(super) marks: Vec<Vec<u8>>,
}

/// Brings `source` to llguidance's form.
pub(super) fn lower(source: &GrammarSource, tokenizer: &Tokenizer) -> Result<Lowered, GrammarError> {
    let (mut unenforced, mut named, mut marks) = (Vec::new(), Vec::new(), Vec::new());
    let grammar = match source {
        GrammarSource::JsonObject => TopLevelGrammar::from_json_schema(object()),
        GrammarSource::JsonSchema(schema) => {
            let schema::Prepared { schema, unenforced } = schema::prepare(schema)?;
            let schemas = match schema.to_string().len() > MOST_SPACED {
                true => vec![schema],
                false => schema::by_spacing(schema),
            };
            let grammars = schemas.into_iter().map(TopLevelGrammar::from_json_schema).collect();
            return Ok(Lowered { grammars, unenforced, named, marks });
        }
        GrammarSource::Regex(regex) => {
            TopLevelGrammar::from_grammar(GrammarWithLexer::from_regex(without_anchors(regex)))
        }
        source => {
            let lark;
            LarkText { lark, unenforced, marks } = to_lark(source, tokenizer)?;
            if !matches!(source, GrammarSource::Choice(_) | GrammarSource::Lark(_)) {
                named = named_tokens::in_lark(&lark);
            }
            TopLevelGrammar::from_lark(lark)
        }
    };
    Ok(Lowered { grammars: vec![grammar], unenforced, named, marks })
}

/// `source` as a part of a larger grammar.
pub(super) fn part(source: &GrammarSource, tokenizer: &Tokenizer) -> Result<GrammarPart, GrammarError> {
    let (lark, unenforced) = match source {
        GrammarSource::JsonObject => (format!("%json {}", object()), Vec::new()),
        GrammarSource::JsonSchema(schema) => {
            let prepared = schema::prepare(schema)?;
            (format!("%json {}", prepared.schema), prepared.unenforced)
        }
        GrammarSource::Regex(regex) => (regex_literal(regex), Vec::new()),
        source => {
            let LarkText { lark, unenforced, .. } = to_lark(source, tokenizer)?;
            (format!("%lark {{\n{lark}\n}}"), unenforced)
        }
    };
    Ok(GrammarPart { lark, unenforced })
}

/// `source` as a grammar in Lark.
fn to_lark(source: &GrammarSource, tokenizer: &Tokenizer) -> Result<LarkText, GrammarError> {
    let plain = |lark: String| Ok(LarkText { lark, ..LarkText::default() });
    match source {
        GrammarSource::JsonObject => plain(format!("start: %json {}", object())),
        GrammarSource::JsonSchema(schema) => {
            let prepared = schema::prepare(schema)?;
            let lark = format!("start: %json {}", prepared.schema);
            Ok(LarkText { lark, unenforced: prepared.unenforced, marks: Vec::new() })
        }
        GrammarSource::Regex(regex) => plain(format!("start: {}", regex_literal(regex))),
        GrammarSource::Choice(choices) => plain(choice(choices)?),
        GrammarSource::Lark(text) if text.trim().is_empty() => {
            Err(GrammarError::whole("the grammar is empty: give it a rule named start"))
        }
        GrammarSource::Lark(text) => plain(text.clone()),
        GrammarSource::Gbnf(text) => {
            let find = |written: &str| named_tokens::find(tokenizer, written);
            plain(gbnf::to_lark(text, &find)?)
        }
        GrammarSource::StructuralTag(tag) => structural_tag::to_lark(tag, tokenizer),
        GrammarSource::Calls { lark, unenforced, marks, .. } => {
            Ok(LarkText { lark: lark.clone(), unenforced: unenforced.clone(), marks: marks.clone() })
        }
    }
}

/// The schema of any JSON object.
fn object() -> Value {
    schema::with_our_white_space(json!({ "type": "object" }))
}

/// A regular expression matches the whole answer: anchors at its ends say what holds already.
fn without_anchors(regex: &str) -> &str {
    let regex = regex.strip_prefix('^').unwrap_or(regex);
    let is_escaped = |rest: &str| rest.bytes().rev().take_while(|b| *b == b'\\').count() % 2 == 1;
    regex.strip_suffix('$').filter(|rest| !is_escaped(rest)).unwrap_or(regex)
}

/// A regular expression between slashes, as Lark reads it: a slash within it is escaped.
pub(crate) fn regex_literal(pattern: &str) -> String {
    let mut text = String::from("/(?:");
    let mut is_escaped = false;
    for c in without_anchors(pattern).chars() {
        match c {
            '/' if is_escaped => text.push('/'),
            '/' => text.push_str("\\/"),
            // Lark ends a line here, also within a regular expression.
            '\n' if is_escaped => text.push('n'),
            '\n' => text.push_str("\\n"),
            c => text.push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.push_str(")/");
    text
}

fn choice(choices: &[String]) -> Result<String, GrammarError> {
    if choices.is_empty() {
        return Err(GrammarError::whole("the list of choices is empty: give at least one text"));
    }
    if let Some(i) = choices.iter().position(String::is_empty) {
        return Err(GrammarError {
            path: format!("#/{i}"),
            reason: format!("choice {i} is empty: give it a text"),
            is_malformed: true,
        });
    }
    // JSON's strings are Lark's.
    let texts: Vec<String> = choices.iter().map(|text| Value::from(text.as_str()).to_string()).collect();
    Ok(format!("start: {}", texts.join(" | ")))
}

/// The reason for which llguidance refuses `source`.
pub(super) fn explain(source: &GrammarSource, error: &str) -> GrammarError {
    let text = error.split("\n<").next().unwrap_or_default().trim();
    // llguidance asserts that a grammar has fewer than 65,525 symbols.
    let text = if text.contains("symbols.len() < u16::MAX") { "it is too large: simplify it" } else { text };
    match source {
        GrammarSource::JsonSchema(schema) => schema::locate(schema, text),
        GrammarSource::JsonObject => GrammarError::whole(text),
        GrammarSource::Regex(_) => {
            GrammarError::whole(format!("the regular expression cannot be kept: {text}"))
        }
        GrammarSource::Choice(_) => GrammarError::whole(format!("the choices cannot be kept: {text}")),
        GrammarSource::Gbnf(_) | GrammarSource::Lark(_) | GrammarSource::Calls { .. } => {
            GrammarError::whole(format!("the grammar cannot be kept: {text}"))
        }
        GrammarSource::StructuralTag(_) => {
            GrammarError::whole(format!("the structural tag cannot be kept: {text}"))
        }
    }
}
