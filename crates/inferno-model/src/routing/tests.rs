use super::*;

fn routed(logits: &[f32], bias: Option<&[f32]>, routing: &Routing) -> Vec<(usize, f32)> {
    let mut out = Vec::new();
    route(logits, bias, routing, &mut out);
    out.into_iter().map(|c| (c.expert, c.share)).collect()
}

#[test]
fn routing_takes_the_best_then_the_lowest_ids_and_weighs_them() {
    let routing = Routing::softmax(2);
    let tied = routed(&[1.0, 3.0, 3.0, 3.0], None, &routing);
    assert_eq!(tied, [(1, 0.5), (2, 0.5)]);
    // The better one has the higher id: it still comes second.
    let ascending = routed(&[0.0, 2.0, -9.0, 3.0], None, &routing);
    let share = 1.0 / (1.0 + (-1.0f64).exp()) as f32;
    assert_eq!((ascending[0].0, ascending[1].0), (1, 3));
    assert!((ascending[1].1 - share).abs() < 1e-6, "{ascending:?}");
    // As they are, of the softmax over all; and scaled.
    let plain = Routing { renormalize: false, ..routing };
    let sum: f64 = [0.0f64, 2.0, -9.0, 3.0].iter().map(|x| x.exp()).sum();
    let best = routed(&[0.0, 2.0, -9.0, 3.0], None, &plain)[1].1;
    assert!((f64::from(best) - 3.0f64.exp() / sum).abs() < 1e-6, "{best}");
    let scaled = routed(&[0.0, 2.0, -9.0, 3.0], None, &Routing { scale: 2.5, ..plain })[1].1;
    assert!((scaled - 2.5 * best).abs() < 1e-6, "{scaled}");
}

#[test]
fn a_bias_selects_but_does_not_weigh() {
    let routing = Routing { gating: Gating::Sigmoid, ..Routing::softmax(2) };
    let logits = [2.0, 0.0, -2.0, 0.0];
    assert_eq!(routed(&logits, None, &routing).iter().map(|c| c.0).collect::<Vec<_>>(), [0, 1]);
    let biased = routed(&logits, Some(&[-1.0, 0.0, 0.0, 0.5]), &routing);
    assert_eq!(biased, [(1, 0.5), (3, 0.5)]);
    let plain = Routing { renormalize: false, scale: 3.0, ..routing };
    assert_eq!(routed(&logits, Some(&[-1.0, 0.0, 0.0, 0.5]), &plain), [(1, 1.5), (3, 1.5)]);
}

#[test]
fn shares_that_are_all_zero_stay_zero() {
    let routing = Routing { gating: Gating::Sigmoid, ..Routing::softmax(1) };
    assert_eq!(routed(&[-200.0, -300.0], None, &routing), [(0, 0.0)]);
}

#[test]
fn a_softplus_is_precise_on_both_sides() {
    let routing = Routing { gating: Gating::SqrtSoftplus, renormalize: false, ..Routing::softmax(3) };
    for (expert, share) in routed(&[-20.0, 0.3, 60.0], None, &routing) {
        let x = [-20.0f64, f64::from(0.3f32), 60.0][expert];
        let expected = x.exp().ln_1p().sqrt();
        assert!((f64::from(share) / expected - 1.0).abs() < 1e-6, "{x}: {share}");
    }
}

#[test]
fn groups_with_the_best_pairs_are_kept_and_ties_go_to_the_lowest() {
    let of_groups = |n, n_used, n_best| Routing {
        gating: Gating::Sigmoid,
        groups: Some(Groups { n, n_used, n_best }),
        renormalize: false,
        ..Routing::softmax(2)
    };
    let ids = |logits: &[f32], routing: &Routing| {
        routed(logits, None, routing).iter().map(|c| c.0).collect::<Vec<_>>()
    };
    // The best expert of all is in a group with a bad pair.
    let logits = [3.0, -9.0, 2.0, 2.0, 1.0, 1.0];
    assert_eq!(ids(&logits, &of_groups(3, 1, 2)), [2, 3]);
    assert_eq!(ids(&logits, &of_groups(3, 1, 1)), [0, 1]);
    assert_eq!(ids(&logits, &of_groups(3, 2, 1)), [0, 2]);
    assert_eq!(ids(&logits, &of_groups(1, 1, 2)), [0, 2]);
    // All groups are equal: the first two.
    assert_eq!(ids(&[0.5; 8], &of_groups(4, 2, 2)), [0, 1]);
    // A bias moves a group, too.
    let bias = [0.0, 0.0, 0.0, 0.0, 5.0, 0.0];
    let biased = routed(&logits, Some(&bias), &of_groups(3, 1, 2));
    assert_eq!((biased[0].0, biased[1].0), (4, 5));
}
