//! The grammar of a request: compiled on the threads that read large requests, and the limits that go with it.

use std::sync::Arc;

use inferno_grammar::{
    CallChoice, CallRules, Compiled, Compiler, CompilerLimits, GrammarError, GrammarSource, Tool,
};
use inferno_text::ReplyFormat;

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
    // An answer that must be a call has no text to which a form could apply.
    let structure = structure.filter(|_| tools.as_ref().is_none_or(|tools| tools.choice == CallChoice::Auto));
    let Some(param) = structure.as_ref().map(|s| s.param.as_str()).or(tools.as_ref().map(|_| "tools")) else {
        return Ok(None);
    };
    check_ends(param, options)?;
    let (compiler, tokenizer) = (Arc::clone(&app.compiler), Arc::clone(&app.text.tokenizer));
    let format = Arc::clone(&app.replies.format);
    let work = move || {
        let compiler =
            compiler.get_or_init(|| Compiler::new(Arc::clone(&tokenizer), CompilerLimits::default()));
        tools.iter().try_for_each(|tools| check_schemas(compiler, tools))?;
        let asked = Asked { structure, tools };
        asked.compile(compiler, &format)
    };
    reading.compile(app, work).await
}

/// A form of the answer, and the tools that it may call. There is one of them at least.
struct Asked {
    structure: Option<Structure>,
    tools: Option<Tools>,
}

impl Asked {
    /// The grammar of calls where there are tools, with the form of an answer without them; else the form.
    fn compile(&self, compiler: &Compiler, format: &ReplyFormat) -> Result<Option<Arc<Compiled>>, ApiError> {
        let Some(tools) = &self.tools else {
            let source = self.structure.as_ref().map(|structure| &structure.source);
            return source
                .map(|source| compiler.compile(source))
                .transpose()
                .map_err(|e| self.refused(compiler, &e));
        };
        let part =
            |structure: &Structure| compiler.part(&structure.source).map_err(|e| structure.refused(&e));
        let form = self.structure.as_ref().map(part).transpose()?;
        // Reasoning that the prompt has opened ends before the grammar begins: see `Reasoned`.
        let rules = CallRules {
            tools: &tools.callable,
            choice: tools.choice,
            parallel: tools.parallel,
            form: form.as_ref(),
        };
        compiler.compile_calls(&rules, format).map_err(|e| self.refused(compiler, &e))
    }

    /// The error for a grammar that cannot be kept, with the part that is to blame.
    fn refused(&self, compiler: &Compiler, error: &GrammarError) -> ApiError {
        let own = |tool: &Tool| {
            let schema = GrammarSource::JsonSchema(tool.parameters.clone());
            compiler.compile(&schema).err()
        };
        let Some(tools) = &self.tools else {
            return match &self.structure {
                Some(structure) => structure.refused(error),
                None => not_kept("response_format", error),
            };
        };
        if let Some(structure) = &self.structure
            && let Err(error) = compiler.compile(&structure.source)
        {
            return structure.refused(&error);
        }
        let found = tools.callable.iter().find_map(|tool| Some((tools.parameters_of(tool), own(tool)?)));
        match found {
            Some((param, error)) => not_kept(&param, &error),
            None => not_kept("tools", error),
        }
    }
}

impl Structure {
    fn refused(&self, error: &GrammarError) -> ApiError {
        not_kept(&self.param, error)
    }
}

fn not_kept(param: &str, error: &GrammarError) -> ApiError {
    ApiError::invalid(param, format!("`{param}` cannot be kept: {error}"))
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

/// Checks that the parameters of all functions are schemas.
///
/// # Errors
/// 400 with the index of the tool and the place in its schema.
fn check_schemas(compiler: &Compiler, tools: &Tools) -> Result<(), ApiError> {
    for tool in &tools.callable {
        if let Err(error) = compiler.check_schema(&tool.parameters) {
            let param = tools.parameters_of(tool);
            let message = format!("`{param}` is not a supported JSON schema: {error}");
            return Err(ApiError::invalid(param, message));
        }
    }
    Ok(())
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
