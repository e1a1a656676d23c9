//! What choosing tokens costs: 32 rows of a vocabulary of 151,936 per iteration, on one thread.
//!
//! Measured on one core of a two-core Sapphire Rapids machine, neighbour quiet: greedy 0.9 ms, top-k up to 64 1.6 to 2.5 ms,
//! the same with bias, penalties or a mask 3 to 4.5 ms, with raw log-probabilities 14 ms; temperature alone or top-p alone
//! 14 to 18 ms. Slow is a flat distribution without filters (temperature 2 alone, 10 ms a row): it takes a sort of the
//! vocabulary.
//!
//!     cargo bench -p inferno-engine --bench sampler
//!     cargo bench -p inferno-engine --bench sampler -- top-k

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use inferno_engine::{
    Breakers, Chooser, Distribution, History, Logprobs, SamplerKind, Samplers, Sampling, TokenMask,
};
use inferno_model::sample::random::uniform;
use inferno_model::sample::{Mirostat, MirostatVersion, SampleSpec};

const VOCAB_SIZE: usize = 151_936;
const N_ROWS: usize = 32;
const HOT: SampleSpec = SampleSpec { temperature: 1.0, seed: 1, ..SampleSpec::GREEDY };
const TOP_K: SampleSpec = SampleSpec { top_k: 64, top_p: 0.95, min_p: 0.05, ..HOT };

fn main() {
    let mut c = Criterion::default().without_plots().sample_size(10).configure_from_args();
    c = c.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1500));
    let rows: Vec<Vec<f32>> = (0..N_ROWS as u32).map(row).collect();
    let prompt: Vec<u32> = (0..2000).map(|i| (uniform(9, i, 0, 0) * VOCAB_SIZE as f64) as u32).collect();
    let half = mask(|token| uniform(5, token, 0, 0) < 0.5);
    let few = mask(|token| token % 1000 == 7);

    let mut bench = |name: &str, sampling: Sampling, mask: Option<&TokenMask>| {
        sampling.validate(VOCAB_SIZE).expect("benchmarks ask for what is allowed");
        let mut history = History::new(&sampling, &prompt);
        let (mut chooser, mut position) = (Chooser::default(), 0);
        c.bench_function(name, |b| {
            b.iter(|| {
                position += 1;
                for row in &rows {
                    let chosen = chooser.choose(row, position, &sampling, &mut history, mask, 0);
                    black_box(chosen.expect("some token is allowed"));
                }
            });
        });
    };
    let of = |spec| Sampling { spec, ..Sampling::default() };
    let logprobs = |of| Some(Logprobs { top: 5, of });
    bench("greedy", of(SampleSpec::GREEDY), None);
    bench("top-k 20", of(SampleSpec { top_k: 20, ..HOT }), None);
    bench("top-k 64, top-p, min-p", of(TOP_K), None);
    bench("top-k 1000", of(SampleSpec { top_k: 1000, ..HOT }), None);
    bench("temperature alone", of(HOT), None);
    bench("temperature 2 alone", of(SampleSpec { temperature: 2.0, ..HOT }), None);
    bench("top-p 0.95", of(SampleSpec { top_p: 0.95, ..HOT }), None);
    bench("min-p 0.05", of(SampleSpec { min_p: 0.05, ..HOT }), None);
    bench("top-k 64, repeats in 2000 tokens", Sampling { repeat_penalty: 1.1, ..of(TOP_K) }, None);
    bench("top-k 64, bias", Sampling { logit_bias: vec![(5, 1.0)], ..of(TOP_K) }, None);
    bench("top-k 64, half masked", of(TOP_K), Some(&half));
    bench("top-k 64, 152 allowed", of(TOP_K), Some(&few));
    bench("top-k 64, raw logprobs", Sampling { logprobs: logprobs(Distribution::Raw), ..of(TOP_K) }, None);
    bench(
        "top-k 64, own logprobs",
        Sampling { logprobs: logprobs(Distribution::Filtered), ..of(TOP_K) },
        None,
    );
    let with = |spec, samplers: Samplers| {
        let mut sampling = of(spec);
        samplers.add_to(&mut sampling, Arc::new(Breakers::new([(198, vec![]), (25, vec![])])));
        sampling
    };
    let samplers = Samplers::default;
    let xtc = || Samplers { xtc_probability: 0.5, ..samplers() };
    let dry = |dry_last_n| Samplers { dry_multiplier: 0.8, dry_last_n, ..samplers() };
    let mirostat =
        |version| Samplers { mirostat: Some(Mirostat { version, tau: 5.0, eta: 0.1 }), ..samplers() };
    bench("top-k 64, DRY over 64", with(TOP_K, dry(Some(64))), None);
    bench("top-k 64, DRY over 2000", with(TOP_K, dry(None)), None);
    bench("top-k 64, XTC", with(TOP_K, xtc()), None);
    bench(
        "min-p 0.05, XTC, DRY",
        with(SampleSpec { min_p: 0.05, ..HOT }, Samplers { dry_multiplier: 0.8, ..xtc() }),
        None,
    );
    bench("XTC alone", with(HOT, xtc()), None);
    bench("top-n-sigma alone", with(HOT, Samplers { top_n_sigma: 1.0, ..samplers() }), None);
    bench("typical-p alone", with(HOT, Samplers { typical_p: 0.95, ..samplers() }), None);
    bench("top-k 64, typical-p", with(TOP_K, Samplers { typical_p: 0.95, ..samplers() }), None);
    bench("dynamic temperature alone", with(HOT, Samplers { dynatemp_range: 0.5, ..samplers() }), None);
    bench("mirostat 1", with(HOT, mirostat(MirostatVersion::One)), None);
    bench("mirostat 2", with(HOT, mirostat(MirostatVersion::Two)), None);
    let reversed: Vec<SamplerKind> = SamplerKind::DEFAULT_ORDER.into_iter().rev().collect();
    let reversed = Samplers { order: Some(reversed.into()), ..samplers() };
    bench(
        "temperature, min-p, top-p, top-k 64",
        with(SampleSpec { temperature: 0.8, ..TOP_K }, reversed),
        None,
    );
    let bad_words = (0..100).map(|i| [i, i + 1].into()).collect();
    bench("top-k 64, 100 bad words", Sampling { bad_words, ..of(TOP_K) }, None);
    c.final_summary();
}

/// Logits as a model's: a bell of deviation 2.5, and forty tokens above it.
fn row(row: u32) -> Vec<f32> {
    let number = |i: u32, draw| uniform(u64::from(row), i, 0, draw) as f32;
    let bell = |i| (0..6).map(|draw| number(i, draw)).sum::<f32>() - 3.0;
    let mut logits: Vec<f32> = (0..VOCAB_SIZE as u32).map(|i| bell(i) * 3.5).collect();
    for i in 0..40 {
        let token = (number(i, 7) * VOCAB_SIZE as f32) as usize;
        logits[token] = 18.0 - 2.0 * (1.0 + i as f32).ln();
    }
    logits
}

fn mask(is_allowed: impl Fn(u32) -> bool) -> TokenMask {
    let mut mask = TokenMask::new(VOCAB_SIZE);
    (0..VOCAB_SIZE as u32).filter(|&token| !is_allowed(token)).for_each(|token| mask.ban(token));
    mask
}
