//! Tools, reasoning and the form of answers, as the flags of `run` and `chat` ask for them.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, anyhow, bail, ensure};
use inferno_engine::Grammar;
use inferno_grammar::{
    CallChoice, CallRules, Compiled, Compiler, CompilerLimits, GrammarSource, Reasoned, ReasoningCase,
    ReasoningRules, Tool,
};
use inferno_server::{for_template, read_tools};
use inferno_text::{
    ChatRenderer, ControlTokens, RenderOptions, ReplyFormat, ReplyStart, TemplateProfile, Tokenizer,
};
use serde_json::{Map, Value};

use crate::cli::Answering;
use crate::prompt::read_file;

/// Tokens of a prompt's end in which marks of reasoning are looked for.
const TAIL: usize = 64;

/// Form of prompts and answers.
#[derive(Debug, Default)]
pub(crate) struct Form {
    /// The tools as templates show them.
    shown: Vec<Value>,
    tools: Vec<Tool>,
    /// The form of answers, without the calls of tools.
    source: Option<GrammarSource>,
    thinks: Option<bool>,
    budget: Option<usize>,
    /// `None` without a chat template.
    format: Option<ReplyFormat>,
    /// Whether the template knows of the model's marks of reasoning.
    knows_reasoning: bool,
    /// Kept from answer to answer: it reads the vocabulary once.
    compiler: OnceLock<Compiler>,
}

impl Form {
    /// Reads what the flags name, for chats of a template and its source.
    ///
    /// # Errors
    /// A file cannot be read, or what it holds is malformed.
    pub(crate) fn new(
        args: &Answering,
        template: Option<&TemplateProfile>,
        source: Option<&str>,
    ) -> Result<Form> {
        let (shown, tools) = match &args.tools {
            None => (Vec::new(), Vec::new()),
            Some(file) => tools(file)?,
        };
        let format = template.map(|profile| profile.reply.clone());
        let end = format.as_ref().and_then(|format| format.reasoning.as_ref()).map(|marks| marks.end.trim());
        let knows_reasoning = end.zip(source).is_some_and(|(end, source)| source.contains(end));
        let mut budget = args.reasoning.budget();
        let thinks = args.reasoning.thinks();
        // A model whose template has no switch is made to end its reasoning at once.
        let has_switch = format.as_ref().is_some_and(|format| !format.thinking_variables.is_empty());
        if thinks == Some(false) && !has_switch {
            budget = Some(0);
        }
        Ok(Form {
            shown,
            tools,
            source: answer(args)?,
            thinks,
            budget,
            format,
            knows_reasoning,
            compiler: OnceLock::new(),
        })
    }

    /// A conversation as the prompt of the next answer.
    ///
    /// # Errors
    /// The template does not take it.
    pub(crate) fn render(
        &self,
        template: &dyn ChatRenderer,
        tokenizer: &Tokenizer,
        messages: &[Value],
    ) -> Result<Vec<u32>> {
        let profile = template.profile();
        let n_bytes: usize = messages.iter().filter_map(|m| m["content"].as_str()).map(str::len).sum();
        let tools = (!self.shown.is_empty()).then_some(&self.shown[..]);
        let messages: Vec<_> = messages.iter().map(|message| in_form(message.clone(), profile)).collect();
        let mut extra = Map::new();
        for name in profile.reply.thinking_variables.iter().map(String::as_str).chain(["enable_thinking"]) {
            extra.extend(self.thinks.map(|thinks| (name.to_owned(), thinks.into())));
        }
        // Room for any prompt that is read: whether it fits the context is said in tokens.
        let options = RenderOptions {
            max_bytes: 4 * n_bytes + (4 << 20),
            tools: tools.filter(|_| !profile.reply.needs_system_text).map(|tools| tools.to_vec().into()),
            extra,
            ..RenderOptions::default()
        };
        let rendered = template
            .render(&for_template(&messages, tools, profile), &options)
            .context("the chat template does not take this prompt")?;
        Ok(tokenizer.encode_rendered(&rendered))
    }

    /// Format of answers; `None` without a chat template.
    pub(crate) fn format(&self) -> Option<&ReplyFormat> {
        self.format.as_ref()
    }

    /// Whether answers are prose, and not in a form that was asked for.
    pub(crate) fn is_prose(&self) -> bool {
        self.source.is_none()
    }

    /// A form of the same template for answers in prose, without tools and reasoning.
    pub(crate) fn plain(&self) -> Form {
        let has_switch = self.format.as_ref().is_some_and(|format| !format.thinking_variables.is_empty());
        Form {
            thinks: Some(false),
            budget: (!has_switch).then_some(0),
            format: self.format.clone(),
            knows_reasoning: self.knows_reasoning,
            ..Form::default()
        }
    }

    /// Circumstances of the answer to `prompt`.
    pub(crate) fn start(&self, tokenizer: &Tokenizer, prompt: &[u32]) -> ReplyStart {
        let mut decoder = tokenizer.detokenizer(ControlTokens::Shown);
        let mut tail = String::new();
        for &token in &prompt[prompt.len().saturating_sub(TAIL)..] {
            // Tokens of a prompt are those of the vocabulary.
            let _ = decoder.push_to(token, &mut tail);
        }
        ReplyStart {
            in_reasoning: self.format.as_ref().is_some_and(|format| format.opens_reasoning(&tail)),
            splits_reasoning: true,
            tools: self.tools.iter().map(|tool| (tool.name.clone(), tool.parameters.clone())).collect(),
        }
    }

    /// The grammar of answers; `None` where any text may come.
    fn compile(&self, tokenizer: &Arc<Tokenizer>) -> Result<Option<Arc<Compiled>>> {
        let format = self.format.as_ref().filter(|_| !self.tools.is_empty());
        if self.source.is_none() && format.is_none() {
            return Ok(None);
        }
        let new = || Compiler::new(Arc::clone(tokenizer), CompilerLimits::default());
        let compiler = self.compiler.get_or_init(new);
        for tool in &self.tools {
            let wrong = || format!("the parameters of `{}` are not a supported JSON schema", tool.name);
            compiler.check_schema(&tool.parameters).with_context(wrong)?;
        }
        let not_kept = "the form of the answer cannot be kept";
        let Some(format) = format else {
            return self.source.as_ref().map(|s| compiler.compile(s)).transpose().context(not_kept);
        };
        let form = self.source.as_ref().map(|source| compiler.part(source)).transpose().context(not_kept)?;
        let (tools, choice) = (&self.tools, CallChoice::Auto);
        let rules = CallRules { tools, choice, parallel: true, form: form.as_ref() };
        compiler.compile_calls(&rules, format).context(not_kept)
    }

    /// The constraint of an answer of at most `max_tokens` tokens that begins as `start` says; `None` where any tokens may
    /// come.
    ///
    /// # Errors
    /// The form cannot be kept, or no answer of it fits.
    pub(crate) fn constrain(
        &self,
        tokenizer: &Arc<Tokenizer>,
        start: &ReplyStart,
        max_tokens: usize,
    ) -> Result<Option<Box<dyn Grammar>>> {
        let compiled = self.compile(tokenizer)?;
        let case = ReasoningCase {
            in_reasoning: start.in_reasoning,
            can_open: self.knows_reasoning,
            is_enabled: self.thinks,
            budget: self.budget,
            has_grammar: compiled.is_some(),
        };
        let marks = self.format.as_ref().and_then(|format| format.reasoning.as_ref());
        let marks = marks.filter(|_| case.needs_rules());
        let Some(marks) = marks else {
            let Some(compiled) = compiled else { return Ok(None) };
            check_fits(compiled.shortest(), max_tokens)?;
            return Ok(Some(Box::new(compiled.constrain(max_tokens))));
        };
        let rules = ReasoningRules::new(Arc::clone(tokenizer), marks, start.in_reasoning, self.budget);
        if let Some(compiled) = &compiled {
            check_fits(rules.shortest(compiled), max_tokens)?;
        }
        Ok(Some(Box::new(Reasoned::new(Arc::new(rules), compiled, max_tokens))))
    }
}

fn check_fits(shortest: usize, max_tokens: usize) -> Result<()> {
    ensure!(
        shortest <= max_tokens,
        "there is room for {max_tokens} tokens, and the shortest answer of the form has {shortest}: raise `--max-tokens`"
    );
    Ok(())
}

/// A message with its content in the form that the template takes.
fn in_form(mut message: Value, profile: &TemplateProfile) -> Value {
    let form = profile.content(message["role"].as_str().unwrap_or_default());
    if let Some(text) = message["content"].as_str() {
        message["content"] = form.of_text(text.to_owned());
    }
    message
}

/// The tools of a file: an array of them as in a request, or an object with such an array.
fn tools(file: &Path) -> Result<(Vec<Value>, Vec<Tool>)> {
    let wrong = || format!("`{}` (`--tools`)", file.display());
    let value: Value = serde_json::from_str(&read_file(file)?).with_context(wrong)?;
    let tools = match value {
        Value::Object(mut members) if members.contains_key("tools") => {
            members.remove("tools").unwrap_or_default()
        }
        Value::Object(one) => Value::Array(vec![Value::Object(one)]),
        other => other,
    };
    read_tools(tools).map_err(|reason| anyhow!("{}: {reason}", wrong()))
}

/// The form that answers must have.
fn answer(args: &Answering) -> Result<Option<GrammarSource>> {
    if let Some(schema) = &args.json_schema {
        let text = text_or_file(schema)?;
        let schema: Value = serde_json::from_str(&text).context("`--json-schema` is not JSON")?;
        if !(schema.is_object() || schema.is_boolean()) {
            bail!("`--json-schema` is not a JSON schema, expected an object");
        }
        return Ok(Some(GrammarSource::JsonSchema(schema)));
    }
    args.grammar.as_ref().map(|grammar| text_or_file(grammar).map(GrammarSource::Gbnf)).transpose()
}

/// A text that was given as it is, or the text of the file that it names.
fn text_or_file(text: &str) -> Result<String> {
    let is_text = text.contains(['{', '\n', '"']) || text == "true";
    if is_text { Ok(text.to_owned()) } else { read_file(Path::new(text)) }
}
