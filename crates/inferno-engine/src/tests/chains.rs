//! Chained steps: sequences that need the host beside sequences that do not.

use super::*;
use crate::sampler::{Distribution, Logprobs};

/// Results of a world in which all sequences decode together.
struct Run {
    chained_steps: u64,
    steps: u64,
    /// The longest time between two tokens of a sequence that needs the host, in steps.
    longest_wait: u64,
}

/// Runs sequences of 60 tokens on a model that samples as a device does, of which some need the host.
fn run(n_device: usize, n_host: usize, step_time: u64) -> Run {
    let n = n_device + n_host;
    let limits = Limits { max_sequences: n, step_target: 100_000, ..limits(64) };
    let mut world = World::with_model(limits, |model| {
        (model.chooses, model.step_time) = (true, step_time);
    });
    let mut requests = Vec::new();
    let longest_wait = Arc::new(AtomicU64::new(0));
    for i in 0..n {
        let mut request = Request::new((0..4).map(|k| ((k * i + k) % VOCAB) as u32).collect(), 60);
        request.speculate = false;
        // They are between the others.
        if (1..=n_host).contains(&i) {
            request.sampling.logprobs = Some(Logprobs { top: 1, of: Distribution::Raw });
        }
        requests.push(request);
    }
    let told: Vec<Story> = requests
        .iter()
        .map(|request| {
            let story: Story = Arc::new(Mutex::new(vec![Told::default()]));
            let (told, clock) = (Arc::clone(&story), Arc::clone(&world.clock));
            let (longest, last) = (Arc::clone(&longest_wait), AtomicU64::new(u64::MAX));
            let needs_host = request.sampling.logprobs.is_some();
            let sink = move |event: Event| {
                let now = clock.load(Ordering::Relaxed);
                if needs_host && matches!(event, Event::Token { .. }) {
                    let before = last.swap(now, Ordering::Relaxed);
                    longest.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
                }
                told.lock().expect("no panic while it is locked").iter_mut().tell(event);
            };
            world.n_requests += 1;
            let id = RequestId(world.n_requests);
            let copy = Request {
                sampling: request.sampling.clone(),
                speculate: false,
                ..Request::new(request.prompt.clone(), request.max_tokens)
            };
            world.core.submit(id, copy, world.now(), Arc::new(sink));
            story
        })
        .collect();
    world.run();
    for (request, story) in requests.iter().zip(told) {
        let (told, expected) =
            (story.lock().expect("no panic while it is locked")[0].clone(), alone(request, 0));
        assert_eq!((told.tokens, told.logprobs), (expected.tokens, expected.logprobs));
    }
    let metrics = world.core.metrics();
    // A row for each sequence of a step, and three more for each prompt of four tokens.
    assert_eq!(metrics.step_rows.sum, metrics.step_sequences + 3 * n as u64);
    // A step for each token: none is computed past the end of a completion.
    assert_eq!(metrics.step_sequences, 60 * n as u64);
    let longest_wait = longest_wait.load(Ordering::Relaxed) / step_time;
    Run { chained_steps: metrics.chained_steps, steps: metrics.steps, longest_wait }
}

#[test]
fn a_sequence_that_needs_the_host_bounds_the_chain_of_the_others() {
    let alone = run(3, 0, 100);
    assert!(alone.chained_steps * 4 > alone.steps * 3, "{} of {}", alone.chained_steps, alone.steps);
    // A step beside it, and one more for each of the others.
    let shared = run(3, 1, 100);
    assert!(shared.chained_steps * 3 > shared.steps, "{} of {}", shared.chained_steps, shared.steps);
    assert_eq!(shared.longest_wait, 4, "steps of about 109 for each token");
    let even = run(1, 1, 100);
    assert!(even.chained_steps * 4 > even.steps, "{} of {}", even.chained_steps, even.steps);
    assert_eq!(even.longest_wait, 2);
    // Where most need the host nothing is chained while they run.
    let few = run(1, 3, 100);
    assert_eq!(few.longest_wait, 1);
}

#[test]
fn a_chain_beside_a_sequence_that_needs_the_host_takes_no_more_than_ten_milliseconds() {
    // Of 3 ms a step: 8 steps without, 3 with.
    assert_eq!(run(6, 1, 3_000).longest_wait, 3);
    assert_eq!(run(6, 1, 6_000).longest_wait, 1);
    assert!(run(6, 0, 6_000).chained_steps > 30);
}
