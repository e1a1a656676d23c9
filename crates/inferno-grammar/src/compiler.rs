//! Compiles grammars for one vocabulary, and keeps those that were asked for lately.

mod cache;
mod limits;
mod source;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use inferno_text::{ReplyFormat, Tokenizer};
use llguidance::earley::SlicedBiasComputer;
use llguidance::panic_utils::catch_unwind;
use llguidance::{ParserFactory, TokenParser};
use serde_json::Value;
use toktrie::InferenceCapabilities;

use crate::budget::{Budget, thread_time};
use crate::calls::CallRules;
use crate::closing::{ClosingTokens, Walk};
use crate::constraint::{Constraint, Watch};
use crate::masks::{StringMasks, StringTokens};
use crate::samples::samples;
use crate::schema;
use crate::source::{GrammarError, GrammarPart, GrammarSource};
use crate::spacing::Parsers;
use crate::vocabulary::vocabulary;

use cache::Cache;
pub use limits::CompilerLimits;
pub(crate) use source::regex_literal;

/// Compiles grammars for the vocabulary of one model. The vocabulary is read when the first grammar is compiled.
pub struct Compiler {
    tokenizer: Arc<Tokenizer>,
    limits: CompilerLimits,
    tables: OnceLock<Result<Tables, String>>,
    cache: Mutex<Cache>,
}

/// Tables of one vocabulary, which all its grammars share.
struct Tables {
    factory: ParserFactory,
    closing: Arc<ClosingTokens>,
    strings: Arc<StringTokens>,
}

/// A compiled grammar: shared by all choices of all requests that ask for it.
pub struct Compiled {
    parsers: Parsers,
    unenforced: Vec<String>,
    shortest: usize,
    walk: Arc<Walk>,
    watch: Watch,
    strings: Arc<StringTokens>,
}

impl Compiler {
    /// A compiler for the tokens of `tokenizer`. Nothing is built before the first grammar is asked for.
    pub fn new(tokenizer: Arc<Tokenizer>, limits: CompilerLimits) -> Compiler {
        let cache = Mutex::new(Cache::new(limits.cached_bytes, limits.cached_grammars));
        Compiler { tokenizer, limits, tables: OnceLock::new(), cache }
    }

    /// The compiled form of `source`, from the cache if it is there. It may take long: not for a thread that has sockets.
    ///
    /// # Errors
    /// The source is malformed, cannot be kept, or takes more than the limits.
    pub fn compile(&self, source: &GrammarSource) -> Result<Arc<Compiled>, GrammarError> {
        self.limits.check_source(source)?;
        let key = source.key();
        if let Some(compiled) = self.cache().get(&key) {
            return Ok(compiled);
        }
        // Reading the vocabulary is no fault of the grammar.
        let Tables { factory, closing, strings } = self.tables()?;
        let mut budget = Budget::start(self.limits.compile_time, self.limits.compile_wall_time);
        let source::Lowered { grammars, unenforced, named, marks } = source::lower(source, &self.tokenizer)?;
        let texts = match source {
            GrammarSource::JsonSchema(schema) => samples(schema),
            GrammarSource::StructuralTag(tag) => samples(tag),
            GrammarSource::Calls { samples, .. } => samples.clone(),
            _ => Vec::new(),
        };
        let build = || {
            let mut parsers = Vec::with_capacity(grammars.len());
            for grammar in grammars {
                let before = (thread_time(), Instant::now());
                let mut parser = factory.create_parser(grammar)?;
                parser.start_without_prompt();
                // The limit is that of one parser: others for the same answers take as long again.
                if !parsers.is_empty() {
                    budget.extend(thread_time() - before.0, before.1.elapsed());
                }
                parsers.push(parser);
            }
            let parsers = Parsers::new(parsers);
            let walk = Walk::new(parsers.trie(), Arc::clone(closing), &texts).by_marks(marks);
            let watch = (watch(source), budget);
            Ok(Compiled::new(parsers, unenforced, (walk, named), watch, Arc::clone(strings)))
        };
        let compiled =
            catch_unwind(AssertUnwindSafe(build)).map_err(|e| source::explain(source, &e.to_string()))?;
        if budget.is_spent() {
            let CompilerLimits { compile_time, compile_wall_time, .. } = self.limits;
            return Err(GrammarError::whole(format!(
                "the grammar takes more than {} s of CPU time to compile, or more than {} s in all: simplify it",
                compile_time.as_secs_f32(),
                compile_wall_time.as_secs_f32()
            )));
        }
        let compiled = Arc::new(compiled);
        self.cache().insert(key, &compiled);
        Ok(compiled)
    }

    /// Checks that `schema` is a JSON schema within the limits, whether or not it can be kept.
    ///
    /// # Errors
    /// A keyword is malformed, or the schema takes more than the limits.
    pub fn check_schema(&self, schema: &Value) -> Result<(), GrammarError> {
        self.limits.check_value("schema", schema)?;
        schema::check(schema)
    }

    /// The compiled grammar of answers in `format` with calls; `None` where nothing is constrained. A schema that cannot be
    /// kept counts as the schema of any object, unless the tool is strict.
    ///
    /// # Errors
    /// The schema of a strict tool or the form cannot be kept, or the grammar takes more than the limits.
    pub fn compile_calls(
        &self,
        rules: &CallRules<'_>,
        format: &ReplyFormat,
    ) -> Result<Option<Arc<Compiled>>, GrammarError> {
        let compile = |rules: &CallRules<'_>| {
            rules.grammar(format, &self.tokenizer).map(|source| self.compile(&source)).transpose()
        };
        let compiled = compile(rules);
        match compiled.as_ref().err().and_then(|_| rules.loosened()) {
            Some(tools) => compile(&CallRules { tools: &tools, ..*rules }),
            None => compiled,
        }
    }

    /// `source` as a part of a larger grammar, such as [`CallRules`](crate::CallRules) write.
    ///
    /// # Errors
    /// The source is malformed, cannot be kept, or takes more than the limits.
    pub fn part(&self, source: &GrammarSource) -> Result<GrammarPart, GrammarError> {
        self.limits.check_source(source)?;
        source::part(source, &self.tokenizer)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tables(&self) -> Result<&Tables, GrammarError> {
        let tables = self.tables.get_or_init(|| {
            let build = || {
                let tokens = vocabulary(self.tokenizer.clone());
                let can = InferenceCapabilities { ff_tokens: true, ..InferenceCapabilities::default() };
                let mut factory = ParserFactory::new(&tokens, can, &SlicedBiasComputer::json_slices())?;
                factory.quiet();
                *factory.limits_mut() = self.limits.parser();
                let end = self.tokenizer.end_of_generation().first().copied();
                let closing = Arc::new(ClosingTokens::new(tokens.tok_trie(), end));
                let strings = Arc::new(StringTokens::new(tokens, factory.slicer()));
                Ok(Tables { factory, closing, strings })
            };
            catch_unwind(AssertUnwindSafe(build)).map_err(|e| e.to_string())
        });
        tables.as_ref().map_err(|e| {
            GrammarError::whole(format!(
                "structured output is not possible with this model's vocabulary: {e}"
            ))
        })
    }
}

impl Compiled {
    fn new(
        parsers: Parsers,
        unenforced: Vec<String>,
        (mut walk, named): (Walk, Vec<u32>),
        (watch, budget): (Watch, Budget),
        strings: Arc<StringTokens>,
    ) -> Compiled {
        let mut ending = Vec::new();
        let find = |walk: &Walk, ending: &mut Vec<u32>| {
            parsers.iter().next().is_some_and(|first| walk.ending(first, usize::MAX, Some(budget), ending))
        };
        let mut ends = find(&walk, &mut ending);
        if !ends && !named.is_empty() {
            walk = walk.preferring(named);
            ending.clear();
            ends = find(&walk, &mut ending);
        }
        // An answer without a short ending ends at its limit, whole or not. Where spaces may stand behind separators, an ending
        // may have a token more for each.
        let (shortest, from) = match ends {
            true => (ending.len().max(1), 3 * ending.len() + watch.from),
            false => (1, 0),
        };
        let watch = Watch { from, ..watch };
        Compiled { parsers, unenforced, shortest, walk: Arc::new(walk), watch, strings }
    }

    /// Tokens of a shortest answer that it takes. At the limit an answer is whole without a token that ends it.
    pub fn shortest(&self) -> usize {
        self.shortest
    }

    /// Keywords of the schema that are not enforced, by name and place.
    pub fn unenforced(&self) -> &[String] {
        &self.unenforced
    }

    /// The constraint of one answer of at most `max_tokens` tokens. It ends within them if they are no fewer than
    /// [`shortest`](Self::shortest).
    pub fn constrain(&self, max_tokens: usize) -> Constraint {
        // With caches of its own, so that an answer depends on its request alone and no lock is shared.
        let clone = |parser: &TokenParser| {
            let mut parser = parser.deep_clone();
            parser.bias_computer = Arc::new(StringMasks::new(Arc::clone(&self.strings)));
            parser
        };
        let parsers = Parsers::new(self.parsers.iter().map(clone).collect());
        Constraint::new(parsers, max_tokens, Arc::clone(&self.walk), self.watch)
    }

    /// Bytes that it takes, about.
    fn n_bytes(&self) -> usize {
        self.parsers.iter().map(|parser| (64 << 10) + parser.parser.lexer_stats().num_bytes).sum()
    }
}

/// When endings of the answers to `source` are looked after: no token lengthens them by more than what is asked for at once.
fn watch(source: &GrammarSource) -> Watch {
    let (n, plain_growth) = match source {
        GrammarSource::JsonObject => (0, Some(4)),
        GrammarSource::Choice(_) => (0, None),
        GrammarSource::JsonSchema(schema) => {
            let text = schema.to_string();
            let is_plain = !text.contains("\"pattern") && !text.contains("\"format\"");
            let longest = text.split('"').map(str::len).max().unwrap_or(0);
            ((text.len() / 4).saturating_add(least_length(schema)), is_plain.then_some(4 + longest))
        }
        GrammarSource::StructuralTag(tag) => (tag.to_string().len() / 4, None),
        GrammarSource::Regex(text)
        | GrammarSource::Gbnf(text)
        | GrammarSource::Lark(text)
        | GrammarSource::Calls { lark: text, .. } => (text.len() / 4, None),
    };
    Watch { from: 64 + n.min(2048), plain_growth }
}

/// Sum of the least lengths that a schema asks for, in characters.
fn least_length(schema: &Value) -> usize {
    let sum = |lengths: &mut dyn Iterator<Item = usize>| lengths.fold(0, usize::saturating_add);
    match schema {
        Value::Object(map) => sum(&mut map.iter().map(|(key, value)| match (key.as_str(), value.as_u64()) {
            ("minLength", Some(n)) => n as usize,
            ("minItems" | "minProperties", Some(n)) => (n as usize).saturating_mul(16),
            _ => least_length(value),
        })),
        Value::Array(items) => sum(&mut items.iter().map(least_length)),
        _ => 0,
    }
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("shortest", &self.shortest)
            .field("unenforced", &self.unenforced)
            .finish_non_exhaustive()
    }
}
