//! A model that is ready to answer: vocabulary, weights and engine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use inferno_engine::{Config, Engine, Limits, Request, Sampling};
use inferno_model::batch::PAGE_LEN;
use inferno_model::sample::SampleSpec;
use inferno_text::{ChatRenderer, ChatTemplate, RenderOptions, Tokenizer, template_source};

use crate::answer::{Answer, Stop, stream};
use crate::cli::Answering;
use crate::commands::note;
use crate::interrupt;
use crate::load::{self, Opened};

/// Rows of the prompt per step: enough that reading the weights costs little, few enough that Ctrl-C is answered soon.
const CHUNK: usize = 128;

/// A model with an engine for one sequence at a time, and how answers are made.
pub(crate) struct Session<'a> {
    pub(crate) tokenizer: Tokenizer,
    args: &'a Answering,
    context_len: usize,
    seed: u64,
    engine: Engine,
}

impl<'a> Session<'a> {
    /// Loads the model, while `prepare` does what needs only its file and the vocabulary.
    pub(crate) fn start<T: Send>(
        args: &'a Answering,
        prepare: impl FnOnce(&Opened, &Tokenizer) -> Result<T> + Send,
    ) -> Result<(Session<'a>, T)> {
        let started = Instant::now();
        let opened = load::open(args.model.model.as_deref())?;
        let mut arch = opened.architecture(args.context.map(|n| n as usize))?;
        let target = args.compute.target()?;
        if let Some(most) = target.context_that_fits(&opened, &arch).filter(|&most| most < arch.context_len) {
            let whole = arch.context_len;
            ensure!(
                args.context.is_none(),
                "the GPU has memory for keys and values of {most} positions, not of {whole}: ask for less (`--context`), or \
                 for smaller ones (`--kv q8_0`)"
            );
            note(&format!(
                "the context is {most} positions and not {whole}, as the GPU has no memory for more"
            ));
            arch = opened.architecture(Some(most))?;
        }
        let context_len = arch.context_len;
        let n_pages = context_len.div_ceil(PAGE_LEN);
        // While one thread makes the vocabulary ready, the others load the weights.
        let (text, model) = std::thread::scope(|scope| {
            let text = scope.spawn(|| -> Result<_> {
                let tokenizer = opened.tokenizer()?;
                let prepared = prepare(&opened, &tokenizer)?;
                Ok((tokenizer, prepared))
            });
            let model = opened.model(arch, n_pages, target, None);
            (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), model)
        });
        let ((tokenizer, prepared), model) = (text?, model?);
        let config = Config::new(n_pages);
        let limits = Limits { max_sequences: 1, max_rows: CHUNK, ..config.limits };
        let engine = Engine::start(model, Config { limits, ..config });
        let loaded = started.elapsed();
        let seed = args.sampling.seed.unwrap_or_else(|| RandomState::new().build_hasher().finish());
        interrupt::listen()?;
        if args.verbose {
            note(&format!("seed {seed}, loaded in {:.2} s", loaded.as_secs_f64()));
        }
        Ok((Session { tokenizer, args, context_len, seed, engine }, prepared))
    }

    /// Refuses a prompt that is empty or leaves no room for an answer; `what` is what the message calls it.
    pub(crate) fn check(&self, what: &str, prompt: &[u32]) -> Result<()> {
        ensure!(
            !prompt.is_empty(),
            "{what} has no tokens: the vocabulary or the chat template leaves nothing of it"
        );
        ensure!(
            prompt.len() < self.context_len,
            "{what} has {} tokens and the context {} positions: it must leave room for an answer",
            prompt.len(),
            self.context_len
        );
        Ok(())
    }

    /// Streams the answer to a prompt that [`check`](Self::check) has passed. Its seed is the session's and `n_before`, the
    /// number of answers before it.
    pub(crate) fn answer(&self, prompt: Vec<u32>, n_before: u64) -> Result<Answer> {
        let room = self.context_len - prompt.len();
        let (max_tokens, limit) = match self.args.max_tokens {
            Some(n) if n as usize <= room => (n as usize, Stop::MaxTokens),
            _ => (room, Stop::ContextFull),
        };
        let sampling = &self.args.sampling;
        let spec = SampleSpec {
            top_k: sampling.top_k as usize,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            temperature: sampling.temperature,
            seed: self.seed.wrapping_add(n_before),
            choice_idx: 0,
        };
        let eos_tokens = self.tokenizer.end_of_generation().to_vec();
        let request = Request {
            sampling: Sampling { spec, eos_tokens, ..Sampling::default() },
            hash_logits: self.args.verbose,
            ..Request::new(prompt, max_tokens)
        };
        let answer = stream(&self.engine.handle(), request, &self.tokenizer, limit)?;
        if answer.stop == Stop::ContextFull {
            note(&format!("stopped: the context of {} positions is full", self.context_len));
        }
        if self.args.verbose {
            let hash =
                answer.usage.logits_hash.map_or(String::new(), |hash| format!(", logits hash {hash:016x}"));
            note(&format!("stopped: {}{hash}", answer.stop));
        }
        Ok(answer)
    }
}

/// The chat template of a file.
///
/// # Errors
/// It has none, or none that can be used.
pub(crate) fn template(opened: &Opened, tokenizer: &Tokenizer) -> Result<Arc<dyn ChatRenderer>> {
    file_template(opened, tokenizer)?.with_context(|| {
        format!("`{}` has no chat template, `inferno run --raw` continues text without", opened.name)
    })
}

/// The chat template of a file, if it has one.
///
/// # Errors
/// It does not parse.
pub(crate) fn file_template(opened: &Opened, tokenizer: &Tokenizer) -> Result<Option<Arc<dyn ChatRenderer>>> {
    let context = || format!("cannot use the chat template of `{}`", opened.name);
    let Some(source) = template_source(opened.file.metadata()).with_context(context)? else {
        return Ok(None);
    };
    let tokens = Arc::new(tokenizer.template_tokens());
    Ok(Some(Arc::new(ChatTemplate::new(source, tokens).with_context(context)?)))
}

/// A conversation as the prompt of the next answer.
pub(crate) fn render(
    template: &dyn ChatRenderer,
    tokenizer: &Tokenizer,
    messages: &[serde_json::Value],
) -> Result<Vec<u32>> {
    let n_bytes: usize = messages.iter().filter_map(|m| m["content"].as_str()).map(str::len).sum();
    // Room for any prompt that is read: whether it fits the context is said in tokens.
    let options = RenderOptions { max_bytes: 4 * n_bytes + (4 << 20), ..RenderOptions::default() };
    let rendered =
        template.render(messages, &options).context("the chat template does not take this prompt")?;
    Ok(tokenizer.encode_rendered(&rendered))
}
