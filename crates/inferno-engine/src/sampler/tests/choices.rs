//! Tokens and their probabilities.

use super::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_choice_is_that_of_the_naive_definition(case in case()) {
        prop_assert_eq!(case.sampling.validate(case.logits.len()), Ok(()));
        prop_assert_eq!(case.choose().map(|chosen| chosen.token), case.naive_token());
    }

    #[test]
    fn what_was_chosen_before_for_others_does_not_matter(cases in prop::collection::vec(case(), 1..6)) {
        let mut chooser = Chooser::default();
        for case in cases.iter().chain(cases.iter().rev()) {
            prop_assert_eq!(case.choose_with(&mut chooser), case.choose());
        }
    }

    #[test]
    fn logprobs_are_those_of_double_precision(case in case()) {
        let (Ok(chosen), Some(Logprobs { top, of })) = (case.choose(), case.sampling.logprobs) else {
            return Ok(());
        };
        let expected = match of {
            Distribution::Raw => naive_logprobs((0u32..).zip(case.logits.iter().copied()), 1.0),
            Distribution::Filtered => {
                let (row, spec) = (case.adjusted(), &case.sampling.spec);
                let best = row.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
                if spec.is_greedy() || !best.is_finite() {
                    vec![(chosen.token, 0.0)]
                } else {
                    let kept = Sampler::default().filter(&row, spec).to_vec();
                    naive_logprobs(kept.into_iter(), spec.temperature)
                }
            }
        };
        let found = chosen.logprob.expect("they were asked for");
        let close = |a: f32, b: f64| f64::from(a) == b || (f64::from(a) - b).abs() < 1e-4;
        let own = expected.iter().find(|e| e.0 == chosen.token).map_or(f64::NEG_INFINITY, |e| e.1);
        prop_assert!(close(found.logprob, own), "{} for {own}", found.logprob);
        if !case.sampling.logprob_tokens.is_empty() {
            let mut asked = case.sampling.logprob_tokens.to_vec();
            asked.push(chosen.token);
            asked.sort_unstable();
            asked.dedup();
            prop_assert!(found.top.is_sorted_by(|a, b| a.1 >= b.1));
            for (token, logprob) in &found.top {
                let own = expected.iter().find(|e| e.0 == *token).map_or(f64::NEG_INFINITY, |e| e.1);
                prop_assert!(close(*logprob, own), "{logprob} for {own}");
            }
            let mut told: Vec<u32> = found.top.iter().map(|t| t.0).collect();
            told.sort_unstable();
            prop_assert_eq!(told, asked);
            return Ok(());
        }
        let n_possible = expected.iter().filter(|e| e.1 > f64::NEG_INFINITY).count();
        prop_assert_eq!(found.top.len(), top.min(n_possible));
        for (i, &(token, logprob)) in found.top.iter().enumerate() {
            let own = expected.iter().find(|e| e.0 == token).expect("a token of the distribution").1;
            prop_assert!(close(logprob, own), "{logprob} for {own}");
            prop_assert!(close(logprob, expected[i].1), "{logprob} at place {i}");
        }
    }
}

/// Best first. Where the best logits are infinite, only those have a probability.
fn naive_logprobs(logits: impl Iterator<Item = (u32, f32)>, temperature: f32) -> Vec<(u32, f64)> {
    let mut all: Vec<(u32, f64)> = logits.map(|(t, l)| (t, f64::from(l) / f64::from(temperature))).collect();
    all.iter_mut().filter(|x| x.1.is_nan()).for_each(|x| x.1 = f64::NEG_INFINITY);
    all.sort_by(|a, b| b.1.total_cmp(&a.1));
    let best = all[0].1;
    let sum: f64 = all.iter().map(|x| (x.1 - best).exp()).sum();
    let logprob = |x: f64| match x - best - sum.ln() {
        p if !p.is_nan() => p,
        _ if x == f64::INFINITY => 0.0,
        _ => f64::NEG_INFINITY,
    };
    all.into_iter().map(|(t, x)| (t, logprob(x))).collect()
}

#[test]
fn a_greedy_choice_honours_bias_penalties_and_masks() {
    let plain = Case::of(&[3.0, 2.0, 1.0, 2.5]);
    assert_eq!(plain.token(), 0);
    let with = |change: fn(&mut Case)| {
        let mut case = plain.clone();
        change(&mut case);
        case.token()
    };
    assert_eq!(with(|c| c.sampling.logit_bias = vec![(2, 1.5), (2, 1.0)]), 2);
    assert_eq!(with(|c| c.sampling.banned = vec![0, 3]), 1);
    assert_eq!(with(|c| c.sampling.allowed = Some(vec![2, 1])), 1);
    assert_eq!(with(|c| (c.sampling.repeat_penalty, c.prompt) = (1.5, vec![0])), 3);
    assert_eq!(with(|c| (c.sampling.presence_penalty, c.completion) = (0.6, vec![0])), 3);
    // The prompt has no part in presence and frequency.
    assert_eq!(with(|c| (c.sampling.presence_penalty, c.prompt) = (0.6, vec![0])), 0);
    assert_eq!(with(|c| (c.sampling.frequency_penalty, c.completion) = (0.3, vec![0, 0])), 3);
    assert_eq!(with(|c| (c.sampling.frequency_penalty, c.completion) = (0.3, vec![0])), 0);
    let ban_best = |c: &mut Case| {
        let mut mask = TokenMask::new(4);
        mask.ban(0);
        c.mask = Some(mask);
    };
    assert_eq!(with(ban_best), 3);
}

#[test]
fn a_completion_does_not_end_before_min_tokens_nor_at_an_ignored_end() {
    let mut case = Case::of(&[9.0, 8.0, 7.0]);
    (case.sampling.eos_tokens, case.sampling.stop_tokens, case.sampling.min_tokens) = (vec![0], vec![1], 2);
    assert_eq!(case.token(), 2);
    case.completion = vec![2];
    assert_eq!(case.token(), 2);
    case.completion = vec![2, 2];
    assert_eq!(case.token(), 0);
    assert!(case.sampling.ends_at(0) && case.sampling.ends_at(1) && !case.sampling.ends_at(2));
    case.sampling.ignore_eos = true;
    assert_eq!(case.token(), 1);
    assert!(!case.sampling.ends_at(0) && case.sampling.ends_at(1));
}

#[test]
fn where_nothing_is_allowed_the_sequence_gets_an_error() {
    let mut case = Case::of(&[1.0, 2.0]);
    case.sampling.allowed = Some(vec![1]);
    case.sampling.banned = vec![1];
    case.position = 17;
    let error = case.choose().expect_err("nothing is allowed");
    assert_eq!(
        error.to_string(),
        "no token is allowed after position 17: grammar, allowed, banned and stop tokens exclude all"
    );
}

#[test]
fn among_allowed_tokens_without_a_chance_the_lowest_is_chosen() {
    for nothing in [f32::NAN, f32::NEG_INFINITY] {
        let mut case = Case::of(&[1.0, 2.0, nothing, nothing]);
        case.sampling.allowed = Some(vec![3, 2]);
        for temperature in [0.0, 1.0] {
            case.sampling.spec.temperature = temperature;
            assert_eq!(case.token(), 2);
        }
    }
}

#[test]
fn samples_follow_the_adjusted_distribution() {
    let mut case = Case::of(&[0.5, 1.0, 2.0, -1.0, 1.5]);
    case.sampling = Sampling {
        spec: SampleSpec { temperature: 0.8, seed: 11, ..SampleSpec::GREEDY },
        repeat_penalty: 1.3,
        frequency_penalty: 0.25,
        presence_penalty: 0.5,
        logit_bias: vec![(3, 1.5)],
        banned: vec![4],
        ..Sampling::default()
    };
    (case.prompt, case.completion) = (vec![1, 3], vec![2, 2, 0]);
    let (n, mut history, mut chooser) = (40_000, case.history(), Chooser::default());
    let mut counts = [0usize; 5];
    for position in 0..n {
        let chosen = chooser.choose(&case.logits, position, &case.sampling, &mut history, None, 3);
        counts[chosen.expect("four are allowed").token as usize] += 1;
    }
    // 0.5/1.3 - 0.75, 1/1.3, 2/1.3 - 1, (-1 + 1.5)/1.3; the last is banned.
    let weights = [0.5 / 1.3 - 0.75, 1.0 / 1.3, 2.0 / 1.3 - 1.0, 0.5 / 1.3].map(|x: f64| (x / 0.8).exp());
    for (count, weight) in counts.into_iter().zip(weights) {
        let expected = weight / weights.iter().sum::<f64>() * f64::from(n);
        assert!((count as f64 - expected).abs() < 5.0 * expected.sqrt(), "{count} for {expected}");
    }
    assert_eq!(counts[4], 0);
}

#[test]
fn a_plain_choice_copies_nothing_and_others_only_the_first_time() {
    let mut case = Case::of(&[1.0; 1000]);
    let mut chooser = Chooser::default();
    case.sampling.spec = SampleSpec { top_k: 5, temperature: 1.0, ..SampleSpec::GREEDY };
    case.choose_with(&mut chooser).expect("all are allowed");
    assert_eq!(chooser.adjusted.capacity() + chooser.scaled.capacity(), 0);
    case.sampling.banned = vec![3];
    case.choose_with(&mut chooser).expect("most are allowed");
    let room = chooser.adjusted.as_ptr();
    case.choose_with(&mut chooser).expect("most are allowed");
    assert_eq!(chooser.adjusted.as_ptr(), room);
}

#[test]
fn a_prompts_logprobs_are_the_models_own() {
    let logits = [0.0, 1.0, f32::NAN, 3.0];
    let sum = logsumexp(&logits);
    let found = Chooser::default().prompt_logprob(&logits, 1, 2).unwrap();
    let top = vec![(3, 3.0 - sum), (1, 1.0 - sum)];
    assert_eq!(found, TokenLogprob { logprob: 1.0 - sum, top, rank: Some(2) });
    let of_nan = Chooser::default().prompt_logprob(&logits, 2, 9).unwrap();
    assert_eq!((of_nan.logprob, of_nan.top.len()), (f32::NEG_INFINITY, 3));
}

#[test]
fn logits_that_are_not_finite_are_an_error_whatever_is_allowed() {
    const INF: f32 = f32::INFINITY;
    let rows = [[1.0, INF, -INF, 2.0], [-INF; 4], [f32::NAN; 4], [f32::NAN, -INF, -INF, f32::NAN], [INF; 4]];
    for logits in rows {
        for temperature in [0.0, 1.0] {
            let mut case = Case::of(&logits);
            case.sampling.spec.temperature = temperature;
            assert_eq!(case.choose(), Err(SampleError::NotFinite), "{logits:?}");
            for hide in [
                |s: &mut Sampling| s.banned = vec![1],
                |s: &mut Sampling| s.allowed = Some(vec![0, 3]),
                |s: &mut Sampling| (s.eos_tokens, s.ignore_eos) = (vec![1], true),
                |s: &mut Sampling| (s.stop_tokens, s.min_tokens) = (vec![1], 1),
                |s: &mut Sampling| s.logit_bias = vec![(1, -100.0)],
            ] {
                let mut case = case.clone();
                hide(&mut case.sampling);
                assert_eq!(case.choose(), Err(SampleError::NotFinite), "{logits:?} {:?}", case.sampling);
            }
            let mut mask = TokenMask::new(4);
            mask.ban(1);
            case.mask = Some(mask);
            assert_eq!(case.choose(), Err(SampleError::NotFinite), "{logits:?}");
        }
        for token in 0..4 {
            let found = Chooser::default().prompt_logprob(&logits, token, 2);
            assert_eq!(found, Err(SampleError::NotFinite), "{logits:?}");
        }
    }
    // Banned and unlikely tokens are no fault of the model's.
    let mut case = Case::of(&[-INF, f32::NAN, 0.5, -INF]);
    case.sampling.banned = vec![0];
    assert_eq!(case.token(), 2);
}
