use super::*;
use proptest::prelude::*;

/// [`StopStrings`] in so many words: what is shown of a whole text, and which string ends it.
fn naive(strings: &[String], text: StopText, whole: &str) -> (String, Option<usize>) {
    for end in 0..=whole.len() {
        let ending = strings.iter().filter(|s| whole.as_bytes()[..end].ends_with(s.as_bytes()));
        let Some(longest) = ending.max_by_key(|s| s.len()) else { continue };
        let index = strings.iter().position(|s| s == longest);
        let shown = if text == StopText::Kept { end } else { end - longest.len() };
        return (whole[..shown].into(), index);
    }
    (whole.into(), None)
}

fn stop(strings: &[&str], text: StopText) -> StopStrings {
    StopStrings::new(strings.iter().map(|s| s.to_string()).collect(), text)
}

#[test]
fn any_cut_of_a_text_shows_the_same_and_never_a_part_of_a_stop_string() {
    let strings = proptest::collection::vec("[aab é🦙]{1,5}", 0..6);
    let pieces = proptest::collection::vec("[aab é🦙]{0,6}", 0..10);
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(5000) };
    proptest!(config, |(strings in strings, pieces in pieces, is_kept in any::<bool>())| {
            let text = if is_kept { StopText::Kept } else { StopText::Dropped };
            let whole = pieces.concat();
            let (expected, index) = naive(&strings, text, &whole);
            let mut stop = StopStrings::new(strings.clone().into(), text);
            let (mut pushed, mut shown) = (String::new(), String::new());
            for piece in &pieces {
                pushed += piece;
                shown += &stop.push(piece);
                prop_assert!(expected.starts_with(&shown));
                // What is held back is no more than it must be.
                let is_start = |n: usize| strings.iter().any(|s| s.len() > n && s.starts_with(&pushed[pushed.len() - n..]));
                let mut ends = (1..=pushed.len()).rev().filter(|n| pushed.is_char_boundary(pushed.len() - n));
                let longest = ends.find(|&n| is_start(n)).unwrap_or(0);
                prop_assert_eq!(stop.n_held(), if stop.matched().is_some() { 0 } else { longest });
            }
            shown += &stop.finish();
            prop_assert_eq!((&shown, stop.matched()), (&expected, index));
            prop_assert!(is_kept || !strings.iter().any(|s| shown.contains(s.as_str())));
    prop_assert_eq!(stop.n_held(), 0);
        });
}

#[test]
fn the_stop_string_that_ends_first_wins_and_of_those_the_longest() {
    let found = |strings: &[&str], whole: &str| {
        let mut stop = stop(strings, StopText::Dropped);
        (stop.push(whole) + &stop.finish(), stop.matched())
    };
    assert_eq!(found(&["abcd", "bc"], "xabcd"), ("xa".into(), Some(1)));
    assert_eq!(found(&["bc", "abc"], "xabcd"), ("x".into(), Some(1)));
    assert_eq!(found(&["abc", "abc"], "xabcd"), ("x".into(), Some(0)));
    assert_eq!(found(&["abd"], "xabcab"), ("xabcab".into(), None));
    assert_eq!(found(&[], "xabc"), ("xabc".into(), None));
}

#[test]
fn nothing_comes_after_a_match() {
    for (text, expected) in [(StopText::Dropped, ""), (StopText::Kept, "\n\nUser:")] {
        let mut stop = stop(&["\n\nUser:"], text);
        assert_eq!((stop.push("yes\n"), stop.n_held()), ("yes".into(), 1));
        assert_eq!((stop.push("\nUse"), stop.n_held()), (String::new(), 5));
        assert_eq!((stop.push("r: no"), stop.n_held()), (expected.into(), 0));
        assert_eq!(
            (stop.push("more"), stop.finish(), stop.matched()),
            (String::new(), String::new(), Some(0))
        );
    }
}

#[test]
#[should_panic(expected = "a stop string is empty")]
fn an_empty_stop_string_is_the_callers_mistake() {
    stop(&["a", ""], StopText::Dropped);
}

/// Some 65 ms in a test build (2 shared cores).
#[test]
fn a_mebibyte_in_pieces_of_a_byte_takes_no_time_to_speak_of() {
    let strings: Arc<[String]> = (0..64).map(|i| "a".repeat(192 + i) + "b").collect();
    let mut stop = StopStrings::new(strings, StopText::Dropped);
    let start = std::time::Instant::now();
    let n_shown: usize = (0..1 << 20).map(|_| stop.push("a").len()).sum();
    assert_eq!((n_shown + stop.n_held(), stop.n_held()), (1 << 20, 255));
    assert_eq!((stop.push("b"), stop.matched()), (String::new(), Some(63)));
    // Far from what a search of all that is held would take.
    assert!(start.elapsed().as_secs() < 5, "{:?}", start.elapsed());
}
