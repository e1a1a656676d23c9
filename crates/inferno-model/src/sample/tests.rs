//! Every fast way against the plain definition, which sorts the whole vocabulary.

use proptest::prelude::*;

use super::head::Crossing;
use super::select::quick_exp;
use super::*;

/// The definition of a token: sort all, filter, draw.
fn plain_sample(logits: &[f32], spec: &SampleSpec, position: u32) -> u32 {
    if spec.temperature <= 0.0 || spec.top_k == 1 {
        return plain_argmax(logits);
    }
    let candidates = plain_filter(logits, spec);
    let best = candidates[0].1;
    if !best.is_finite() {
        return candidates[0].0;
    }
    let weight = |logit: f32| f64::from(exp((logit - best) / spec.temperature));
    let total: f64 = candidates.iter().map(|c| weight(c.1)).sum();
    let mut left = random::uniform(spec.seed, spec.choice_idx, position, 0) * total;
    for &(token, logit) in &candidates {
        left -= weight(logit);
        if left < 0.0 {
            return token;
        }
    }
    candidates.iter().rev().find(|c| weight(c.1) > 0.0).map_or(candidates[0].0, |c| c.0)
}

fn plain_filter(logits: &[f32], spec: &SampleSpec) -> Vec<(u32, f32)> {
    let mut candidates = plain_top_k(logits, if spec.top_k == 0 { logits.len() } else { spec.top_k });
    let best = candidates[0].1;
    if !best.is_finite() {
        candidates.truncate(1);
        return candidates;
    }
    if spec.top_p < 1.0 {
        let total: f64 = candidates.iter().map(|c| f64::from(exp(c.1 - best))).sum();
        let mut sum = 0.0;
        let reached = candidates.iter().position(|c| {
            sum += f64::from(exp(c.1 - best));
            sum >= f64::from(spec.top_p) * total
        });
        candidates.truncate(reached.map_or(candidates.len(), |i| i + 1));
    }
    if spec.min_p > 0.0 {
        candidates.retain(|c| c.1 == best || exp(c.1 - best) >= spec.min_p);
    }
    candidates
}

fn plain_argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (token, &logit) in (0u32..).zip(logits) {
        if logit > best.1 {
            best = (token, logit);
        }
    }
    best.0
}

fn plain_top_k(logits: &[f32], k: usize) -> Vec<(u32, f32)> {
    let number = |l: f32| if l.is_nan() { f32::NEG_INFINITY } else { l + 0.0 };
    let mut all: Vec<(u32, f32)> = (0u32..).zip(logits.iter().map(|&l| number(l))).collect();
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all.truncate(k);
    all
}

/// Logits of all kinds: smooth, with many ties, with numbers that are none, in vocabularies of all sizes.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let kind = prop_oneof![Just(0u8), Just(1), Just(2), Just(3)];
    let len = prop_oneof![1usize..40, 40usize..3000, 3000usize..20_000];
    (kind, len, any::<u64>(), 0.1f32..20.0).prop_map(|(kind, len, seed, width)| {
        (0..len as u32)
            .map(|i| {
                let r = random::uniform(seed, i, 0, 0) as f32;
                let x = -(1.0 - r).ln() * width - 3.0 * width;
                match (kind, i % 97) {
                    (0, _) => x,
                    (1, _) => (x / width * 2.0).round_ties_even() * width / 2.0,
                    (2, 5) => f32::NAN,
                    (2, 6) => f32::NEG_INFINITY,
                    (2, 7) if seed % 8 == 0 => f32::INFINITY,
                    (2, 8) => -0.0,
                    (2, _) => x.min(0.0),
                    // Ascending: every token is a new best.
                    _ => i as f32 * width / len as f32,
                }
            })
            .collect()
    })
}

fn bits(candidates: &[(u32, f32)]) -> Vec<(u32, u32)> {
    candidates.iter().map(|c| (c.0, c.1.to_bits())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_best_tokens_are_those_of_a_sort(logits in logits(), k in 0usize..200) {
        prop_assert_eq!(argmax(&logits), plain_argmax(&logits));
        let mut top = Vec::new();
        for k in [k, k * 37 + 1] {
            top_k(&logits, k, &mut top);
            prop_assert_eq!(bits(&top), bits(&plain_top_k(&logits, k)));
        }
    }

    #[test]
    fn a_sample_is_that_of_the_plain_definition(
        logits in logits(),
        top_k in prop_oneof![Just(0usize), 1usize..100, 100usize..50_000],
        top_p in prop_oneof![Just(1.0f32), 0.0f32..1.0, 0.99f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0, 1e-9f32..1e-3],
        temperature in prop_oneof![Just(1.0f32), 0.0f32..4.0, 50.0f32..100.0],
        seed in any::<u64>(),
    ) {
        let mut sampler = Sampler::default();
        for choice_idx in 0..2 {
            let spec = SampleSpec { top_k, top_p, min_p, temperature, seed, choice_idx };
            prop_assert_eq!(sampler.sample(&logits, &spec, 7), plain_sample(&logits, &spec, 7));
            prop_assert_eq!(bits(sampler.filter(&logits, &spec)), bits(&plain_filter(&logits, &spec)));
        }
    }

    #[test]
    fn a_head_of_any_length_gives_the_definition_or_nothing(
        logits in logits(),
        lengths in prop::collection::vec(1usize..600, 1),
        temperature in 0.1f32..30.0,
        seed in any::<u64>(),
    ) {
        let spec = SampleSpec { temperature, seed, ..SampleSpec::GREEDY };
        let best = logits[argmax(&logits) as usize];
        let mut head = Vec::new();
        if best.is_finite() {
            let crossing = Crossing { best, temperature, fraction: random::uniform(seed, 0, 7, 0) };
            if let Some(i) = crossing.find_within(&logits, &mut head, &lengths) {
                prop_assert_eq!(head[i].0, plain_sample(&logits, &spec, 7));
            }
        }
    }
}

#[test]
fn a_limit_that_is_met_exactly_is_left_to_the_definition() {
    // 4096 equal weights: half of the sum is reached by the 2048th to the bit.
    let logits = [0.5f32; 4096];
    let crossing = Crossing { best: 0.5, temperature: 1.0, fraction: 0.125 };
    assert_eq!(crossing.find(&logits, &mut Vec::new()), None);
    let beside = Crossing { fraction: 0.124_99, ..crossing };
    assert_eq!(beside.find_within(&logits, &mut Vec::new(), &[600]), Some(511));
    let spec = SampleSpec { top_p: 0.125, ..SampleSpec::GREEDY };
    assert_eq!(Sampler::default().filter(&logits, &spec).len(), 512);
}

#[test]
fn a_vocabulary_of_one_distribution_is_sampled_from_its_head() {
    let logits: Vec<f32> = (0..50_000).map(|i| 12.0 - 2.0 * (1.0 + i as f32).ln()).collect();
    let mut sampler = Sampler::default();
    let mut n_deep = 0;
    for position in 0..2000 {
        let spec = SampleSpec { temperature: 1.0, seed: 3, ..SampleSpec::GREEDY };
        let token = sampler.sample(&logits, &spec, position);
        n_deep += usize::from(token >= 512);
        if position < 50 {
            assert_eq!(token, plain_sample(&logits, &spec, position));
        }
    }
    // Weights 1/i²: a fraction 1.2e-3 of the sum lies behind 512.
    assert!((0..12).contains(&n_deep), "{n_deep}");
}

#[test]
fn the_best_token_wins_ties_go_to_the_lowest_id_and_nan_never_wins() {
    assert_eq!(argmax(&[1.0, 3.0, 3.0, f32::NAN]), 1);
    assert_eq!(argmax(&[f32::NAN; 4]), 0);
    assert_eq!(argmax(&[-0.0; 700]), 0);
    let mut top = Vec::new();
    top_k(&[1.0, f32::NAN, 3.0, 3.0], 3, &mut top);
    assert_eq!(top, [(2, 3.0), (3, 3.0), (0, 1.0)]);
    top_k(&[-0.0, 0.0], 1, &mut top);
    assert_eq!((top[0].0, argmax(&[-0.0, 0.0])), (0, 0));
    top_k(&[1.0], 0, &mut top);
    assert_eq!(top, []);
}

#[test]
fn samples_follow_the_distribution_and_the_filters() {
    let logits = [0.0, 1.0, 2.0, -1.0];
    let mut sampler = Sampler::default();
    let mut counts = |spec: SampleSpec| {
        let mut counts = [0usize; 4];
        (0..20_000).for_each(|p| counts[sampler.sample(&logits, &spec, p) as usize] += 1);
        counts
    };
    let plain = SampleSpec { temperature: 1.0, seed: 7, ..SampleSpec::GREEDY };
    let total: f64 = logits.iter().map(|&x| libm::exp(f64::from(x))).sum();
    for (count, logit) in counts(plain).into_iter().zip(logits) {
        let expected = libm::exp(f64::from(logit)) / total * 20_000.0;
        assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
    }
    let none = |c: [usize; 4], tokens: &[usize]| tokens.iter().all(|&t| c[t] == 0);
    assert!(none(counts(SampleSpec { top_k: 2, ..plain }), &[0, 3]));
    assert!(none(counts(SampleSpec { top_p: 0.8, ..plain }), &[0, 3]));
    assert!(none(counts(SampleSpec { min_p: 0.3, ..plain }), &[0, 3]));
    assert_eq!(counts(SampleSpec { temperature: 1e-6, ..plain })[2], 20_000);
}

#[test]
fn any_logits_give_a_valid_token() {
    let mut sampler = Sampler::default();
    let spec = SampleSpec { temperature: 0.8, top_p: 0.9, min_p: 0.1, ..SampleSpec::GREEDY };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(sampler.sample(&[bad; 5], &spec, 1) < 5);
        assert!(sampler.sample(&[0.0, bad, 1.0], &spec, 1) < 3);
    }
}

#[test]
fn a_seed_gives_the_tokens_that_were_promised() {
    let logits: Vec<f32> = (0..1000).map(|i| (i * 37 % 101) as f32 * 0.1).collect();
    let mut sampler = Sampler::default();
    let mut tokens =
        |spec: SampleSpec| (10..18).map(|p| sampler.sample(&logits, &spec, p)).collect::<Vec<_>>();
    let all = SampleSpec { temperature: 0.7, seed: 42, ..SampleSpec::GREEDY };
    assert_eq!(tokens(all), [857, 655, 232, 898, 813, 857, 903, 147]);
    assert_eq!(tokens(SampleSpec { choice_idx: 1, ..all }), [764, 685, 79, 838, 434, 87, 947, 180]);
    assert_eq!(
        tokens(SampleSpec { top_k: 40, top_p: 0.9, min_p: 0.05, ..all }),
        [565, 565, 131, 60, 120, 666, 322, 999]
    );
}

#[test]
fn logsumexp_does_not_overflow() {
    assert!((logsumexp(&[1000.0, 1000.0]) - 1000.6931).abs() < 1e-3);
    assert_eq!(logsumexp(&[f32::NEG_INFINITY; 2]), f32::NEG_INFINITY);
    assert_eq!(logsumexp(&[0.0, f32::INFINITY]), f32::INFINITY);
    assert_eq!(logsumexp(&[0.0, f32::NAN]), 0.0);
}

#[test]
fn logsumexp_is_that_of_double_precision() {
    for n in [1u32, 15, 129, 5000] {
        let logits: Vec<f32> = (0..n).map(|i| 30.0 * random::uniform(1, i, 0, 0) as f32 - 20.0).collect();
        let exact = libm::log(logits.iter().map(|&x| libm::exp(f64::from(x))).sum());
        assert!((f64::from(logsumexp(&logits)) - exact).abs() < 1e-6 * exact.abs().max(1.0), "{n}");
    }
}

#[test]
fn the_quick_exponential_is_within_four_units_in_the_last_place() {
    let mut worst = 0.0f64;
    for i in 0..900_000 {
        let x = -(i as f32) * 0.000_097;
        let exact = libm::exp(f64::from(x));
        worst = worst.max((f64::from(quick_exp(x)) - exact).abs() / exact);
    }
    assert!(worst < 4.0 / (1u32 << 24) as f64, "{worst:e}");
    assert_eq!(quick_exp(0.0), 1.0);
    assert_eq!(quick_exp(-87.4), 0.0);
    assert_eq!(quick_exp(f32::NEG_INFINITY), 0.0);
    assert_eq!(quick_exp(f32::NAN), 0.0);
}
