//! What a request may not ask, and what it is told.

use super::*;

/// What is wrong with the default after `change`, for a vocabulary of 100.
fn error(change: impl FnOnce(&mut Sampling)) -> String {
    let mut sampling = Sampling::default();
    change(&mut sampling);
    sampling.validate(100).map_or_else(|e| e.to_string(), |()| "valid".to_owned())
}

#[test]
fn an_error_names_the_parameter_its_value_and_what_it_may_be() {
    assert_eq!(error(|s| s.spec.temperature = -1.0), "`temperature` is -1, expected a number from 0 on");
    assert_eq!(error(|s| s.spec.temperature = f32::NAN), "`temperature` is NaN, expected a number from 0 on");
    assert_eq!(
        error(|s| s.spec.temperature = f32::INFINITY),
        "`temperature` is inf, expected a number from 0 on"
    );
    assert_eq!(error(|s| s.spec.top_p = 1.5), "`top_p` is 1.5, expected a number from 0 to 1");
    assert_eq!(error(|s| s.spec.min_p = f32::NAN), "`min_p` is NaN, expected a number from 0 to 1");
    assert_eq!(error(|s| s.repeat_penalty = 0.0), "`repeat_penalty` is 0, expected a number above 0");
    assert_eq!(
        error(|s| s.frequency_penalty = 2.5),
        "`frequency_penalty` is 2.5, expected a number from -2 to 2"
    );
    assert_eq!(
        error(|s| s.presence_penalty = -3.0),
        "`presence_penalty` is -3, expected a number from -2 to 2"
    );
    assert_eq!(
        error(|s| s.logit_bias = vec![(7, 101.0)]),
        "`logit_bias` is 101 for token 7, expected a number from -100 to 100"
    );
    assert_eq!(
        error(|s| s.logit_bias = vec![(100, 1.0)]),
        "`logit_bias` is token 100, expected tokens below 100"
    );
    assert_eq!(error(|s| s.allowed = Some(vec![])), "`allowed` is empty, expected at least one token");
    assert_eq!(
        error(|s| s.allowed = Some(vec![1, 200])),
        "`allowed` is token 200, expected tokens below 100"
    );
    assert_eq!(error(|s| s.banned = vec![100]), "`banned` is token 100, expected tokens below 100");
    assert_eq!(error(|s| s.stop_tokens = vec![100]), "`stop_tokens` is token 100, expected tokens below 100");
    assert_eq!(error(|s| s.eos_tokens = vec![100]), "`eos_tokens` is token 100, expected tokens below 100");
    let logprobs = Some(Logprobs { top: 21, of: Distribution::Raw });
    assert_eq!(error(|s| s.logprobs = logprobs), "`logprobs.top` is 21, expected at most 20");
}

#[test]
fn the_ends_of_every_range_are_valid() {
    let ends = |low: f32, high: f32| [low, high];
    for [x, bias] in [ends(-2.0, -100.0), ends(2.0, 100.0)] {
        assert_eq!(error(|s| (s.frequency_penalty, s.presence_penalty) = (x, x)), "valid");
        assert_eq!(error(|s| s.logit_bias = vec![(99, bias)]), "valid");
    }
    for p in [0.0, 1.0] {
        assert_eq!(error(|s| (s.spec.top_p, s.spec.min_p, s.spec.temperature) = (p, p, p)), "valid");
    }
    assert_eq!(error(|s| s.logprobs = Some(Logprobs { top: 20, of: Distribution::Filtered })), "valid");
    assert_eq!(error(|s| s.repeat_last_n = Some(0)), "valid");
}
