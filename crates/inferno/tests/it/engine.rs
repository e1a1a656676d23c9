//! The engine on real models: what a request gets does not depend on who else is there.

mod long;

use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use inferno_cpu::{Cpu, Isa};
use inferno_engine::{Breakers, Distribution, Grammar, Logprobs, Samplers, Sampling};
use inferno_engine::{Config, Engine, Event, Finish, Limits, Metrics, Request};
use inferno_format::{Gguf, Value};
use inferno_grammar::{Compiled, Compiler, CompilerLimits, GrammarSource};
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;
use inferno_model::conformance::latent_layers;
use inferno_model::drafted::{Drafted, group_of};
use inferno_model::error::LoadError;
use inferno_model::model::{KvRoom, Model};
use inferno_model::revived::Revived;
use inferno_model::sample::{Mirostat, MirostatVersion, SampleSpec};
use inferno_model::transformer::Transformer;
use inferno_text::Tokenizer;
use inferno_wgpu::{Choice, Gpu, Wgpu};
use serde_json::json;
use xtask::testing::{Random, data, root, skip, testdata};

use crate::synth::synth;

const N_REQUESTS: usize = 64;
/// On what may be a processor that acts as a GPU.
const N_REQUESTS_ON_GPU: usize = 12;
const N_THREADS: NonZero<usize> = NonZero::new(2).unwrap();

/// A completion: tokens, and every log-probability that was told, as bits.
#[derive(Debug, Default, PartialEq)]
struct Completion {
    tokens: Vec<u32>,
    logprobs: Vec<u32>,
}

struct Case {
    file: Gguf,
    context_len: usize,
    vocab_size: usize,
    is_on_gpu: bool,
    n_groups: usize,
    draft: Draft,
    /// The draft model says something else.
    is_other_draft: bool,
    /// Forms of the answers to some of the requests; none where the file has no vocabulary.
    forms: Vec<Arc<Compiled>>,
}

/// The source of a model's drafts.
#[derive(Clone, Copy, PartialEq)]
enum Draft {
    Text,
    /// A golden model.
    Model(&'static str),
    /// The draft layer in its file.
    OwnLayer,
}

impl Case {
    fn new(file: Gguf, is_on_gpu: bool) -> Case {
        let arch = Architecture::read(&file, None).unwrap();
        let n_groups = arch.cache_groups.len();
        let (context_len, vocab_size) = (arch.context_len, arch.vocab_size);
        let (draft, is_other_draft, forms) = (Draft::Text, false, Vec::new());
        Case { context_len, vocab_size, file, is_on_gpu, n_groups, draft, is_other_draft, forms }
    }

    /// With tokens proposed by a model or a layer.
    fn with_draft(self, draft: Draft) -> Case {
        Case { draft, ..self }
    }

    /// With answers of which a quarter have a form.
    fn with_forms(self) -> Case {
        let tokenizer = Tokenizer::from_metadata(self.file.metadata()).unwrap();
        let compiler = Compiler::new(Arc::new(tokenizer), CompilerLimits::default());
        let schema = json!({
            "type": "object",
            "properties": {
                "kind_of_answer": { "enum": ["a short one", "a long one"] },
                "numbers": { "type": "array", "items": { "type": "integer" }, "maxItems": 3 },
                "is_certain": { "type": "boolean" },
                "remark": { "type": "string" },
            },
            "required": ["kind_of_answer", "numbers", "is_certain"],
            "additionalProperties": false,
        });
        let sources = [
            GrammarSource::JsonSchema(schema),
            GrammarSource::JsonObject,
            GrammarSource::Regex("([a-z]+ ){2,}and so on\\.".into()),
            GrammarSource::Choice(vec!["certainly".into(), "certainly not at all".into()]),
        ];
        let forms = sources.iter().map(|source| compiler.compile(source).unwrap()).collect();
        Case { forms, ..self }
    }

    /// As many in every cache group.
    fn pages(&self, n_pages: usize) -> Vec<usize> {
        vec![n_pages; self.n_groups]
    }

    fn engine(&self, limits: Limits, n_mask_threads: usize) -> Engine {
        let config = Config::new(limits.n_pages.clone());
        let limits = Limits { draft_tokens: (self.draft != Draft::Text).then_some(3), ..limits };
        Engine::start(self.model(&limits), Config { limits, n_mask_threads, ..config })
    }

    fn model(&self, limits: &Limits) -> Box<dyn Model> {
        let arch = Architecture::read(&self.file, None).unwrap();
        let arch = if self.draft == Draft::OwnLayer { arch.with_draft_block().unwrap() } else { arch };
        let room = KvRoom { n_pages: limits.n_pages.clone(), kv_type: KvType::F16 };
        let model: Box<dyn Model> = if self.is_on_gpu {
            let gpu = Wgpu::new(Gpu::open(&Choice::Best).unwrap()).unwrap();
            Box::new(Transformer::load(&self.file, arch, gpu, &room).unwrap())
        } else {
            let cpu = Cpu::new(Isa::best(), N_THREADS).unwrap();
            Box::new(Transformer::load(&self.file, arch, cpu, &room).unwrap())
        };
        match self.draft {
            Draft::Text => model,
            Draft::Model(name) => beside(model, &golden(name), &limits.n_pages),
            Draft::OwnLayer => {
                let group = model.architecture().draft_block.as_ref().unwrap().group;
                Box::new(Drafted::with_own_layer(model, limits.n_pages[group]).unwrap())
            }
        }
    }

    /// Prompts of many lengths; some begin alike, some say things twice, so that guesses are right now and then.
    fn requests(&self) -> Vec<Request> {
        let mut random = Random(7);
        let longest = self.context_len.min(300) * 2 / 3;
        let shared: Vec<Vec<u32>> =
            (0..3).map(|_| (0..longest).map(|_| random.below(self.vocab_size) as u32).collect()).collect();
        (0..if self.is_on_gpu { N_REQUESTS_ON_GPU } else { N_REQUESTS })
            .map(|i| {
                let n = 1 + random.below(longest);
                let mut prompt = shared[i % 3][..random.below(n + 1)].to_vec();
                let own = 1 + random.below(12);
                let tail: Vec<u32> = (0..own).map(|_| random.below(self.vocab_size) as u32).collect();
                prompt.extend(tail.iter().cycle().take(n - prompt.len()));
                let mut request = Request::new(prompt, 1 + random.below(self.context_len.min(300) / 4));
                let temperature = if i % 2 == 0 { 0.0 } else { 0.7 };
                request.sampling = Sampling {
                    spec: SampleSpec { temperature, top_k: 40, seed: i as u64, ..SampleSpec::GREEDY },
                    repeat_penalty: if i % 5 == 0 { 1.1 } else { 1.0 },
                    // Where nobody asks for them, a GPU chooses.
                    logprobs: (i % 3 > 0).then_some(Logprobs { top: 2, of: Distribution::Raw }),
                    ..Sampling::default()
                };
                request.priority = i as i32 % 3;
                request.tenant = i as u32 % 4;
                request.prompt_logprobs = (i % 16 == 0).then_some(1);
                request.n = 1 + u32::from(i % 10 == 0);
                if i % 7 == 3 {
                    let mirostat = Mirostat { version: MirostatVersion::Two, tau: 4.0, eta: 0.1 };
                    let samplers = Samplers {
                        dry_multiplier: 0.8,
                        typical_p: 0.9,
                        xtc_probability: 0.5,
                        dynatemp_range: 0.3,
                        mirostat: (i % 2 == 0).then_some(mirostat),
                        ..Samplers::default()
                    };
                    samplers.add_to(&mut request.sampling, Arc::new(Breakers::new([])));
                }
                if i % 4 == 1 && !self.forms.is_empty() {
                    let form = &self.forms[i / 4 % self.forms.len()];
                    request.max_tokens = request.max_tokens.max(form.shortest());
                    let grammar = |_| Box::new(form.constrain(request.max_tokens)) as Box<dyn Grammar>;
                    request.grammars = (0..request.n).map(grammar).collect();
                }
                request
            })
            .collect()
    }
}

/// `model`, with the model of `draft` beside it.
fn beside(model: Box<dyn Model>, draft: &Gguf, n_pages: &[usize]) -> Box<dyn Model> {
    let arch = Architecture::read(draft, None).unwrap();
    let n_pages = n_pages[group_of(model.architecture(), &arch).unwrap()];
    let room = KvRoom { n_pages: vec![n_pages; arch.cache_groups.len()], kv_type: KvType::F16 };
    let cpu = Cpu::new(Isa::best(), N_THREADS).unwrap();
    let draft = Box::new(Transformer::load(draft, arch, cpu, &room).unwrap());
    Box::new(Drafted::new(model, draft, n_pages).unwrap())
}

/// Waits for the end of a request's choices. `stop_at`: it is given up after so many tokens.
fn completions(events: &Receiver<Event>, n: u32, mut cancel: impl FnMut(usize)) -> Vec<(Completion, Finish)> {
    let mut found: Vec<(Completion, Option<Finish>)> = (0..n).map(|_| Default::default()).collect();
    while found.iter().any(|f| f.1.is_none()) {
        match events.recv().unwrap() {
            Event::Prompt { choice_idx, logprobs } => {
                let bits = logprobs.iter().flat_map(|l| l.top.iter().map(|t| t.1).chain([l.logprob]));
                found[choice_idx as usize].0.logprobs.extend(bits.map(f32::to_bits));
            }
            Event::Token { choice_idx, token, logprob } => {
                let completion = &mut found[choice_idx as usize].0;
                completion.tokens.push(token);
                let bits = logprob.iter().flat_map(|l| l.top.iter().map(|t| t.1).chain([l.logprob]));
                completion.logprobs.extend(bits.map(f32::to_bits));
                cancel(completion.tokens.len());
            }
            Event::Finished { choice_idx, finish, .. } => found[choice_idx as usize].1 = Some(finish),
            Event::Started { .. } | Event::Progress { .. } => {}
        }
    }
    found.into_iter().map(|(completion, finish)| (completion, finish.unwrap())).collect()
}

/// Every request by itself on an engine that keeps nothing.
fn alone(case: &Case) -> Vec<Vec<(Completion, Finish)>> {
    let n_pages = case.context_len.div_ceil(PAGE_LEN);
    let limits = Config::new(case.pages(n_pages)).limits;
    let engine = case.engine(Limits { prefix_cache: false, max_sequences: 1, ..limits }, 0);
    let handle = engine.handle();
    let one = |request: Request| {
        let n = request.n;
        let ticket = handle.submit(Request { speculate: false, ..request }).unwrap();
        let found = completions(&ticket.events, n, |_| {});
        let is_ended = |finish: &Finish| matches!(finish, Finish::Length | Finish::Grammar);
        assert!(found.iter().all(|(_, finish)| is_ended(finish)), "{found:?}");
        found
    };
    case.requests().into_iter().map(one).collect()
}

/// All at once; every fifth is given up on the way.
fn together(
    case: &Case,
    (limits, n_mask_threads): (Limits, usize),
    speculate: bool,
    alone: &[Vec<(Completion, Finish)>],
) -> Metrics {
    let engine = case.engine(limits, n_mask_threads);
    let handle = engine.handle();
    let tickets: Vec<_> = case
        .requests()
        .into_iter()
        .map(|request| (request.n, handle.submit(Request { speculate, ..request }).unwrap()))
        .collect();
    for (i, ((n, ticket), alone)) in tickets.into_iter().zip(alone).enumerate() {
        let give_up = |n_tokens| {
            if i % 5 == 4 && n_tokens == 3 {
                handle.cancel(ticket.id);
            }
        };
        for (choice, (found, finish)) in completions(&ticket.events, n, give_up).into_iter().enumerate() {
            let (expected, ending) = &alone[choice];
            match finish {
                Finish::Cancelled => {
                    assert!(i % 5 == 4, "request {i}");
                    assert!(expected.tokens.starts_with(&found.tokens), "request {i}");
                    assert!(expected.logprobs.starts_with(&found.logprobs), "request {i}");
                }
                finish => {
                    assert_eq!(finish, *ending, "request {i}");
                    assert!(
                        *expected == found,
                        "request {i}, choice {choice}: {expected:?} alone, {found:?} together"
                    );
                }
            }
        }
    }
    handle.metrics()
}

/// Rows of a step at most, whether there are guesses, and how many of the longest sequences the pages hold. The first two are
/// enough for preemptions, cached tokens and right guesses.
const RUNS: [(usize, bool, usize); 4] = [(16, true, 2), (2048, true, 40), (2048, false, 3), (48, false, 40)];

fn check(case: &Case, runs: &[(usize, bool, usize)]) {
    let expected = alone(case);
    let worst = case.context_len.min(300).div_ceil(PAGE_LEN);
    let (mut met, mut n_forced, mut n_back, mut n_proposed) = ((0, 0, 0), 0, 0, 0);
    for &(max_rows, speculate, n_longest) in runs {
        let n_pages = n_longest * worst;
        let limits = Config::new(case.pages(n_pages)).limits;
        // Where pages are few, they come and go.
        let max_away_bytes = if n_longest == 2 { 8 << 20 } else { 0 };
        let limits = Limits {
            max_rows,
            min_rows: 16,
            max_sequences: 24,
            step_target: 3_000,
            max_away_bytes,
            ..limits
        };
        let metrics = together(case, (limits, usize::from(max_rows == 48)), speculate, &expected);
        met.0 += metrics.sequences.preemptions;
        met.1 += metrics.cache.hit_tokens;
        n_back += metrics.cache.pages_back;
        met.2 += metrics.accepted_tokens;
        n_forced += metrics.forced_tokens;
        n_proposed += metrics.draft_model.proposed;
        assert_eq!(metrics.draft_model.failures, 0);
    }
    assert_eq!(n_proposed > 0, case.draft != Draft::Text, "proposals of a draft model");
    assert!(n_forced > 0 || case.forms.is_empty(), "no token was forced");
    let are_guesses_right = met.2 > 0 || case.is_other_draft;
    assert!(
        met.0 > 0 && met.1 > 0 && are_guesses_right,
        "preemptions, cached tokens and right guesses: {met:?}"
    );
    assert!(n_back > 0, "no page came back into the pool");
}

fn ember() -> Gguf {
    Gguf::open(&root().join("crates/inferno/models/ember/ember-q8_0.gguf")).unwrap()
}

fn golden(name: &str) -> Gguf {
    Gguf::open(&testdata(&format!("goldens/{name}.gguf"))).unwrap()
}

#[test]
fn a_gpu_gives_every_request_the_bits_it_gets_alone() {
    match Gpu::open(&Choice::Best) {
        // Software drivers take minutes for all of them.
        Ok(_) => check(&Case::new(golden("qwen3"), true), &RUNS[..2]),
        Err(e) => skip("wgpu", &e.to_string()),
    }
}

/// Loses a device.
type Loss = Arc<Mutex<Box<dyn Fn() + Send>>>;

/// A model on a GPU that is opened anew whenever it is lost, and a way to lose it.
fn mortal(file: &Gguf, n_pages: usize) -> (Box<dyn Model>, Loss) {
    let arch = Architecture::read(file, None).unwrap();
    let room = KvRoom { n_pages: vec![n_pages; arch.cache_groups.len()], kv_type: KvType::F16 };
    let lose: Loss = Arc::new(Mutex::new(Box::new(|| ())));
    let (path, lost) = (testdata("goldens/qwen3.gguf"), Arc::clone(&lose));
    let load = move || -> Result<Box<dyn Model>, LoadError> {
        let gpu = Gpu::open(&Choice::Best).unwrap();
        *lost.lock().unwrap() = Box::new(gpu.lose());
        let file = Gguf::open(&path)?;
        let arch = Architecture::read(&file, None)?;
        Ok(Box::new(Transformer::load(&file, arch, Wgpu::new(gpu)?, &room)?))
    };
    let model = load().unwrap();
    (Box::new(Revived::new(model, Box::new(load))), lose)
}

#[test]
fn sequences_go_on_after_a_gpu_is_lost() {
    if let Err(e) = Gpu::open(&Choice::Best) {
        return skip("wgpu", &e.to_string());
    }
    let file = golden("qwen3");
    let case = Case::new(golden("qwen3"), true);
    let requests = || case.requests().into_iter().filter(|r| r.max_tokens > 8).take(4);
    let n_pages = 64;
    let run = |times: usize| -> Vec<Vec<Completion>> {
        let (model, lose) = mortal(&file, n_pages);
        let engine = Engine::start(model, Config::new(case.pages(n_pages)));
        // A healthy model's numbers are noted when nothing has come for a second: the new device must have them too.
        std::thread::sleep(Duration::from_millis(1500));
        let handle = engine.handle();
        let tickets: Vec<_> = requests().map(|r| (r.n, handle.submit(r).unwrap())).collect();
        let mut left = times;
        let found = tickets.into_iter().map(|(n, ticket)| {
            let lose = |n_tokens| {
                if n_tokens == 3 && left > 0 {
                    left -= 1;
                    lose.lock().unwrap()();
                }
            };
            let all = completions(&ticket.events, n, lose);
            all.into_iter()
                .map(|(completion, finish)| {
                    assert_eq!(finish, Finish::Length);
                    completion
                })
                .collect()
        });
        let found = found.collect();
        assert_eq!(handle.metrics().restarts, times as u64);
        found
    };
    let healthy = run(0);
    assert!(run(1) == healthy, "completions differ where a device was lost");
}

#[test]
fn ember_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(ember(), false).with_forms(), &RUNS);
}

#[test]
fn qwen3_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(golden("qwen3"), false), &RUNS);
}

#[test]
fn a_model_with_a_draft_model_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(golden("qwen3"), false).with_draft(Draft::Model("qwen3")), &RUNS[..3]);
}

#[test]
fn a_model_that_drafts_for_itself_gives_every_request_the_bits_it_gets_alone() {
    let folder = tempfile::tempdir().unwrap();
    let vocabulary = testdata("goldens/qwen3.gguf").display().to_string();
    let drafts = ["--mtp", "--draft-difference", "0.02", "--vocab-from", &vocabulary];
    let path = synth(folder.path(), "tiny-qwen35", "f32", &drafts);
    let file = Gguf::open(Path::new(&path)).unwrap();
    check(&Case::new(file, false).with_draft(Draft::OwnLayer), &RUNS[..1]);
}

#[test]
fn latent_attention_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(latent_layers(true), false), &RUNS);
}

#[test]
fn a_model_with_two_cache_groups_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(golden("gemma3"), false), &RUNS);
}

#[test]
fn a_model_whose_layers_share_keys_and_values_gives_every_request_the_bits_it_gets_alone() {
    check(&Case::new(golden("gemma4-e2b"), false), &RUNS);
}

#[test]
fn models_with_recurrent_layers_give_every_request_the_bits_it_gets_alone() {
    // Nearly all proposals are wrong, so that steps take their rows back.
    for name in ["kimi-linear", "nemotron-h", "lfm2"] {
        let case = Case::new(golden(name), false).with_draft(Draft::Model("qwen3"));
        check(&Case { is_other_draft: true, ..case }, &RUNS[..2]);
    }
}

/// A conversation of ten turns whose prompts have the system prompt of another one, each turn compared with an engine that keeps
/// nothing; the tokens that were computed for each turn, and for its prompt those that are new.
fn turns(file: Gguf) -> Vec<[usize; 2]> {
    let case = Case::new(file, false);
    let limits = Config::new(case.pages(64)).limits;
    let (kept, cold) =
        (case.engine(limits.clone(), 0), case.engine(Limits { prefix_cache: false, ..limits }, 0));
    let mut random = Random(5);
    let mut text = |n| (0..n).map(|_| random.below(case.vocab_size) as u32).collect::<Vec<u32>>();
    let complete = |engine: &Engine, prompt: &[u32], border: usize| {
        let mut request = Request { borders: vec![border], ..Request::new(prompt.to_vec(), 9) };
        request.hash_logits = true;
        let ticket = engine.handle().submit(request).unwrap();
        let mut found = (Vec::new(), None);
        for event in ticket.events.iter() {
            match event {
                Event::Token { token, .. } => found.0.push(token),
                Event::Finished { usage, .. } => found.1 = usage.logits_hash,
                _ => {}
            }
        }
        found
    };
    let system = text(70);
    let other = [&system[..], &text(20)].concat();
    complete(&kept, &other, system.len());
    let mut prompt = system.clone();
    let turn = |_| {
        let new = text(7);
        prompt.extend(&new);
        let before = kept.handle().metrics().prompt_tokens;
        let found = complete(&kept, &prompt, system.len());
        assert_eq!(found, complete(&cold, &prompt, 0), "{} tokens", prompt.len());
        let n_computed = kept.handle().metrics().prompt_tokens - before;
        prompt.extend(found.0);
        // The last token of an answer is not computed with it.
        [n_computed as usize, new.len() + 1]
    };
    (0..10).map(turn).collect()
}

#[test]
fn a_conversation_with_recurrent_layers_computes_the_new_tokens_of_each_turn() {
    let mut files = vec![golden("kimi-linear"), golden("nemotron-h"), golden("lfm2")];
    if let Some(path) = data("goldens/qwen35.gguf") {
        files.push(Gguf::open(&path).unwrap());
    }
    for file in files {
        let name = file.metadata().str("general.architecture").unwrap_or_default().to_owned();
        for (turn, [n_computed, n_new]) in turns(file).into_iter().enumerate() {
            assert!(n_computed < n_new + PAGE_LEN, "turn {turn} of {name}: {n_computed} tokens computed");
        }
    }
}

/// Requests on an engine, then on one that takes over its cache by way of a file: the bits are the same, and all that could be
/// cached was.
fn restart(case: &Case) {
    const IDENTITY: [(&str, u64); 1] = [("test", 1)];
    let limits = Config::new(case.pages(200)).limits;
    let prompts = case.requests().into_iter().map(|request| request.prompt);
    let prompts: Vec<Vec<u32>> = prompts.filter(|prompt| prompt.len() > 70).take(4).collect();
    let requests = || {
        prompts.iter().cloned().map(|prompt| {
            let logprobs = Some(Logprobs { top: 2, of: Distribution::Raw });
            let sampling = Sampling { logprobs, ..Sampling::default() };
            Request { sampling, ..Request::new(prompt, 8) }
        })
    };
    let run = |engine: &Engine| -> (Vec<Completion>, u64) {
        let before = engine.handle().metrics().cache.hit_tokens;
        let each = requests().map(|request| {
            let ticket = engine.handle().submit(request).unwrap();
            completions(&ticket.events, 1, |_| {}).remove(0).0
        });
        (each.collect(), engine.handle().metrics().cache.hit_tokens - before)
    };
    let first = case.engine(limits.clone(), 0);
    let (expected, _) = run(&first);
    let (again, n_hit) = run(&first);
    assert!(again == expected && n_hit >= 4 * 64, "{n_hit} tokens");
    let mut file = Vec::new();
    first.halt().unwrap().save_cache(&mut file, &IDENTITY, [7; 16], u64::MAX).unwrap();
    let config = Config { limits: limits.clone(), ..Config::new(case.pages(200)) };
    let file = Box::new(std::io::Cursor::new(file));
    let (second, read) = Engine::start_with_cache(case.model(&limits), config, file, &IDENTITY);
    assert!(read.unwrap().n_tokens >= 4 * 64);
    let found = run(&second);
    assert!(found == (expected, n_hit), "completions differ on the engine that took over");
}

#[test]
fn an_engine_that_takes_over_a_cache_gives_the_same_bits() {
    for name in ["qwen3", "gemma3", "kimi-linear", "nemotron-h", "lfm2"] {
        restart(&Case::new(golden(name), false));
    }
    restart(&Case::new(latent_layers(true), false));
}

#[test]
fn an_engine_on_a_gpu_that_takes_over_a_cache_gives_the_same_bits() {
    match Gpu::open(&Choice::Best) {
        Ok(_) => restart(&Case::new(golden("lfm2"), true)),
        Err(e) => skip("wgpu", &e.to_string()),
    }
}
