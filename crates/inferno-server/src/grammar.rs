//! The grammar of a request: compiled on the threads that read large requests, and the limits that go with it.

use std::sync::Arc;

use inferno_grammar::{
    CallChoice, CallRules, Compiled, Compiler, CompilerLimits, GrammarError, GrammarSource, Tool,
};
use inferno_text::{ReplyFormat, Tokenizer};

use crate::app::App;
use crate::body::Reading;
use crate::chat::Tools;
use crate::error::ApiError;
use crate::options::Options;
use crate::structure::Structure;

/// Compiles what `structure` and `tools` ask for; `None` where an answer may have any form.
///
/// # Errors
/// 400: a schema or grammar cannot be kept, or it contradicts the other options. The error names the field and the place in
/// the schema.
pub(crate) async fn compile(
    app: &Arc<App>,
    reading: &Reading,
    structure: Option<Structure>,
    tools: Option<&Tools>,
    options: &Options,
) -> Result<Option<Arc<Compiled>>, ApiError> {
    let tools = tools.filter(|tools| !tools.callable.is_empty()).cloned();
    check_alone(structure.as_ref(), tools.as_ref())?;
    let Some(param) = tools.as_ref().map(|_| "tools").or(structure.as_ref().map(|s| s.param.as_str())) else {
        return Ok(None);
    };
    check_ends(param, options)?;
    let (compiler, tokenizer) = (Arc::clone(&app.compiler), Arc::clone(&app.text.tokenizer));
    let format = Arc::clone(&app.replies.format);
    let work = move || {
        let compiler =
            compiler.get_or_init(|| Compiler::new(Arc::clone(&tokenizer), CompilerLimits::default()));
        let Some(asked) = asked(structure, tools, &format, &tokenizer) else { return Ok(None) };
        compiler.compile(&asked.0.source).map(Some).map_err(|error| refused(compiler, &asked, &error))
    };
    reading.compile(app, work).await
}

/// A structure, and the tools that it is made of.
type Asked = (Structure, Option<Tools>);

/// The grammar of calls where there are tools, else the structure.
fn asked(
    structure: Option<Structure>,
    tools: Option<Tools>,
    format: &ReplyFormat,
    tokenizer: &Tokenizer,
) -> Option<Asked> {
    let Some(tools) = tools else { return Some((structure?, None)) };
    // Reasoning that the prompt has opened ends before the grammar begins: see `Reasoned`.
    let rules = CallRules {
        tools: &tools.callable,
        choice: tools.choice,
        parallel: tools.parallel,
        in_reasoning: false,
    };
    let source = rules.grammar(format, tokenizer)?;
    Some((Structure { source, param: "tools".into() }, Some(tools)))
}

/// An answer that must be a call has no text to which a form could apply; one that may be a call is of one form or the other.
fn check_alone(structure: Option<&Structure>, tools: Option<&Tools>) -> Result<(), ApiError> {
    match (structure, tools) {
        (Some(Structure { param, .. }), Some(tools)) if tools.choice == CallChoice::Auto => {
            let message = format!(
                "`{param}` and `tools` are both there: set `tool_choice` to \"none\" for an answer of that form, or to \
                 \"required\" for a call"
            );
            Err(ApiError::invalid(param.clone(), message))
        }
        _ => Ok(()),
    }
}

/// A grammar says where an answer ends, and which tokens may come.
fn check_ends(param: &str, options: &Options) -> Result<(), ApiError> {
    let sampling = &options.sampling;
    if sampling.allowed.is_some() {
        let message = format!(
            "`allowed_token_ids` is there beside `{param}`, which says which tokens may come: expected one of them"
        );
        return Err(ApiError::invalid("allowed_token_ids", message));
    }
    let (name, value) = match (sampling.ignore_eos, sampling.min_tokens) {
        (true, _) => ("ignore_eos", "true".to_owned()),
        (_, n @ 1..) => ("min_tokens", n.to_string()),
        _ => return Ok(()),
    };
    let message = format!(
        "`{name}` is {value} beside `{param}`, which says where the answer ends: expected one of them"
    );
    Err(ApiError::invalid(name, message))
}

/// The error for a grammar that cannot be kept, with the tool whose schema is to blame.
fn refused(compiler: &Compiler, (structure, tools): &Asked, error: &GrammarError) -> ApiError {
    let own = |tool: &Tool| {
        let schema = GrammarSource::JsonSchema(tool.parameters.clone());
        Some((tool.name.clone(), compiler.compile(&schema).err()?))
    };
    let found = tools.as_ref().and_then(|tools| {
        let (name, error) = tools.callable.iter().find_map(own)?;
        let i = tools.shown.iter().position(|shown| shown["function"]["name"] == name.as_str())?;
        Some((format!("tools[{i}].function.parameters"), error))
    });
    let (param, error) = match &found {
        Some((param, error)) => (param.clone(), error),
        None => (structure.param.clone(), error),
    };
    let message = format!("`{param}` cannot be kept: {error}");
    ApiError::invalid(param, message)
}

/// Checks that an answer of the grammar fits into `max_tokens`.
///
/// # Errors
/// 400 with the number of tokens that it needs.
pub(crate) fn check_fits(n_shortest: usize, max_tokens: usize, asked: Option<usize>) -> Result<(), ApiError> {
    if max_tokens >= n_shortest {
        return Ok(());
    }
    let message = match asked {
        Some(_) => format!(
            "`max_tokens` is {max_tokens} and the shortest answer of the form has {n_shortest} tokens, expected {n_shortest} or more"
        ),
        None => format!(
            "the context leaves {max_tokens} tokens for an answer, and the shortest one of the form has {n_shortest}: \
             shorten the prompt"
        ),
    };
    Err(ApiError::invalid("max_tokens", message))
}
