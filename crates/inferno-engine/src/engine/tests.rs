//! The thread, and many others around it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;

use inferno_model::architecture::Architecture;
use inferno_model::batch::Batch;
use inferno_model::error::StepError;
use inferno_model::heartbeat::Heartbeat;
use inferno_model::output::Output;
use xtask::testing::Random;

use super::*;
use crate::core::Snapshot;
use crate::fake::{Fake, Fault, VOCAB};
use crate::request::{Event, Finish, Refusal, Request, RequestId};

/// Long enough for anything that happens at all.
const LONG: Duration = Duration::from_secs(60);

fn config() -> Config {
    let mut config = Config::new(vec![16]);
    config.limits.max_sequences = 3;
    config
}

fn engine(config: Config) -> Engine {
    let model = Fake::new(config.limits.n_pages[0], Arc::new(AtomicU64::new(0)));
    Engine::start(Box::new(model), config)
}

fn request(seed: usize, max_tokens: usize) -> Request {
    Request::new((0..40).map(|i| ((i * i + seed) % VOCAB) as u32).collect(), max_tokens)
}

/// A model whose steps wait until they may go on.
struct Gate {
    model: Fake,
    /// Steps that may go on.
    n_free: Arc<AtomicU64>,
    heart: Arc<Heartbeat>,
}

impl Model for Gate {
    fn architecture(&self) -> &Architecture {
        self.model.architecture()
    }
    fn step(&mut self, batch: &Batch) -> Result<&Output, StepError> {
        let one_less = |n: u64| n.checked_sub(1);
        while self.n_free.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_less).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.model.step(batch)
    }
    fn output(&self) -> &Output {
        self.model.output()
    }
    fn heartbeat(&self) -> Option<Arc<Heartbeat>> {
        Some(Arc::clone(&self.heart))
    }
}

/// Opens the gate at the latest when a test fails: else the engine would never end.
struct Opener {
    n_free: Arc<AtomicU64>,
    heart: Arc<Heartbeat>,
}

impl Opener {
    fn open(&self) {
        self.n_free.store(u64::MAX, Ordering::Release);
    }

    /// The step that waits goes on, and the next one waits.
    fn pass_one(&self) {
        self.n_free.store(1, Ordering::Release);
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.open();
    }
}

/// An engine that has taken one request and stands in its first step, until the gate is opened.
fn gated(config: Config) -> (Engine, Ticket, Opener) {
    let n_free = Arc::new(AtomicU64::new(u64::MAX));
    let heart = Arc::new(Heartbeat::default());
    let model = Fake::new(config.limits.n_pages[0], Arc::new(AtomicU64::new(0)));
    let gate = Gate { model, n_free: Arc::clone(&n_free), heart: Arc::clone(&heart) };
    let engine = Engine::start(Box::new(gate), config);
    n_free.store(0, Ordering::Release);
    let ticket = engine.handle().submit(request(0, 20)).expect("there is room");
    assert!(matches!(ticket.events.recv_timeout(LONG), Ok(Event::Started { .. })));
    (engine, ticket, Opener { n_free, heart })
}

/// All events until the channel ends, of which the last is the only end.
fn end(ticket: &Ticket) -> Finish {
    let mut ends = Vec::new();
    loop {
        match ticket.events.recv_timeout(LONG) {
            Ok(Event::Finished { finish, .. }) => ends.push(finish),
            Ok(event) => assert!(ends.is_empty(), "{event:?} comes after the end"),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => panic!("it never ends"),
        }
    }
    let [finish] = ends.as_slice() else { panic!("it ends once: {ends:?}") };
    finish.clone()
}

#[test]
fn whatever_many_threads_do_every_request_ends_once() {
    let engine = engine(config());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let handle = engine.handle();
            scope.spawn(move || {
                let mut random = Random(thread);
                let mut tickets = Vec::new();
                for i in 0..100 {
                    let ticket =
                        handle.submit(request(random.below(5), 1 + random.below(30))).expect("there is room");
                    let is_cancelled = random.below(3) == 0;
                    if is_cancelled {
                        handle.cancel(ticket.id);
                    }
                    tickets.push((ticket, is_cancelled));
                    match i % 10 {
                        3 => handle.clear_cache(),
                        7 => drop(handle.snapshot()),
                        _ => {}
                    }
                }
                for (ticket, is_cancelled) in tickets {
                    match end(&ticket) {
                        Finish::Length => {}
                        Finish::Cancelled if is_cancelled => {}
                        finish => panic!("{finish:?}"),
                    }
                }
            });
        }
    });
    let handle = engine.handle();
    assert_eq!(handle.snapshot().sequences, []);
    let metrics = handle.metrics();
    assert_eq!(metrics.finished.length + metrics.finished.cancelled, 800);
    engine.stop().expect("the model lives");
}

#[test]
fn stopping_ends_what_runs_and_what_waits() {
    let (engine, first, gate) = gated(config());
    let handle = engine.handle();
    let rest: Vec<Ticket> = (0..20).map(|i| handle.submit(request(i, 300)).expect("there is room")).collect();
    let stopping = std::thread::spawn(move || engine.stop());
    std::thread::sleep(Duration::from_millis(20));
    gate.open();
    stopping.join().expect("it stops").expect("the model lives");
    for ticket in rest.iter().chain([&first]) {
        assert!(matches!(end(ticket), Finish::Failed(why) if why == "the engine has stopped"));
    }
}

#[test]
fn an_engine_that_stopped_refuses_and_says_so() {
    let engine = engine(config());
    let handle = engine.handle();
    assert!(!handle.is_stopped());
    engine.stop().expect("the model lives");
    assert!(handle.is_stopped());
    assert_eq!(handle.submit(request(1, 3)).map(|t| t.id), Err(Refusal::Stopped));
    assert_eq!(handle.room(1, 3), Err(Refusal::Stopped));
    handle.cancel(RequestId(1));
    handle.clear_cache();
    assert_eq!(handle.snapshot(), Snapshot::default());
}

#[test]
fn an_engine_that_is_dropped_stops() {
    let handle = engine(config()).handle();
    assert!(handle.is_stopped());
}

#[test]
fn a_model_that_breaks_ends_everything_and_stop_says_why() {
    let mut model = Fake::new(16, Arc::new(AtomicU64::new(0)));
    model.fault = Fault::PanicFrom(4);
    let engine = Engine::start(Box::new(model), config());
    let handle = engine.handle();
    let tickets: Vec<_> = (0..10).map_while(|i| handle.submit(request(i, 30)).ok()).collect();
    tickets.iter().for_each(|ticket| assert!(matches!(end(ticket), Finish::Failed(_))));
    assert_eq!(engine.stop().err(), Some(Broken { cause: "for ever".into() }));
    assert_eq!(handle.submit(request(1, 3)).map(|t| t.id), Err(Refusal::Stopped));
}

#[test]
fn a_model_that_never_works_ends_its_first_request_and_the_engine() {
    let mut model = Fake::new(16, Arc::new(AtomicU64::new(0)));
    model.fault = Fault::PanicFrom(1);
    let engine = Engine::start(Box::new(model), config());
    let ticket = engine.handle().submit(request(0, 3)).expect("nobody knows yet");
    assert!(matches!(end(&ticket), Finish::Failed(_)));
    assert_eq!(engine.stop().err(), Some(Broken { cause: "for ever".into() }));
}

#[test]
fn an_engine_without_pages_refuses_everything() {
    let engine = engine(Config::new(vec![0]));
    assert!(matches!(engine.handle().submit(request(0, 3)), Err(Refusal::NeverFits { .. })));
}

#[test]
fn a_full_queue_refuses_and_says_when_to_come_again() {
    let (engine, first, gate) = gated(Config { max_waiting: 5, ..config() });
    let handle = engine.handle();
    // Three may run, one of which does.
    let waiting: Vec<Ticket> = (0..7).map(|i| handle.submit(request(i, 3)).expect("there is room")).collect();
    let Err(Refusal::QueueFull { n_waiting: 5, most: 5, retry_after }) = handle.submit(request(9, 3)) else {
        panic!("five wait already, beside the three for whom there are places");
    };
    assert!((1..=600).contains(&retry_after.as_secs()), "{retry_after:?}");
    assert_eq!(handle.room(1, 0), Err(Refusal::QueueFull { n_waiting: 5, most: 5, retry_after }));
    gate.open();
    waiting.iter().chain([&first]).for_each(|ticket| assert_eq!(end(ticket), Finish::Length));
    // The last one's end is told before the step is counted.
    handle.snapshot();
    assert_eq!((handle.room(1, 0), handle.room(5, 0)), (Ok(()), Ok(())));
    let again = handle.submit(request(9, 3)).expect("there is room again");
    assert_eq!(end(&again), Finish::Length);
}

#[test]
fn a_queue_with_too_many_tokens_refuses() {
    let (engine, first, gate) = gated(Config { max_waiting_tokens: 140, ..config() });
    let handle = engine.handle();
    let waiting: Vec<Ticket> = (0..2).map(|i| handle.submit(request(i, 3)).expect("there is room")).collect();
    let Err(Refusal::QueueTokens { n_tokens: 120, most: 140, .. }) = handle.submit(request(9, 3)) else {
        panic!("120 tokens wait already, with those in their first step");
    };
    assert!(matches!(handle.room(1, 40), Err(Refusal::QueueTokens { n_tokens: 120, most: 140, .. })));
    assert!(matches!(handle.room(3, 7), Err(Refusal::QueueTokens { .. })), "the tokens of all choices count");
    assert_eq!(
        [(1, 0), (1, 20), (2, 10)].map(|(n, n_tokens)| handle.room(n, n_tokens)),
        [const { Ok(()) }; 3]
    );
    gate.open();
    waiting.iter().chain([&first]).for_each(|ticket| assert_eq!(end(ticket), Finish::Length));
}

#[test]
fn more_choices_than_may_ever_run_and_wait_are_refused_for_good() {
    let engine = engine(Config { max_waiting: 4, ..config() });
    for n in [8, u32::MAX] {
        let refusal = engine.handle().submit(Request { n, ..request(1, 3) }).map(|t| t.id);
        assert_eq!(refusal, Err(Refusal::Choices { n }));
        assert_eq!(engine.handle().room(n, usize::MAX), Err(Refusal::Choices { n }));
    }
}

#[test]
fn a_prompt_that_comes_alone_has_room_however_long_it_is() {
    let engine = engine(Config { max_waiting_tokens: 20, ..config() });
    let handle = engine.handle();
    assert_eq!(handle.room(1, usize::MAX), Ok(()));
    assert!(matches!(handle.room(2, usize::MAX), Err(Refusal::QueueTokens { n_tokens: 0, most: 20, .. })));
    assert_eq!(end(&handle.submit(request(1, 3)).expect("there is room")), Finish::Length);
}

#[test]
fn numbers_at_their_ends_are_refused_or_served() {
    let engine = engine(config());
    let handle = engine.handle();
    let refused = handle.submit(request(1, usize::MAX)).map(|t| t.id);
    assert!(matches!(refused, Err(Refusal::Context { .. })), "{refused:?}");
    for priority in [i32::MIN, i32::MAX] {
        let odd = Request { priority, tenant: u32::MAX, salt: u64::MAX, ..request(1, 3) };
        assert_eq!(end(&handle.submit(odd).expect("it fits")), Finish::Length);
    }
    // The last one's microseconds are a few more than 64 bits hold.
    for deadline in [
        Duration::MAX,
        Duration::from_secs(u64::MAX / 2),
        Duration::from_micros(u64::MAX) + Duration::from_micros(2),
    ] {
        let patient = Request { deadline: Some(deadline), ..request(1, 3) };
        assert_eq!(end(&handle.submit(patient).expect("it fits")), Finish::Length, "{deadline:?}");
    }
    let hasty = Request { deadline: Some(Duration::ZERO), ..request(1, 3) };
    assert_eq!(end(&handle.submit(hasty).expect("it fits")), Finish::Deadline);
}

#[test]
fn a_snapshot_shows_who_runs_and_who_waits() {
    let mut config = config();
    config.limits.max_sequences = 1;
    let (engine, first, gate) = gated(config);
    let handle = engine.handle();
    let second = handle.submit(Request { tenant: 7, priority: 3, ..request(2, 3) }).expect("there is room");
    let looking = std::thread::spawn(move || handle.snapshot());
    std::thread::sleep(Duration::from_millis(20));
    gate.open();
    let snapshot = looking.join().expect("it looks");
    let [one, two] = snapshot.sequences.as_slice() else { panic!("two are there: {snapshot:?}") };
    assert_eq!((one.request, one.place, one.n_prompt, one.n_pages), (first.id, None, 40, 2));
    assert_eq!((two.request, two.place, two.tenant, two.priority), (second.id, Some(0), 7, 3));
    assert_eq!((two.n_completion, two.n_computed, two.n_pages), (0, 0, 0));
    assert_eq!((one.max_len, two.max_len), (60, 43));
    [first, second].iter().for_each(|ticket| assert_eq!(end(ticket), Finish::Length));
}

#[test]
fn a_step_that_hangs_has_no_pulse_and_one_that_goes_on_has() {
    let (engine, first, gate) = gated(config());
    let handle = engine.handle();
    let hanging = handle.pulse();
    assert!(hanging.is_stepping);
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(handle.pulse(), hanging);
    gate.heart.beat();
    assert_eq!(
        handle.pulse(),
        Pulse { beats: hanging.beats + 1, is_stepping: true },
        "the model's beats count"
    );

    gate.open();
    assert_eq!(end(&first), Finish::Length);
    let since = Instant::now();
    while handle.pulse().is_stepping {
        assert!(since.elapsed() < LONG, "it never rests");
        std::thread::sleep(Duration::from_millis(1));
    }
    // The one above, the end of the first step, and both of one more at least.
    assert!(handle.pulse().beats >= hanging.beats + 4, "{:?}", handle.pulse());
}

#[test]
fn an_engine_that_has_nothing_to_do_does_not_step() {
    let engine = engine(config());
    assert_eq!(engine.handle().pulse(), Pulse { beats: 0, is_stepping: false });
}

#[test]
fn who_waits_ends_before_the_next_step_when_it_is_given_up_or_its_time_is_over() {
    let mut config = config();
    config.limits.max_sequences = 1;
    let (engine, first, gate) = gated(config);
    let handle = engine.handle();
    let time = Duration::from_millis(20);
    let late = handle.submit(Request { deadline: Some(time), ..request(1, 3) }).expect("there is room");
    let given_up = handle.submit(request(2, 3)).expect("there is room");
    handle.cancel(given_up.id);
    // While the step goes on.
    std::thread::sleep(time);
    gate.pass_one();
    let queued = |ticket: &Ticket| match ticket.events.recv_timeout(LONG) {
        Ok(Event::Finished { finish, usage, .. }) => (finish, usage.queued >= time),
        other => panic!("it ends and does not start: {other:?}"),
    };
    assert_eq!(queued(&late), (Finish::Deadline, true));
    assert_eq!(queued(&given_up), (Finish::Cancelled, true));
    assert!(handle.pulse().is_stepping, "the first goes on");
    gate.open();
    assert_eq!(end(&first), Finish::Length);
}

#[test]
fn a_listener_that_went_away_disturbs_nobody() {
    let engine = engine(config());
    let handle = engine.handle();
    drop(handle.submit(request(1, 30)).expect("there is room"));
    assert_eq!(end(&handle.submit(request(2, 30)).expect("there is room")), Finish::Length);
    engine.stop().expect("the model lives");
}

#[cfg(target_os = "linux")]
#[test]
fn an_idle_engine_sleeps() {
    let engine = engine(config());
    let handle = engine.handle();
    let tid = Arc::new(AtomicU64::new(0));
    let found = Arc::clone(&tid);
    let sink = move |_| {
        // Of the engine's thread, which is the one that calls.
        let path = std::fs::read_link("/proc/thread-self").expect("linux has it");
        let id = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse().ok());
        found.store(id.expect("a number"), Ordering::Release);
    };
    handle.submit_to(request(1, 3), Arc::new(sink)).expect("there is room");
    while handle.metrics().finished.length == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // Times that it gave up the processor, of itself or not.
    let switches = || {
        let status =
            std::fs::read_to_string(format!("/proc/self/task/{}/status", tid.load(Ordering::Acquire)));
        let status = status.expect("the thread is there");
        let count = |line: &str| {
            line.split_whitespace().last().and_then(|n| n.parse::<u64>().ok()).expect("a number")
        };
        status.lines().filter(|line| line.contains("ctxt_switches")).map(count).sum::<u64>()
    };
    std::thread::sleep(Duration::from_millis(50));
    let before = switches();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(switches(), before, "it sleeps until there is a letter");
}
