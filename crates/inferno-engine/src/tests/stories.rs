//! Scenes of the whole engine: see [`stage`](super::stage) for their language.

use xtask::testing::Random;

use super::stage::check;
use super::*;

#[test]
fn a_shared_prefix_is_computed_once() {
    check(
        "
        a = 1*40
        run
        computed
        b = 1*32 2*8
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        a ends: Length, 4 tokens
        40 prompt tokens computed
        b starts: 32 cached, Whole
        b ends: Length, 4 tokens
        8 prompt tokens computed
        ",
    );
}

#[test]
fn a_prefix_is_shared_while_the_first_still_computes_it() {
    check(
        "
        rows 16
        a = 1*64 2*10
        b = 1*64 3*10
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        b starts: 64 cached, Whole
        a ends: Length, 4 tokens
        b ends: Length, 4 tokens
        84 prompt tokens computed
        ",
    );
}

#[test]
fn choices_share_their_prompt() {
    check(
        "
        a = 1*40 | n 3
        run
        computed
        ",
        "
        a.0 starts: 0 cached, Empty
        a.1 starts: 32 cached, Whole
        a.2 starts: 32 cached, Whole
        a.0 ends: Length, 4 tokens
        a.1 ends: Length, 4 tokens
        a.2 ends: Length, 4 tokens
        56 prompt tokens computed
        ",
    );
}

#[test]
fn another_salt_shares_nothing() {
    check(
        "
        a = 1*40
        run
        b = 1*40 | salt 7
        run
        c = 1*17 2*23
        run
        d = 1*32 2 3*40
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        a ends: Length, 4 tokens
        b starts: 0 cached, Empty
        b ends: Length, 4 tokens
        c starts: 0 cached, DiffersAt(17)
        c ends: Length, 4 tokens
        d starts: 32 cached, NothingFollows
        d ends: Length, 4 tokens
        161 prompt tokens computed
        ",
    );
}

#[test]
fn who_loses_its_pages_resumes_from_the_cache() {
    check(
        "
        pages 6
        a = 1*60 | max 40
        b = 2*33 | max 40
        run
        pages
        computed
        ",
        "
        a starts: 0 cached, Empty
        b starts: 0 cached, DiffersAt(0)
        a ends: Length, 40 tokens
        b ends: Length, 40 tokens, 1 preemptions
        pages: 0 held, 5 cached, 1 free
        98 prompt tokens computed
        ",
    );
}

#[test]
fn a_better_priority_takes_the_place_of_a_lower_one() {
    check(
        "
        sequences 1
        a = 1*40 | max 10 priority 5
        step 4
        b = 2*40 | max 2 priority 1
        c = 3*40 | max 2 priority 5
        run
        ",
        "
        a starts: 0 cached, Empty
        b starts: 0 cached, DiffersAt(0)
        b ends: Length, 2 tokens
        a ends: Length, 10 tokens, 1 preemptions
        c starts: 0 cached, DiffersAt(0)
        c ends: Length, 2 tokens
        ",
    );
}

#[test]
fn a_better_priority_does_not_wait_for_a_long_prompt() {
    check(
        "
        rows 16
        a = 1*300 | priority 5
        step 2
        b = 2*40 | priority 1
        run
        ",
        "
        a starts: 0 cached, Empty
        b starts: 0 cached, DiffersAt(0)
        b ends: Length, 4 tokens
        a ends: Length, 4 tokens
        ",
    );
}

#[test]
fn a_request_ends_when_its_time_is_over() {
    check(
        "
        sequences 1
        a = 1*40 | max 100 deadline 2000
        b = 2*40 | deadline 200
        c = 3*40 | deadline 0
        step 1
        run
        pages
        ",
        "
        c ends: Deadline, 0 tokens
        a starts: 0 cached, Empty
        b ends: Deadline, 0 tokens
        a ends: Deadline, 19 tokens
        pages: 0 held, 1 cached, 31 free
        ",
    );
}

#[test]
fn a_request_that_is_given_up_frees_its_pages_at_once() {
    check(
        "
        a = 1*40 | n 2 max 100
        step 3
        pages
        cancel a
        pages
        cancel a
        step
        b = 2*40
        cancel b
        run
        ",
        "
        a.0 starts: 0 cached, Empty
        a.1 starts: 32 cached, Whole
        pages: 3 held, 0 cached, 29 free
        a.0 ends: Cancelled, 3 tokens
        a.1 ends: Cancelled, 2 tokens
        pages: 0 held, 1 cached, 31 free
        b ends: Cancelled, 0 tokens
        ",
    );
}

#[test]
fn a_request_that_lost_its_place_can_be_given_up_while_it_waits() {
    check(
        "
        sequences 1
        a = 1*40 | max 10 priority 5
        step 4
        b = 2*40 | max 4 priority 1
        step
        cancel a
        run
        pages
        ",
        "
        a starts: 0 cached, Empty
        b starts: 0 cached, DiffersAt(0)
        a ends: Cancelled, 4 tokens, 1 preemptions
        b ends: Length, 4 tokens
        pages: 0 held, 2 cached, 30 free
        ",
    );
}

#[test]
fn a_tenant_with_long_prompts_lets_others_go_before_its_next_ones() {
    check(
        "
        sequences 1
        a = 1*300 | max 1 tenant 1
        b = 2*300 | max 1 tenant 1
        c = 3*300 | max 1 tenant 1
        d = 4*30 | max 1 tenant 2
        e = 5*30 | max 1 tenant 2
        run
        ",
        "
        a starts: 0 cached, Empty
        a ends: Length, 1 tokens
        b starts: 0 cached, DiffersAt(0)
        b ends: Length, 1 tokens
        d starts: 0 cached, Whole
        d ends: Length, 1 tokens
        e starts: 0 cached, Whole
        e ends: Length, 1 tokens
        c starts: 0 cached, DiffersAt(0)
        c ends: Length, 1 tokens
        ",
    );
}

#[test]
fn a_request_that_never_fits_is_refused_at_once() {
    check(
        "
        pages 3
        a = 1*90 | max 7
        b = 1*90 | max 6
        c = 1*390 | max 11
        e =
        f = 9
        g = 1 | n 0
        run
        ",
        "
        a refused: 97 tokens never fit the KV pool of 96: ask for fewer, or give it more memory
        c refused: 390 prompt tokens and 11 of completion are more than the context of 400
        e refused: the prompt has no tokens
        f refused: prompt token 9 is not in the vocabulary of 6
        g refused: 0 choices, expected at least 1 and no more than may wait
        b starts: 0 cached, Empty
        b ends: Length, 6 tokens
        ",
    );
}

#[test]
fn a_scored_prompt_is_computed_whatever_is_cached() {
    check(
        "
        a = 1*70
        run
        computed
        b = 1*70 | score
        run
        computed
        c = 1*70 | score max 0
        run
        computed
        ",
        "
        a starts: 0 cached, Empty
        a ends: Length, 4 tokens
        70 prompt tokens computed
        b starts: 0 cached, Whole
        b ends: Length, 4 tokens, 69 scored
        70 prompt tokens computed
        c starts: 0 cached, Whole
        c ends: Length, 0 tokens, 69 scored
        70 prompt tokens computed
        ",
    );
}

#[test]
fn the_next_turn_finds_the_pages_of_the_last_ones_completion() {
    check(
        "
        a = 1*20 | max 60
        run
        computed
        b = $a 5*10
        run
        computed
        pages
        ",
        "
        a starts: 0 cached, Whole
        a ends: Length, 60 tokens
        20 prompt tokens computed
        b starts: 64 cached, Whole
        b ends: Length, 4 tokens
        26 prompt tokens computed
        pages: 0 held, 2 cached, 30 free
        ",
    );
}

#[test]
fn a_stop_token_ends_a_completion() {
    check(
        "
        a = 1*10 | max 50 stop 5
        run
        b = 1*10 | max 50
        run
        ",
        "
        a starts: 0 cached, Whole
        a ends: Stop, 3 tokens
        b starts: 0 cached, Whole
        b ends: Length, 50 tokens
        ",
    );
}

#[test]
fn text_that_repeats_itself_is_guessed() {
    check(
        "
        a = 0 1 2 3 4 5 0 1 2 3 4 5 0 1 2 3 4 5 0 1 2 3 4 5 | max 60 guess
        run
        ",
        "
        a starts: 0 cached, Whole
        a ends: Length, 60 tokens, some guessed
        ",
    );
}

#[test]
fn prompts_around_a_pages_length_leave_their_last_token_to_compute() {
    check(
        "
        a = 1*31
        run
        b = 1*32
        run
        c = 1*32
        run
        d = 1*33
        run
        e = 1*33
        run
        f = 1*64
        run
        g = 1*65
        run
        ",
        "
        a starts: 0 cached, Whole
        a ends: Length, 4 tokens
        b starts: 0 cached, Whole
        b ends: Length, 4 tokens
        c starts: 0 cached, Whole
        c ends: Length, 4 tokens
        d starts: 32 cached, Whole
        d ends: Length, 4 tokens
        e starts: 32 cached, Whole
        e ends: Length, 4 tokens
        f starts: 32 cached, Whole
        f ends: Length, 4 tokens
        g starts: 64 cached, Whole
        g ends: Length, 4 tokens
        ",
    );
}

#[test]
fn a_class_that_was_let_in_is_not_starved_by_better_ones() {
    let mut world = World::new(Limits { max_rows: 16, aging: 1_000, ..limits(64) });
    let (_, low) = world.submit(Request { priority: 3, ..Request::new(vec![1; 40], 2) }).expect("it fits");
    // Prompts of the best class, more than there is room for, each another.
    for i in 0..400 {
        if !low.lock().expect("no panic while it is locked")[0].ends.is_empty() {
            return;
        }
        let mut prompt = vec![0; 100];
        (0..100).for_each(|j| prompt[j] = (i >> (j % 9)) as u32 & 1 | 2);
        world.submit(Request { priority: 0, tenant: 1, ..Request::new(prompt, 1) }).expect("it fits");
        (0..5).for_each(|_| world.core.step().expect("the model lives"));
    }
    panic!("it starves");
}

#[test]
fn a_sequence_loses_its_pages_twice_at_most() {
    let mut n_twice = 0;
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut world = World::new(limits(13 + random.below(6)));
        let mut stories = Vec::new();
        for _ in 0..24 {
            let prompt = (0..1 + random.below(150)).map(|_| random.below(VOCAB) as u32).collect();
            let request = Request { speculate: false, ..Request::new(prompt, 1 + random.below(200)) };
            stories.push(world.submit(request).expect("it fits").1);
            (0..random.below(30)).for_each(|_| world.step());
        }
        world.run();
        for story in stories {
            let n = story.lock().expect("no panic while it is locked")[0].ends[0].1.n_preemptions;
            assert!(n <= 2, "{n} times with seed {seed}");
            n_twice += usize::from(n == 2);
        }
    }
    assert!(n_twice > 0, "none lost them twice");
}

#[test]
fn a_snapshot_shows_what_was_cached_who_lost_its_pages_and_the_order_of_those_that_wait() {
    let mut world = World::new(Limits { max_sequences: 1, ..limits(64) });
    world.submit(Request::new(vec![1; 40], 2)).expect("it fits");
    world.run();
    let low = Request { priority: 5, ..Request::new(vec![1; 50], 20) };
    world.submit(low).expect("it fits");
    (0..2).for_each(|_| world.core.step().expect("the model lives"));
    for priority in [4, 1, 2, 1] {
        world.submit(Request { priority, ..Request::new(vec![2; 40], 2) }).expect("it fits");
    }
    world.core.step().expect("the model lives");
    let sequences = world.core.snapshot().sequences;
    let places: Vec<Option<usize>> = sequences.iter().map(|s| s.place).collect();
    assert_eq!(places, [Some(3), Some(2), None, Some(1), Some(0)]);
    let cached: Vec<(usize, u32)> = sequences.iter().map(|s| (s.n_cached, s.n_preemptions)).collect();
    assert_eq!(cached, [(32, 1), (0, 0), (0, 0), (0, 0), (0, 0)]);
    world.run();
}
