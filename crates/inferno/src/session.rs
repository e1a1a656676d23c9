//! A model that is ready to answer: vocabulary, weights and engine.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use inferno_engine::{Breakers, Config, Engine, Limits, Request, Sampling, Usage};
use inferno_model::sample::SampleSpec;
use inferno_reply::{CallSeed, ReplyRules, TextRules, mark_tokens};
use inferno_server::Defaults;
use inferno_text::{ChatRenderer, ControlTokens, ReplyStart, StopStrings, StopText, Tokenizer};

use crate::answer::{Answer, Ending, Stop, Thinking, View, stream};
use crate::cli::{Answering, ModelFile, Seed};
use crate::commands::{MAX_PROMPT_BYTES, note};
use crate::draft::{self, Draft};
use crate::form::Form;
use crate::hub::CtrlC;
use crate::kv_memory::pages_for_one;
use crate::load::{self, Opened};
use crate::sampling::FromFile;
use crate::terminal::Loading;
use crate::{interrupt, template};

/// Rows of the prompt per step: enough that reading the weights costs little, few enough that Ctrl-C is answered soon.
const CHUNK: usize = 128;

/// A model with an engine for one sequence at a time, and how answers are made.
pub(crate) struct Session<'a> {
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) context_len: usize,
    /// Of the first answer.
    pub(crate) seed: u64,
    pub(crate) sampling: Defaults,
    /// `None`: as many as there is room for.
    pub(crate) max_tokens: Option<usize>,
    /// Name of the model in messages.
    pub(crate) model: String,
    /// The model on one line: type, context, device.
    pub(crate) summary: String,
    pub(crate) load_time: Duration,
    args: &'a Answering,
    stops: Arc<[String]>,
    engine: Engine,
}

impl<'a> Session<'a> {
    /// Loads the model of `args`, while `prepare` does what needs only its file and the vocabulary.
    pub(crate) fn start<T: Send>(
        args: &'a Answering,
        prepare: impl FnOnce(&Opened, &Tokenizer) -> Result<T> + Send,
    ) -> Result<(Session<'a>, T)> {
        let session = Session::open(args, args.model.model.as_deref(), prepare);
        interrupt::catch();
        session
    }

    /// As [`start`](Session::start), with another model. Ctrl-C stops loading where [`interrupt::catch_all`] is in effect.
    pub(crate) fn open<T: Send>(
        args: &'a Answering,
        model: Option<&Path>,
        prepare: impl FnOnce(&Opened, &Tokenizer) -> Result<T> + Send,
    ) -> Result<(Session<'a>, T)> {
        interrupt::install()?;
        let started = Instant::now();
        let max_tokens = args.max_tokens();
        if let Some(max_tokens) = max_tokens {
            let min_tokens = args.min_tokens as usize;
            ensure!(
                min_tokens <= max_tokens,
                "`--min-tokens {min_tokens}` is more than `--max-tokens {max_tokens}`"
            );
        }
        let model = ModelFile { model: model.map(Path::to_owned), ..args.model.clone() };
        let mut opened = load::open(&model)?;
        args.overrides.apply(&mut opened.file, args.context())?;
        let mut arch = opened.architecture(args.context().map(|n| n as usize))?;
        let target = args.compute.target()?;
        if let Some(most) =
            target.context_that_fits(&opened, &arch, CHUNK).filter(|&most| most < arch.context_len)
        {
            let whole = arch.context_len;
            ensure!(
                args.context().is_none(),
                "the GPU has memory for keys and values of {most} positions, not of {whole}: ask for less (`--context`), or \
                 for smaller ones (`--kv q8_0`)"
            );
            note(&format!(
                "the context is {most} positions and not {whole}, as the GPU has no memory for more"
            ));
            arch = opened.architecture(Some(most))?;
        }
        let draft = Draft::open(&args.draft, &args.model, &args.compute, CtrlC::Stops, (&opened, &mut arch))?;
        let context_len = arch.context_len;
        let (n_pages, max_snapshots) = pages_for_one(&arch, target.kv_type(&opened), CHUNK);
        let runs_on = target.runs_on(&opened);
        let summary = format!("{}, {runs_on}", opened.summary(&arch));
        let progress = opened.file.progress();
        let loading = Loading::start(&opened.name, opened.tensor_bytes(&arch), progress);
        // While one thread makes the vocabulary ready, the others load the weights.
        let (text, model) = std::thread::scope(|scope| {
            let text = scope.spawn(|| -> Result<_> {
                let tokenizer = opened.tokenizer()?;
                let prepared = prepare(&opened, &tokenizer)?;
                Ok((tokenizer, prepared))
            });
            let model = opened.model(arch, n_pages.clone(), target, None);
            let model = model.and_then(|model| draft::beside(draft, model, &n_pages));
            (text.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), model)
        });
        let ((tokenizer, prepared), model) = (text?, model?);
        loading.end(&summary);
        if let Some(warning) = opened.pre_tokenizer_warning(&tokenizer) {
            note(&format!("warning: {warning}"));
        }
        let config = Config::new(n_pages);
        let draft_tokens = args.draft.draft_tokens.map(usize::from);
        let limits =
            Limits { max_sequences: 1, max_rows: CHUNK, max_snapshots, draft_tokens, ..config.limits };
        let engine =
            Engine::start(model, Config { limits, n_mask_threads: runs_on.n_mask_threads(), ..config });
        let load_time = started.elapsed();
        let seed = match args.seed {
            Some(Seed::Of(seed)) => seed,
            None | Some(Seed::Any) => any_seed(),
        };
        if args.verbose {
            note(&format!("seed {seed}, loaded in {:.2} s", load_time.as_secs_f64()));
        }
        let session = Session {
            tokenizer: Arc::new(tokenizer),
            context_len,
            seed,
            sampling: sampling(args, &opened),
            max_tokens,
            model: opened.name,
            summary,
            load_time,
            args,
            stops: args.stop.clone().into(),
            engine,
        };
        Ok((session, prepared))
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

    /// Says that `--max-tokens` is more than can be generated behind a prompt of `n_prompt` tokens.
    pub(crate) fn note_excess(&self, n_prompt: usize) {
        let room = self.context_len.saturating_sub(n_prompt);
        if let Some(n) = self.max_tokens.filter(|&n| n > room) {
            let whole = self.context_len;
            note(&format!(
                "`--max-tokens {n}` is more than fits: {room} of the context's {whole} positions are left"
            ));
        }
    }

    /// Makes the answer to a prompt that [`check`](Self::check) has passed, and streams it to stdout as `thinking` says; `None`
    /// prints nothing. Its seed is the session's and `n_before`, the number of answers before it. It has the form of `form`.
    pub(crate) fn answer(
        &self,
        prompt: Vec<u32>,
        n_before: u64,
        thinking: Option<Thinking>,
        form: &Form,
    ) -> Result<Answer> {
        let room = self.context_len - prompt.len();
        let (max_tokens, limit) = match self.max_tokens {
            Some(n) if n <= room => (n, Stop::MaxTokens),
            _ => (room, Stop::ContextFull),
        };
        let all = &self.sampling;
        let spec = SampleSpec {
            top_k: all.top_k,
            top_p: all.top_p,
            min_p: all.min_p,
            temperature: all.temperature,
            seed: self.seed.wrapping_add(n_before),
            choice_idx: 0,
        };
        let mut sampling = Sampling {
            spec,
            repeat_penalty: all.repeat_penalty,
            repeat_last_n: all.repeat_last_n,
            presence_penalty: all.presence_penalty,
            frequency_penalty: all.frequency_penalty,
            min_tokens: (self.args.min_tokens as usize).min(max_tokens),
            eos_tokens: self.tokenizer.end_of_generation().to_vec(),
            banned: self.tokenizer.suppressed().to_vec(),
            ..Sampling::default()
        };
        let breakers = match all.samplers.has_dry() {
            true => {
                Breakers::new(all.dry_sequence_breakers.iter().flat_map(|text| self.tokenizer.overlaps(text)))
            }
            false => Breakers::default(),
        };
        all.samplers.add_to(&mut sampling, Arc::new(breakers));
        let start = form.start(&self.tokenizer, &prompt);
        let grammars = form.constrain(&self.tokenizer, &start, max_tokens)?.into_iter().collect();
        let request = Request {
            sampling,
            grammars,
            hash_logits: self.args.verbose,
            ..Request::new(prompt, max_tokens)
        };
        let view = thinking.map(|thinking| View { thinking, is_prose: form.is_prose() });
        let rules = self.reply_rules(&request, form, start);
        let answer = stream(&self.engine.handle(), request, &rules, Ending { limit, view })?;
        if answer.stop == Stop::ContextFull {
            note(&format!("stopped: the context of {} positions is full", self.context_len));
        }
        if self.args.verbose {
            let Usage { n_drafted, n_accepted, saved_by_drafts, .. } = answer.usage;
            if n_drafted > 0 {
                let saved = saved_by_drafts as f64 / 1e3;
                note(&format!(
                    "drafts: {n_accepted} of {n_drafted} tokens accepted, about {saved:.0} ms saved"
                ));
            }
            let hash =
                answer.usage.logits_hash.map_or(String::new(), |hash| format!(", logits hash {hash:016x}"));
            note(&format!("stopped: {}{hash}", answer.stop));
        }
        Ok(answer)
    }

    /// The rules by which the tokens of an answer become parts.
    fn reply_rules(&self, request: &Request, form: &Form, start: ReplyStart) -> ReplyRules {
        let tokenizer = &self.tokenizer;
        let format = form.format();
        ReplyRules {
            text: TextRules {
                tokenizer: Arc::clone(tokenizer),
                control: match format {
                    Some(format) => ControlTokens::Only(mark_tokens(format, tokenizer)),
                    None => ControlTokens::Hidden,
                },
                stops: StopStrings::new(Arc::clone(&self.stops), StopText::Dropped),
                min_tokens: request.sampling.min_tokens,
                silent: tokenizer.end_of_generation().into(),
            },
            stop_strings: Arc::clone(&self.stops),
            ends: request.sampling.eos_tokens.as_slice().into(),
            format: format.map(|format| Arc::new(format.clone())),
            start,
            call_seed: CallSeed(request.sampling.spec.seed),
        }
    }
}

/// A seed that is another one every time.
pub(crate) fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Resolves the sampling parameters. Values taken from the file are printed on a terminal, and with `--verbose`.
fn sampling(args: &Answering, opened: &Opened) -> Defaults {
    let flags = args.sampling.wishes();
    if args.sampling.no_model_defaults {
        return flags.resolve();
    }
    let FromFile { wishes, warnings } = FromFile::read(opened.file.metadata());
    warnings.iter().for_each(|warning| note(&format!("warning: {warning}")));
    let taken = wishes.without(&flags).describe();
    if !taken.is_empty() && (args.verbose || std::io::stderr().is_terminal()) {
        note(&format!("sampling defaults of the model: {taken}"));
    }
    flags.or(&wishes).resolve()
}

/// The chat template for a conversation of what is read from stdin.
///
/// # Errors
/// There is none, or none that can be used.
pub(crate) fn template(
    args: &Answering,
    opened: &Opened,
    tokenizer: &Tokenizer,
) -> Result<Arc<dyn ChatRenderer>> {
    template::find(args.chat_template.as_ref(), opened, tokenizer, MAX_PROMPT_BYTES as usize)?.wanted()
}
