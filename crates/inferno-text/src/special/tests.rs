use super::*;
use proptest::prelude::*;

fn set(texts: &[String]) -> Set {
    let mut texts: Vec<&String> = texts.iter().collect();
    texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
    let token = |(id, text): (u32, &&String)| Token {
        id,
        finder: memchr::memmem::Finder::new(text.as_bytes()).into_owned(),
        strips_right: id % 3 == 0,
    };
    let automaton = automaton(texts.iter().map(|t| t.as_bytes()));
    Set { tokens: (0..).zip(&texts).map(token).collect(), automaton: Some(automaton) }
}

fn one_by_one<'t>(set: &Set, text: &'t str) -> Vec<Part<'t>> {
    set.partition_one_by_one(text, &vec![true; set.tokens.len()], &mut Meter::new(Bounds::NONE))
}

#[test]
fn granting_all_occurrences_at_once_is_searching_one_token_after_another() {
    let texts = proptest::collection::hash_set("[ab<> ]{1,5}", 1..8);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) };
    proptest!(config, |(texts in texts, text in "[ab<> ]{0,30}")| {
        let set = set(&texts.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(set.partition(&text), one_by_one(&set, &text));
    });
}

#[test]
fn a_run_of_spaces_is_cut_into_the_longest_runs_there_are() {
    let texts: Vec<String> = (2..=24).map(|n| " ".repeat(n)).collect();
    let spaces = " ".repeat(24 * 1000 + 5);
    assert_eq!(set(&texts).partition(&spaces).len(), 1); // the longest, whose id is 0, drops white space after it
    let mut set = set(&texts);
    set.tokens.iter_mut().for_each(|token| token.strips_right = false);
    assert_eq!(set.partition(&spaces).len(), 1001);
}

#[test]
fn a_text_of_more_special_tokens_than_are_wanted_is_given_up() {
    let set = set(&["x".into(), "<s>".into()]);
    let spaces = [("<s>".repeat(100), 100), ("<s>a".repeat(100), 200)];
    for (text, n_parts) in spaces {
        let bounds = |tokens| Bounds { tokens, ..Bounds::NONE };
        let mut meter = Meter::new(bounds(100));
        assert_eq!(set.partition_within(&text, &mut meter).len(), n_parts);
        meter.finish().unwrap();
        let mut meter = Meter::new(bounds(99));
        set.partition_within(&text, &mut meter);
        assert_eq!(meter.finish(), Err(Stopped::TooMany { at_least: 100 }));
        let mut meter = Meter::new(bounds(49));
        set.partition_one_by_one(&text, &[true, true], &mut meter);
        assert!(meter.has_stopped());
    }
}
