//! Histories and masks.

use super::*;

proptest! {
    #[test]
    fn a_history_penalizes_what_its_tokens_are(
        sampling in sampling(6),
        prompt in prop::collection::vec(0u32..6, 0..20),
        completion in prop::collection::vec(0u32..6, 0..40),
    ) {
        let mut history = History::new(&sampling, &prompt);
        completion.iter().for_each(|&token| history.push(token));
        let logits = [3.0, -3.0, 0.5, -0.5, 0.0, 9.0];
        let mut penalized = logits;
        history.penalize(&mut penalized, &sampling);
        let case = Case { sampling: Sampling {
            allowed: None, banned: vec![], min_tokens: 0, ignore_eos: false, logit_bias: vec![],
            bad_words: Arc::default(),
            ..sampling
        }, prompt, completion, ..Case::of(&logits) };
        prop_assert_eq!(&case.adjusted()[..], &penalized[..]);
    }

    #[test]
    fn a_mask_is_a_set(n in 1usize..200, changes in prop::collection::vec((0u32..200, any::<bool>()), 0..60)) {
        let mut mask = TokenMask::new(n);
        let mut set: std::collections::BTreeSet<u32> = (0..n as u32).collect();
        for (token, allow) in changes {
            if allow && (token as usize) < n {
                mask.allow(token);
                set.insert(token);
            } else if !allow {
                mask.ban(token);
                set.remove(&token);
            }
        }
        prop_assert!((0..300).all(|t| mask.is_allowed(t) == set.contains(&t)));
        prop_assert_eq!((mask.n_allowed(), mask.first_allowed()), (set.len(), set.first().copied()));
        let mut logits = vec![1.0; n];
        mask.apply(&mut logits);
        prop_assert!((0u32..).zip(&logits).all(|(t, &l)| (l == 1.0) == set.contains(&t)));
        let mut both = TokenMask::new(n);
        both.intersect(&mask);
        prop_assert_eq!(&both, &mask);
        both.allow_all();
        let words: Vec<u64> = (0..(n - 1) / 64)
            .map(|word| (0..64).map(|bit| u64::from(set.contains(&(64 * word as u32 + bit))) << bit).sum())
            .collect();
        let halves: Vec<u32> = words.iter().flat_map(|&word| [word as u32, (word >> 32) as u32]).collect();
        let mut by_halves = both.clone();
        by_halves.intersect_half_words(&halves);
        both.intersect_words(&words);
        prop_assert_eq!(&by_halves, &both);
        prop_assert!((0..n as u32).all(|t| both.is_allowed(t) == (set.contains(&t) && t < (n as u32 - 1) / 64 * 64)));
    }
}

#[test]
fn a_history_without_penalties_keeps_nothing() {
    let mut history = History::new(&Sampling::default(), &[1, 2, 3]);
    history.push(4);
    assert!(!history.is_tracking());
}
