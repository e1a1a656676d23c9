//! DRY against its definition, which looks for every repetition of every length.

use super::*;
use crate::sampler::dry::DryRoom;

/// The loss of `token`: by the longest end of the sequence that is there before, followed by `token`. `breakers` are single tokens.
fn naive(dry: &Dry, tokens: &[u32], breakers: &[u32], token: u32) -> f32 {
    let window = &tokens[tokens.len().saturating_sub(dry.last_n.unwrap_or(tokens.len()))..];
    let since = window.iter().rposition(|t| breakers.contains(t)).map_or(0, |i| i + 1);
    let reach = window.len() - since;
    let longest = (0..window.len())
        .filter(|&i| window[i] == token)
        .map(|i| {
            (0..=reach.min(i)).take_while(|&n| window[i - n..i] == window[window.len() - n..]).last().unwrap()
        })
        .max();
    match longest {
        Some(n) if n >= dry.allowed_length as usize && n > 0 && !breakers.contains(&token) => {
            dry.multiplier * dry.base.powi(n as i32 - dry.allowed_length as i32)
        }
        _ => 0.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn repetitions_are_those_of_the_naive_definition(
        tokens in prop::collection::vec(0u32..4, 0..60),
        breakers in prop::collection::vec(0u32..5, 0..2),
        allowed_length in 1u32..5,
        last_n in prop::option::of(1usize..40),
    ) {
        let pairs = breakers.iter().map(|&token| (token, vec![]));
        let breakers_of = Arc::new(Breakers::new(pairs));
        let dry = Dry { multiplier: 0.5, base: 1.25, allowed_length, last_n, breakers: breakers_of };
        let mut room = DryRoom::default();
        room.search(&dry, &tokens);
        for token in 0..5 {
            let (found, expected) = (-room.penalized(&dry, token, 0.0), naive(&dry, &tokens, &breakers, token));
            prop_assert!((found - expected).abs() <= 1e-4 * expected, "{token}: {found} for {expected}");
        }
    }
}

fn penalty(tokens: &[u32], breakers: &[(u32, &[u32])], token: u32) -> f32 {
    let breakers = Breakers::new(breakers.iter().map(|&(head, tail)| (head, tail.to_vec())));
    let dry =
        Dry { multiplier: 1.0, base: 2.0, allowed_length: 2, last_n: None, breakers: Arc::new(breakers) };
    let mut room = DryRoom::default();
    room.search(&dry, tokens);
    -room.penalized(&dry, token, 0.0)
}

#[test]
fn the_example_of_llama_cpp_comes_out_as_there() {
    // a b c c b c y a b c: `c` would go on with three tokens, `y` with two, `b` with one.
    let tokens = [1, 2, 3, 3, 2, 3, 9, 1, 2, 3];
    let penalties = [1, 2, 3, 9].map(|token| penalty(&tokens, &[], token));
    assert_eq!(penalties, [0.0, 0.0, 2.0, 1.0]);
}

#[test]
fn the_tests_of_llama_cpp_give_what_they_give_there() {
    // tests/test-sampling.cpp: tokens, single-token breakers, allowed length, the token that loses, and what.
    type Row = (&'static [u32], &'static [u32], u32, Option<(u32, f32)>);
    let rows: [Row; 4] = [
        (&[0, 1], &[], 2, None),
        (&[0, 1, 2, 0, 1], &[], 2, Some((2, 1.0))),
        (&[0, 1, 3, 4, 0, 1], &[3], 2, None),
        (&[0, 1, 2, 3, 4, 0, 1], &[], 4, None),
    ];
    for (tokens, breakers, allowed_length, expected) in rows {
        let breakers = Arc::new(Breakers::new(breakers.iter().map(|&token| (token, vec![]))));
        let dry = Dry { multiplier: 1.0, base: 1.1, allowed_length, last_n: Some(tokens.len()), breakers };
        let mut room = DryRoom::default();
        room.search(&dry, tokens);
        let lost = (0..5).map(|t| (t, -room.penalized(&dry, t, 0.0))).find(|lost| lost.1 != 0.0);
        assert_eq!(lost, expected, "{tokens:?}");
    }
}

#[test]
fn a_breaker_of_several_tokens_ends_a_repetition_only_as_a_whole() {
    let tokens = [1, 2, 3, 4, 5, 1, 2, 3, 4];
    assert_eq!(penalty(&tokens, &[], 5), 4.0);
    // 2 3 is a breaker: only 4 is behind it.
    assert_eq!(penalty(&tokens, &[(2, &[3])], 5), 0.0);
    assert_eq!(penalty(&tokens, &[(1, &[2])], 5), 1.0);
    assert_eq!(penalty(&tokens, &[(2, &[9])], 5), 4.0);
    // The token would be one itself.
    assert_eq!(penalty(&tokens, &[(5, &[])], 5), 0.0);
    assert_eq!(penalty(&tokens, &[(5, &[7])], 5), 4.0);
}

#[test]
fn a_long_repetition_leaves_logits_numbers() {
    let tokens = [7u32; 5000];
    let loss = penalty(&tokens, &[], 7);
    assert!(loss.is_finite() && loss > 1e30, "{loss}");
}
