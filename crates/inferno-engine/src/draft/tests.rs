use super::*;

const ID: SeqId = SeqId(1);

/// Number of drafts for a text that repeats itself.
fn n(drafts: &mut Drafts, tokens: &[u32]) -> usize {
    let mut out = Vec::new();
    drafts.draft(ID, tokens, 8, &mut out);
    out.len()
}

fn repeating() -> Vec<u32> {
    (0..40).map(|i| i % 10).collect()
}

/// A text in which nothing was before.
fn plain(len: usize) -> Vec<u32> {
    (0..len as u32).collect()
}

#[test]
fn guesses_stop_where_they_do_not_pay_and_go_on_where_they_do() {
    let tokens = repeating();
    let mut drafts = Drafts::default();
    drafts.add(ID);
    // One sequence, and rows that cost next to nothing.
    drafts.start_step(Some((StepCost { base: 100.0, per_row: 1.0, measured: RowTimes::default() }, 1)));
    assert_eq!(n(&mut drafts, &tokens), 8);
    // Many sequences: every row costs what a token brings.
    drafts.start_step(Some((StepCost { base: 10.0, per_row: 10.0, measured: RowTimes::default() }, 32)));
    assert_eq!(n(&mut drafts, &tokens), 0);
    drafts.remove(ID);
    drafts.add(ID);
    drafts.start_step(Some((StepCost { base: 100.0, per_row: 1.0, measured: RowTimes::default() }, 1)));
    drafts.learn(ID, 8, 0, tokens.len());
    assert_eq!(n(&mut drafts, &tokens), 0, "it pauses after guesses that were all wrong");
}

/// A step of the draft model takes `share` of the model's.
fn with_model(share: f64) -> Drafts {
    let mut drafts = Drafts::with_model(None);
    drafts.add(ID);
    drafts.observe_model((share * 1e4) as Micros, 1);
    drafts
}

fn start(drafts: &mut Drafts) {
    drafts.start_step(Some((StepCost { base: 9_900.0, per_row: 100.0, measured: RowTimes::default() }, 1)));
}

#[test]
fn a_draft_model_proposes_more_the_cheaper_and_the_better_it_is() {
    let tokens = plain(40);
    let mut cheap = with_model(0.05);
    start(&mut cheap);
    let n_cheap = n(&mut cheap, &tokens);
    assert!((4..=8).contains(&n_cheap), "{n_cheap}");
    assert_eq!(cheap.source(ID), Source::Model);
    let mut dear = with_model(0.4);
    start(&mut dear);
    let n_dear = n(&mut dear, &tokens);
    assert!((1..=2).contains(&n_dear), "{n_dear}");
    // Proposals of which 80 % are right stay, and one step without any does not end them.
    for round in 0..200 {
        start(&mut cheap);
        let n = n(&mut cheap, &tokens);
        assert!(n >= 3, "round {round}: {n}");
        cheap.learn(ID, n, [n, 0, n, 2, n][round % 5].min(n), tokens.len());
    }
}

#[test]
fn a_draft_model_that_is_wrong_pauses_ever_longer_and_is_tried_again() {
    let mut drafts = with_model(0.1);
    let mut asked = Vec::new();
    let mut len = 40;
    while len < 2_000 {
        start(&mut drafts);
        let n = n(&mut drafts, &plain(len));
        if n > 0 {
            asked.push(len);
            drafts.learn(ID, n, 0, len + 1);
        }
        len += 1;
    }
    let late = asked.iter().filter(|len| **len > 600).count();
    assert!((3..60).contains(&late), "{late} of 1400 steps: {asked:?}");
    // The text changes, and all proposals are right from now on.
    let mut n_right = 0;
    while len < 4_000 {
        start(&mut drafts);
        let n = n(&mut drafts, &plain(len));
        drafts.learn(ID, n, n, len + 1 + n);
        n_right += n;
        len += 1 + n;
    }
    assert!(n_right > 1_000, "{n_right} of 2000 tokens");
}

#[test]
fn a_number_that_was_asked_for_is_proposed_whatever_it_costs() {
    let mut drafts = Drafts::with_model(Some(3));
    drafts.add(ID);
    drafts.observe_model(1_000_000, 1);
    for _ in 0..20 {
        start(&mut drafts);
        assert_eq!(n(&mut drafts, &repeating()), 3);
        drafts.learn(ID, 3, 0, 40);
    }
    let mut out = Vec::new();
    start(&mut drafts);
    drafts.draft(ID, &repeating(), 2, &mut out);
    assert_eq!((out.len(), drafts.source(ID)), (2, Source::Model));
}

#[test]
fn text_is_preferred_where_it_promises_more_than_the_draft_model() {
    let tokens = repeating();
    let mut drafts = with_model(0.3);
    start(&mut drafts);
    assert_eq!(n(&mut drafts, &tokens), 8);
    assert_eq!(drafts.source(ID), Source::Text);
    // Its drafts are wrong.
    drafts.learn(ID, 8, 0, tokens.len());
    start(&mut drafts);
    assert!(n(&mut drafts, &tokens) > 0);
    assert_eq!(drafts.source(ID), Source::Model);
}

#[test]
fn a_draft_model_that_fails_three_times_is_asked_no_more() {
    let mut drafts = with_model(0.1);
    for _ in 0..3 {
        start(&mut drafts);
        assert!(n(&mut drafts, &plain(40)) > 0 && drafts.asks_model());
        drafts.fail_model();
    }
    start(&mut drafts);
    assert_eq!((n(&mut drafts, &plain(40)), drafts.asks_model()), (0, false));
}

#[test]
fn the_time_saved_is_that_of_the_steps_that_were_not_needed() {
    let mut drafts = with_model(0.1);
    start(&mut drafts);
    n(&mut drafts, &plain(40));
    // Five drafts at a row and a step of the draft model each; four steps less.
    assert_eq!(drafts.saved(ID, 5, 4), 4 * 10_000 - 5 * (100 + 1_000));
    assert!(drafts.saved(ID, 5, 0) < 0);
}

#[test]
fn a_number_of_rows_that_takes_much_longer_is_avoided() {
    // Rows in groups of four, as kernels take them.
    let mut measured = RowTimes::default();
    (1..=4).for_each(|n| measured.observe(n, 10_000));
    (5..=8).for_each(|n| measured.observe(n, 18_000));
    let mut drafts = with_model(0.05);
    drafts.start_step(Some((StepCost { base: 9_000.0, per_row: 1_000.0, measured }, 1)));
    assert_eq!(n(&mut drafts, &plain(50)), 3);
    // Two drafts beside two sequences.
    drafts.start_step(Some((StepCost { base: 9_000.0, per_row: 1_000.0, measured }, 2)));
    assert_eq!(n(&mut drafts, &plain(50)), 2);
}
