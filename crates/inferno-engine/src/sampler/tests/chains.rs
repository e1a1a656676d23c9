//! Samplers in any order, Mirostat's state, and what is drawn where.

use inferno_model::sample::Room;

use super::*;

/// `sampling` with other samplers.
fn with(spec: SampleSpec, samplers: &Samplers) -> Sampling {
    let mut sampling = Sampling { spec, ..Sampling::default() };
    samplers.add_to(&mut sampling, Arc::default());
    sampling
}

const HOT: SampleSpec = SampleSpec { temperature: 1.0, seed: 3, ..SampleSpec::GREEDY };
const USUAL: SampleSpec = SampleSpec { top_k: 40, top_p: 0.95, min_p: 0.05, temperature: 0.7, ..HOT };

fn order(kinds: &[SamplerKind]) -> Samplers {
    Samplers { order: Some(kinds.into()), ..Samplers::default() }
}

/// Logits of a token each, most of them small.
fn row() -> Vec<f32> {
    (0..300).map(|i| 9.0 - 2.0 * (1.0 + (i * 7 % 300) as f32).ln()).collect()
}

fn tokens(sampling: &Sampling) -> Vec<u32> {
    let (row, mut chooser) = (row(), Chooser::default());
    let mut history = History::new(sampling, &[]);
    let mut token = |position| chooser.choose(&row, position, sampling, &mut history, None, 0).unwrap().token;
    (0..200).map(&mut token).collect()
}

#[test]
fn what_the_default_order_has_takes_no_chain_and_suits_devices() {
    use SamplerKind::*;
    let plain = Sampling { spec: USUAL, ..Sampling::default() };
    for samplers in [
        Samplers::default(),
        Samplers { min_keep: 1, xtc_threshold: 0.6, xtc_probability: 1.0, ..Samplers::default() },
        order(&SamplerKind::DEFAULT_ORDER),
        order(&[TopK, TopP, MinP, Temperature]),
        // What does nothing may be anywhere.
        order(&[Xtc, TopK, Dry, TopP, Penalties, MinP, Temperature, TypicalP]),
    ] {
        let sampling = with(USUAL, &samplers);
        assert_eq!(sampling, plain, "{samplers:?}");
        assert!(sampling.suits_devices());
    }
    assert_eq!(
        with(USUAL, &order(&[TopK, Temperature])).spec,
        SampleSpec { top_p: 1.0, min_p: 0.0, ..USUAL }
    );
    assert_eq!(with(USUAL, &order(&[])).spec, SampleSpec { top_k: 0, top_p: 1.0, min_p: 0.0, ..HOT });
    for samplers in [
        order(&[Temperature, TopK, TopP, MinP]),
        order(&[TopK, TopK, TopP, MinP, Temperature]),
        Samplers { min_keep: 2, ..Samplers::default() },
        Samplers { top_n_sigma: 1.0, ..Samplers::default() },
        Samplers { typical_p: 0.9, ..Samplers::default() },
        Samplers { xtc_probability: 0.1, ..Samplers::default() },
        Samplers { dynatemp_range: 0.1, ..Samplers::default() },
        Samplers { dry_multiplier: 0.1, ..Samplers::default() },
    ] {
        let sampling = with(USUAL, &samplers);
        assert!(!sampling.suits_devices(), "{samplers:?}");
        assert!(sampling.chain.is_some() || sampling.dry.is_some(), "{samplers:?}");
        assert_eq!(sampling.validate(300), Ok(()));
    }
    // Filters that only cut others leave a greedy choice what it is.
    let greedy = with(SampleSpec::GREEDY, &Samplers { top_n_sigma: 1.0, min_keep: 3, ..Samplers::default() });
    assert_eq!(greedy, Sampling::default());
    // XTC does not.
    let xtc = Samplers { xtc_probability: 1.0, xtc_threshold: 0.001, ..Samplers::default() };
    assert_ne!(tokens(&with(SampleSpec::GREEDY, &xtc))[0], tokens(&Sampling::default())[0]);
}

#[test]
fn samplers_left_out_of_the_order_are_off() {
    use SamplerKind::*;
    let mut sampling = Sampling {
        spec: USUAL,
        repeat_penalty: 1.5,
        frequency_penalty: 0.5,
        presence_penalty: 0.5,
        ..Sampling::default()
    };
    let samplers = Samplers { dry_multiplier: 1.0, xtc_probability: 1.0, ..order(&[TopK]) };
    samplers.add_to(&mut sampling, Arc::default());
    let expected = SampleSpec { top_p: 1.0, min_p: 0.0, temperature: 1.0, ..USUAL };
    assert_eq!(sampling, Sampling { spec: expected, ..Sampling::default() });
}

#[test]
fn an_order_is_followed() {
    use SamplerKind::*;
    // After a high temperature top-p keeps more.
    let spec = SampleSpec { top_p: 0.8, temperature: 3.0, ..HOT };
    let distinct = |samplers: &Samplers| {
        let mut all = tokens(&with(spec, samplers));
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    let (before, after) = (distinct(&order(&[TopP, Temperature])), distinct(&order(&[Temperature, TopP])));
    assert!(after > 3 * before, "{before} and {after}");
    // Penalties behind top-k cannot bring in others.
    let mut sampling = Sampling {
        spec: SampleSpec { top_k: 2, temperature: 0.0, ..HOT },
        presence_penalty: 2.0,
        ..Sampling::default()
    };
    order(&[TopK, Penalties, Temperature]).add_to(&mut sampling, Arc::default());
    let mut case = Case::of(&[3.0, 2.9, 2.8]);
    (case.sampling, case.completion) = (sampling, vec![0, 1]);
    assert_eq!(case.token(), 0);
    order(&[Penalties, TopK, Temperature]).add_to(&mut case.sampling, Arc::default());
    assert_eq!(case.token(), 2);
}

#[test]
fn where_xtc_does_nothing_seeds_give_the_tokens_that_they_give_without() {
    let never = Samplers { xtc_probability: 1e-9, ..Samplers::default() };
    for spec in [HOT, USUAL, SampleSpec { top_p: 0.9, ..HOT }] {
        assert!(with(spec, &never).chain.is_some());
        assert_eq!(tokens(&with(spec, &never)), tokens(&with(spec, &Samplers::default())));
    }
    let half = Samplers { xtc_probability: 0.5, xtc_threshold: 0.05, ..Samplers::default() };
    let (with_xtc, without) = (tokens(&with(HOT, &half)), tokens(&with(HOT, &Samplers::default())));
    let n_same = with_xtc.iter().zip(&without).filter(|t| t.0 == t.1).count();
    // The same where the coin says no, and where it had not been one of the best anyway.
    assert!((100..190).contains(&n_same), "{n_same}");
}

#[test]
fn mirostat_belongs_to_the_sequence() {
    for version in [MirostatVersion::One, MirostatVersion::Two] {
        let mirostat = Some(Mirostat { version, tau: 2.0, eta: 0.3 });
        let sampling = with(USUAL, &Samplers { mirostat, ..Samplers::default() });
        assert!(!sampling.suits_devices());
        let all = tokens(&sampling);
        assert_eq!(all, tokens(&sampling));
        // The state of another sequence has no part in it, and its own does.
        let (row, mut chooser) = (row(), Chooser::default());
        let mut histories = [(); 2].map(|()| History::new(&sampling, &[]));
        for (position, &token) in (0..).zip(&all) {
            for history in &mut histories {
                let chosen = chooser.choose(&row, position, &sampling, history, None, 0).unwrap();
                assert_eq!(chosen.token, token);
            }
        }
        let fresh = |position: u32| {
            let mut history = History::new(&sampling, &[]);
            Chooser::default().choose(&row, position, &sampling, &mut history, None, 0).unwrap().token
        };
        assert!((0..).zip(&all).any(|(position, &token)| fresh(position) != token));
    }
}

#[test]
fn bad_words_are_banned_at_their_last_token_in_the_completion_alone() {
    let mut case = Case::of(&[0.0, 1.0, 2.0, 3.0]);
    case.sampling.bad_words = [vec![3].into(), vec![1, 2].into()].into();
    assert_eq!(case.token(), 2);
    case.prompt = vec![1];
    assert_eq!(case.token(), 2);
    case.completion = vec![0, 1];
    assert_eq!(case.token(), 1);
    case.completion = vec![1, 0];
    assert_eq!(case.token(), 2);
    case.sampling.allowed = Some(vec![3]);
    assert_eq!(case.choose(), Err(SampleError::NothingAllowed { position: 0 }));
}

#[test]
fn logprobs_beside_a_mask_are_of_the_unmasked_distribution() {
    let logits = [0.0, 1.0, 2.0, 3.0];
    let sum = logsumexp(&logits);
    let mut case = Case::of(&logits);
    let mut mask = TokenMask::new(4);
    mask.ban(3);
    mask.ban(2);
    case.mask = Some(mask);
    case.sampling.logprobs = Some(Logprobs { top: 2, of: Distribution::Raw });
    let chosen = case.choose().unwrap();
    assert_eq!(chosen.token, 1);
    let expected = TokenLogprob { logprob: 1.0 - sum, top: vec![(3, 3.0 - sum), (2, 2.0 - sum)], rank: None };
    assert_eq!(chosen.logprob, Some(expected.clone()));
    // The same for a token that a grammar forces: it is not sampled.
    let forced = Chooser::default().prompt_logprob(&logits, 1, 2).unwrap();
    assert_eq!(forced, TokenLogprob { rank: Some(3), ..expected });
}

#[test]
fn logprobs_of_tokens_that_were_asked_for_are_told_with_the_chosen_one() {
    let mut case = Case::of(&[0.0, 1.0, f32::NEG_INFINITY, 3.0]);
    let sum = logsumexp(&case.logits);
    case.sampling.logprobs = Some(Logprobs { top: 20, of: Distribution::Raw });
    case.sampling.logprob_tokens = [2, 1].into();
    let told = case.choose().unwrap().logprob.unwrap();
    assert_eq!(told.top, [(3, 3.0 - sum), (1, 1.0 - sum), (2, f32::NEG_INFINITY)]);
}

#[test]
fn ranks_count_from_the_best_token() {
    let logits = [2.0, 5.0, f32::NAN, 5.0, f32::NEG_INFINITY];
    let ranks = (0..5).map(|token| rank(&logits, token)).collect::<Vec<_>>();
    let mut order = Vec::new();
    top_k(&logits, 5, &mut order);
    let mut places = (0..4u32).map(|t| 1 + order.iter().position(|c| c.0 == t).unwrap() as u32);
    assert_eq!(ranks[..2], places.clone().take(2).collect::<Vec<_>>());
    assert_eq!((ranks[3], places.next_back()), (2, Some(2)));
}

#[test]
fn a_chain_leaves_what_its_samplers_leave_one_after_the_other() {
    let spec = SampleSpec { top_k: 50, min_p: 0.01, temperature: 1.5, ..HOT };
    let samplers = Samplers {
        typical_p: 0.9,
        xtc_probability: 1.0,
        xtc_threshold: 0.05,
        top_n_sigma: 3.0,
        dynatemp_range: 0.5,
        ..order(&[
            SamplerKind::Temperature,
            SamplerKind::MinP,
            SamplerKind::TypicalP,
            SamplerKind::Xtc,
            SamplerKind::TopNSigma,
            SamplerKind::TopK,
        ])
    };
    let (mut room, mut row) = (Room::default(), row());
    let original = row.clone();
    let mut candidates = room.candidates(&mut row);
    candidates.dynamic_temperature(1.5, 0.5, 1.0);
    candidates.min_p(0.01, 0);
    candidates.typical_p(0.9, 0);
    candidates.xtc((1.0, 0.05), 0, 0.0);
    candidates.top_n_sigma(3.0);
    candidates.top_k(50);
    let mut case = Case::of(&original);
    case.sampling = with(spec, &samplers);
    case.sampling.logprobs = Some(Logprobs { top: 20, of: Distribution::Filtered });
    case.position = 5;
    let chosen = case.choose().unwrap();
    let draws = inferno_model::sample::Draws::new(3, 0, 5);
    assert_eq!(chosen.token, candidates.draw(draws.of_token()));
    assert!(matches!(candidates.left(), Left::List { .. }));
    let told = chosen.logprob.unwrap().top.into_iter().map(|t| t.0);
    let expected: Vec<u32> = room.list().iter().map(|c| c.0).take(20).collect();
    assert_eq!(told.collect::<Vec<_>>(), expected);
}
