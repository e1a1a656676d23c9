//! What a choice's time went to. A step of the fake takes 100 and 3 for every row.

use std::time::Duration;

use super::*;

/// One sequence at a time, and nothing is guessed.
fn world() -> World {
    World::new(Limits { max_sequences: 1, max_rows: 40, min_rows: 40, ..limits(32) })
}

fn request(token: u32, n_prompt: usize, max_tokens: usize) -> Request {
    Request { speculate: false, ..Request::new(vec![token; n_prompt], max_tokens) }
}

/// How it ended, and what was queued, prefill and decode, in microseconds.
#[track_caller]
fn check(story: &Story, finish: Finish, times: [u64; 3]) {
    let ends = story.lock().expect("no panic while it is locked")[0].ends.clone();
    let [(end, usage)] = ends.as_slice() else { panic!("it ends once: {ends:?}") };
    assert_eq!(*end, finish);
    assert_eq!([usage.queued, usage.prefill, usage.decode], times.map(Duration::from_micros));
}

#[test]
fn time_is_of_the_queue_of_the_prompt_or_of_the_completion() {
    let mut world = world();
    let a = world.submit(request(1, 40, 3)).expect("it fits").1;
    let b = world.submit(request(2, 60, 2)).expect("it fits").1;
    world.run();
    // 40 rows, then a row for each of two tokens.
    check(&a, Finish::Length, [0, 220, 2 * 103]);
    // In two steps of 40 rows and of 20.
    check(&b, Finish::Length, [220 + 2 * 103, 220 + 160, 103]);
}

#[test]
fn who_never_started_was_in_the_queue_until_its_end() {
    let mut world = world();
    let a = world.submit(request(1, 40, 100)).expect("it fits").0;
    let b = world.submit(Request { deadline: Some(Duration::from_micros(400)), ..request(2, 9, 9) });
    let (c, d) = (world.submit(request(3, 9, 9)).expect("it fits"), world.submit(request(4, 9, 9)));
    (0..4).for_each(|_| world.core.step().expect("the model lives"));
    // Its time is over in the third step, and is seen before the fourth.
    check(&b.expect("it fits").1, Finish::Deadline, [220 + 2 * 103, 0, 0]);
    world.clock.fetch_add(1000, Ordering::Relaxed);
    world.core.cancel(c.0);
    check(&c.1, Finish::Cancelled, [220 + 3 * 103 + 1000, 0, 0]);
    world.core.cancel(a);
    world.run();
    check(&d.expect("it fits").1, Finish::Length, [220 + 3 * 103 + 1000, 127, 8 * 103]);
}

#[test]
fn who_has_no_token_was_at_its_prompt_until_its_end() {
    let mut world = world();
    let (id, cancelled) = world.submit(request(1, 60, 9)).expect("it fits");
    world.core.step().expect("the model lives");
    world.clock.fetch_add(7, Ordering::Relaxed);
    world.core.cancel(id);
    check(&cancelled, Finish::Cancelled, [0, 220 + 7, 0]);

    let scored = Request { prompt_logprobs: Some(0), ..request(2, 10, 0) };
    let scored = world.submit(scored).expect("it fits").1;
    world.run();
    check(&scored, Finish::Length, [0, 130, 0]);
}

#[test]
fn time_from_the_hand_in_on_counts_though_the_engine_reads_it_later() {
    let mut world = world();
    let told: Story = Arc::new(Mutex::new(vec![Told::default()]));
    let sink = |told: &Story| {
        let told = Arc::clone(told);
        Arc::new(move |event| told.lock().expect("no panic while it is locked").iter_mut().tell(event))
    };
    let submitted = world.now();
    world.clock.fetch_add(5000, Ordering::Relaxed);
    world.core.submit(RequestId(1), request(1, 10, 2), submitted, sink(&told));
    world.run();
    check(&told, Finish::Length, [5000, 130, 103]);

    let late: Story = Arc::new(Mutex::new(vec![Told::default()]));
    let hasty = Request { deadline: Some(Duration::from_micros(400)), ..request(1, 10, 2) };
    let submitted = world.now();
    world.clock.fetch_add(500, Ordering::Relaxed);
    world.core.submit(RequestId(2), hasty, submitted, sink(&late));
    world.run();
    check(&late, Finish::Deadline, [500, 0, 0]);
}
