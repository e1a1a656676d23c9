//! Stop conditions and grammars: each alone, both together, and what goes wrong in one.

use std::collections::VecDeque;

use inferno_model::sample::SampleSpec;

use super::*;
use crate::fake::Fault;
use crate::sampler::{Grammar, TokenMask};
use crate::stop::StopCondition;

/// Ends of a request that a reference run can repeat.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Ends {
    /// The completion ends after these two tokens in a row.
    pub(crate) pair: Option<[u32; 2]>,
    /// No token follows itself, and this number of tokens is enough.
    pub(crate) varied: Option<usize>,
    /// A grammar that masks, forces and settles: see [`Scripted`].
    pub(crate) scripted: Option<Script>,
}

impl Ends {
    /// Adds them to every choice.
    pub(crate) fn add_to(self, request: &mut Request) {
        for _ in 0..request.n {
            request.stop_conditions.extend(self.stop());
            request.grammars.extend(self.grammar());
        }
    }

    pub(crate) fn stop(self) -> Option<Box<dyn StopCondition>> {
        self.pair.map(|pair| Box::new(Pair { pair, last: [None; 2] }) as Box<dyn StopCondition>)
    }

    pub(crate) fn grammar(self) -> Option<Box<dyn Grammar>> {
        let scripted = self.scripted.map(|script| Box::new(Scripted::new(script)) as Box<dyn Grammar>);
        let varied = self.varied.map(|n| Box::new(Varied { n_left: n, last: None }) as Box<dyn Grammar>);
        scripted.or(varied)
    }
}

struct Pair {
    pair: [u32; 2],
    last: [Option<u32>; 2],
}

impl StopCondition for Pair {
    fn commit(&mut self, token: u32) {
        assert!(!self.finished(), "nothing is committed after the end");
        self.last = [self.last[1], Some(token)];
    }

    fn finished(&self) -> bool {
        self.last == self.pair.map(Some)
    }
}

struct Varied {
    n_left: usize,
    last: Option<u32>,
}

impl Grammar for Varied {
    fn mask(&mut self, mask: &mut TokenMask) {
        self.last.into_iter().for_each(|token| mask.ban(token));
    }

    fn commit(&mut self, token: u32) {
        assert_ne!(self.last.replace(token), Some(token), "it was banned");
        self.n_left -= 1;
    }

    fn finished(&self) -> bool {
        self.n_left == 0
    }
}

/// Parameters of a [`Scripted`] grammar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Script {
    pub(crate) seed: u64,
    /// Tokens of a complete answer.
    pub(crate) len: usize,
    /// Longest run of tokens without a choice.
    pub(crate) longest_run: usize,
    /// Whether it says which tokens it forces, or leaves that to its masks.
    pub(crate) forces: bool,
}

/// Runs of tokens without a choice, between tokens of which some are banned and some are replaced. All of it depends on the
/// tokens before and on nothing else.
struct Scripted {
    script: Script,
    n: usize,
    hash: u64,
    /// Rest of a run.
    run: VecDeque<u32>,
}

impl Scripted {
    fn new(script: Script) -> Scripted {
        let mut grammar = Scripted { script, n: 0, hash: fake::hash(script.seed, 0), run: VecDeque::new() };
        grammar.begin();
        grammar
    }

    /// Begins a run here, or does not.
    fn begin(&mut self) {
        if self.hash >> 8 & 3 == 0 {
            let len = 1 + self.hash as usize % self.script.longest_run;
            self.run = (0..len).map(|i| (fake::hash(self.hash, i as u32) % VOCAB as u64) as u32).collect();
        }
    }

    /// The tokens that may come next where there is a choice: two of them at least.
    fn is_allowed(&self, token: u32) -> bool {
        let spared = (self.hash >> 16) as u32 % VOCAB as u32;
        token == spared || token == (spared + 1) % VOCAB as u32 || self.hash >> token & 1 == 1
    }
}

impl Grammar for Scripted {
    fn mask(&mut self, mask: &mut TokenMask) {
        assert!(!self.finished(), "nothing is sampled after the end");
        let run = self.run.front();
        let is_allowed = |token| run.map_or_else(|| self.is_allowed(token), |next| *next == token);
        (0..VOCAB as u32).filter(|&token| !is_allowed(token)).for_each(|token| mask.ban(token));
    }

    fn commit(&mut self, token: u32) {
        assert!(!self.finished(), "nothing is committed after the end");
        match self.run.pop_front() {
            Some(next) => assert_eq!(token, next, "a token without a choice"),
            None => assert!(self.is_allowed(token), "it was banned"),
        }
        self.n += 1;
        self.hash = fake::hash(self.hash, token);
        if self.run.is_empty() {
            self.begin();
        }
    }

    fn forced(&mut self, tokens: &mut Vec<u32>) {
        assert!(!self.finished(), "nothing is forced after the end");
        if self.script.forces {
            // Not always the whole run at once.
            let n = if self.hash >> 24 & 1 == 0 { self.run.len() } else { 3 };
            tokens.extend(self.run.iter().take(n));
        }
    }

    fn settle(&mut self, sampled: u32) -> u32 {
        let spared = (self.hash >> 16) as u32 % VOCAB as u32;
        if self.run.is_empty() && self.hash >> 32 & 3 == 0 { spared } else { sampled }
    }

    fn finished(&self) -> bool {
        self.n == self.script.len
    }
}

/// Runs a request in a world whose model may sample as a device does; what it got, and how many steps were chained.
fn run(ends: Ends, chooses: bool, sampling: SampleSpec) -> (Told, u64) {
    let mut world = World::with_model(limits(32), |model| model.chooses = chooses);
    let mut request = Request::new(vec![1, 2, 3, 4], 60);
    request.sampling.spec = sampling;
    ends.add_to(&mut request);
    let expected = alone_with(&request, ends, 0);
    let (_, story) = world.submit(request).expect("it fits");
    world.run();
    let told = story.lock().expect("no panic while it is locked")[0].clone();
    assert_eq!(told.tokens, expected.tokens, "{ends:?}, {chooses}");
    assert_eq!(told.ends[0].0, expected.ends[0].0, "{ends:?}, {chooses}");
    (told, world.core.metrics().chained_steps)
}

#[test]
fn a_stop_condition_ends_a_chain_and_only_a_grammar_needs_logits() {
    let spec = SampleSpec { temperature: 1.0, seed: 7, ..SampleSpec::GREEDY };
    let (free, n) = run(Ends::default(), true, spec);
    assert!(n > 20 && free.tokens.len() == 60, "{n} steps of {} tokens", free.tokens.len());
    let pair = [free.tokens[40], free.tokens[41]];
    let first = free.tokens.windows(2).position(|two| two == pair).expect("it is there") + 2;
    let stop = Ends { pair: Some(pair), ..Ends::default() };
    for chooses in [true, false] {
        let (told, n) = run(stop, chooses, spec);
        assert_eq!((&told.ends[0].0, told.tokens.len()), (&Finish::StopCondition, first));
        assert_eq!(n > first as u64 / 2, chooses, "{n} chained steps for {first} tokens");
    }
    let (told, n) = run(Ends { varied: Some(33), ..Ends::default() }, true, spec);
    assert_eq!((&told.ends[0].0, told.tokens.len(), n), (&Finish::Grammar, 33, 0));
    // Whichever comes first.
    let pair = Some([told.tokens[30], told.tokens[31]]);
    let (both, n) = run(Ends { pair, varied: Some(33), scripted: None }, true, spec);
    assert_eq!((&both.ends[0].0, n), (&Finish::StopCondition, 0));
    let (both, _) = run(Ends { pair, varied: Some(2), scripted: None }, true, spec);
    assert_eq!((&both.ends[0].0, both.tokens.len()), (&Finish::Grammar, 2));
}

/// Panics in its n-th call.
struct Bomb(usize);

impl Bomb {
    fn tick(&mut self) {
        assert!(self.0 > 0, "the bomb panics");
        self.0 -= 1;
    }
}

impl Grammar for Bomb {
    fn mask(&mut self, _: &mut TokenMask) {
        self.tick();
    }
    fn commit(&mut self, _: u32) {
        self.tick();
    }
    fn forced(&mut self, _: &mut Vec<u32>) {
        self.tick();
    }
    fn settle(&mut self, sampled: u32) -> u32 {
        self.tick();
        sampled
    }
    fn finished(&self) -> bool {
        assert!(self.0 > 0, "the bomb panics");
        false
    }
}

impl StopCondition for Bomb {
    fn commit(&mut self, _: u32) {
        self.tick();
    }
    fn finished(&self) -> bool {
        assert!(self.0 > 0, "the bomb panics");
        false
    }
}

#[test]
fn a_stop_condition_or_grammar_that_panics_ends_its_sequence_only() {
    for (n, chooses) in (0..16).flat_map(|n| [(n, false), (n, true)]) {
        for is_grammar in [false, true] {
            let mut world = World::with_model(limits(32), |model| {
                (model.fault, model.chooses) = (Fault::None, chooses);
            });
            world.core = world.core.with_mask_threads(if chooses { 2 } else { 0 });
            let prompt: Vec<u32> = (0..70).map(|i| (i * i / 3 + i) % VOCAB as u32).collect();
            let good = Request::new(prompt.clone(), 20);
            let (_, other) = world.submit(Request::new(prompt.clone(), 20)).expect("it fits");
            let mut bad = Request { n: 2, ..Request::new(prompt, 20) };
            match is_grammar {
                true => bad.grammars = vec![Box::new(Bomb(1000)), Box::new(Bomb(n))],
                false => bad.stop_conditions = vec![Box::new(Bomb(1000)), Box::new(Bomb(n))],
            }
            let (_, bad) = world.submit(bad).expect("it fits");
            world.run();
            let told = bad.lock().expect("no panic while it is locked").clone();
            assert_eq!(told[0].ends.len(), 1);
            assert_eq!(told[0].ends[0].0, Finish::Length, "the other choice goes on");
            let why = Finish::Failed("the bomb panics".into());
            assert_eq!(told[1].ends.iter().map(|e| &e.0).collect::<Vec<_>>(), [&why]);
            let told = other.lock().expect("no panic while it is locked")[0].clone();
            assert_eq!(told.tokens, alone(&good, 0).tokens);
        }
    }
}

#[test]
fn a_request_has_an_end_for_each_choice_or_none() {
    let mut world = World::new(limits(8));
    let mut request = Request { n: 3, ..Request::new(vec![1], 5) };
    request.grammars.push(Box::new(Bomb(9)));
    let refusal = world.submit(request).map(|_| ()).expect_err("two are missing");
    assert_eq!(refusal.to_string(), "3 choices with 1 grammars, expected one for each choice or none");
}

#[test]
fn a_request_for_no_tokens_leaves_its_prompt_in_the_cache() {
    let mut world = World::new(limits(64));
    let prompt: Vec<u32> = (0..80).map(|k| k * 7 % VOCAB as u32).collect();
    let story = world.submit(Request::new(prompt.clone(), 0)).expect("it fits").1;
    world.run();
    let told = story.lock().expect("no panic while it is locked")[0].clone();
    assert!(told.tokens.is_empty(), "{:?}", told.tokens);
    assert!(matches!(told.ends[..], [(Finish::Length, _)]), "{:?}", told.ends);
    world.submit(Request::new(prompt, 4)).expect("it fits");
    world.run();
    assert_eq!(world.core.metrics().cache.hit_tokens, 64);
}
