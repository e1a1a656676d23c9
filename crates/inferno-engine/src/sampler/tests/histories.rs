//! Histories and masks: what is taken back was never there.

use super::*;

proptest! {
    #[test]
    fn a_history_with_drafts_taken_back_is_that_without_them(
        sampling in sampling(6),
        prompt in prop::collection::vec(0u32..6, 0..20),
        steps in prop::collection::vec((prop::collection::vec(0u32..6, 0..8), 0usize..12), 0..8),
    ) {
        let mut history = History::new(&sampling, &prompt);
        let mut completion: Vec<u32> = Vec::new();
        for (drafts, n_rejected) in steps {
            drafts.iter().for_each(|&token| history.push(token));
            completion.extend(&drafts);
            let n = n_rejected.min(completion.len());
            history.rollback(n);
            completion.truncate(completion.len() - n);

            let mut fresh = History::new(&sampling, &prompt);
            completion.iter().for_each(|&token| fresh.push(token));
            let logits = [3.0, -3.0, 0.5, -0.5, 0.0, 9.0];
            let (mut a, mut b) = (logits, logits);
            history.penalize(&mut a, &sampling);
            fresh.penalize(&mut b, &sampling);
            prop_assert_eq!(a, b);
            let case = Case { sampling: Sampling {
                allowed: None, banned: vec![], min_tokens: 0, ignore_eos: false, logit_bias: vec![],
                ..sampling.clone()
            }, prompt: prompt.clone(), completion: completion.clone(), ..Case::of(&logits) };
            prop_assert_eq!(&case.adjusted()[..], &a[..]);
        }
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
        both.intersect_words(&mask.words()[..mask.words().len() - 1]);
        prop_assert!((0..n as u32).all(|t| both.is_allowed(t) == (set.contains(&t) && t < (n as u32 - 1) / 64 * 64)));
    }
}

#[test]
fn a_history_without_penalties_keeps_nothing() {
    let mut history = History::new(&Sampling::default(), &[1, 2, 3]);
    history.push(4);
    history.rollback(1);
    assert!(!history.is_tracking());
}

#[test]
#[should_panic(expected = "only chosen tokens can be taken back")]
fn a_prompt_cannot_be_taken_back() {
    let sampling = Sampling { repeat_penalty: 1.1, ..Sampling::default() };
    let mut history = History::new(&sampling, &[1, 2, 3]);
    history.push(4);
    history.rollback(2);
}

/// Sums of tokens stay even, and four tokens are enough.
struct Even(Vec<u32>);

impl Constraint for Even {
    fn mask(&mut self, mask: &mut TokenMask) {
        (1..mask.n_tokens() as u32).step_by(2).for_each(|token| mask.ban(token));
    }
    fn commit(&mut self, token: u32) {
        self.0.push(token);
    }
    fn rollback(&mut self, n: usize) {
        self.0.truncate(self.0.len() - n);
    }
    fn finished(&self) -> bool {
        self.0.len() >= 4
    }
}

#[test]
fn a_constraint_goes_forth_and_back_with_its_sequence() {
    let mut constraint: Box<dyn Constraint> = Box::new(Even(vec![]));
    let sampling = Sampling {
        spec: SampleSpec { temperature: 1.0, seed: 5, ..SampleSpec::GREEDY },
        presence_penalty: 1.0,
        ..Sampling::default()
    };
    let mut history = History::new(&sampling, &[1, 1]);
    let (mut chooser, mut mask, logits) = (Chooser::default(), TokenMask::new(9), [0.0; 9]);
    let (mut tokens, mut again) = (Vec::new(), false);
    while !constraint.finished() {
        mask.allow_all();
        constraint.mask(&mut mask);
        let (position, n) = (1 + tokens.len() as u32, tokens.len());
        let chosen = chooser.choose(&logits, position, &sampling, &history, Some(&mask), n);
        let token = chosen.expect("even tokens are allowed").token;
        assert_eq!(token % 2, 0);
        tokens.push(token);
        constraint.commit(token);
        history.push(token);
        if tokens.len() == 3 && !again {
            // Two of them were drafts; they come again as they were.
            constraint.rollback(2);
            history.rollback(2);
            let rejected = tokens.split_off(1);
            again = true;
            for token in rejected {
                let (position, n) = (1 + tokens.len() as u32, tokens.len());
                let chosen = chooser.choose(&logits, position, &sampling, &history, Some(&mask), n);
                assert_eq!(chosen.map(|c| c.token), Ok(token));
                tokens.push(token);
                constraint.commit(token);
                history.push(token);
            }
        }
    }
    assert_eq!(tokens.len(), 4);
}
