//! Good clients alone and among attackers, in turn.
//!
//! ```text
//! phase      1 clean   2 attacked   3 clean   4 attacked
//! readers    quick     slow         quick     slow
//! figures    . ######  . ########   . ######  . ########     . the settling: of no phase
//! ```
//!
//! The server has a place for each good client and none for others, so that whatever keeps a place too long makes good
//! clients wait. Readers ask for the same in all phases: who reads slowly must cost no more than who reads quickly.

use std::ops::ControlFlow;
use std::sync::atomic::AtomicBool;
use std::thread::{Builder, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use xtask::testing::Random;

use super::args::Args;
use super::ask::Ask;
use super::attack::{self, Tally};
use super::board::{Board, Ender};
use super::client::{Answer, Beat, Client, Pace};
use super::figures::Figures;
use super::known::known;
use super::readers::{Readers, Reading};
use super::report::Report;
use super::stream::Seen;
use super::target::Target;
use super::vitals::Vitals;
use super::{Result, STACK, mixed_report};

/// One phase as it went.
#[derive(Debug, Default)]
pub(super) struct Phase {
    pub(super) is_attacked: bool,
    /// Slow when attacked, else quick.
    pub(super) readers: Tally,
    /// Senders of slow headers.
    pub(super) slowloris: Tally,
    pub(super) seconds: f64,
    pub(super) figures: Figures,
    /// Of the server, every second.
    pub(super) vitals: Vec<Vitals>,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<Report> {
    let board = Board::default();
    let mut random = Random(args.seed ^ 0x5eed);
    let control = &known(target, N_KNOWN, || {
        let n_tokens = 16 + random.below(81);
        Ask::chat(&mut random, n_tokens)
    })?;
    let start = target.pid.and_then(Vitals::of);
    let (mut phases, unmeasured) = std::thread::scope(|scope| {
        // Whatever ends this scope ends its threads.
        let ender = board.ender();
        let clients: Vec<_> = (0..args.n_streams())
            .map(|i| good_client(scope, (args, control), target, &board, i))
            .collect::<Result<_>>()?;
        let mut phases = Vec::new();
        while phases.len() < args.n_phases() && !board.is_over() {
            phases.push(phase(args, target, &board, phases.len() + 1)?);
        }
        board.begin(0);
        drop(ender);
        let mut unmeasured = Figures::default();
        for client in clients {
            let figures = client.join().map_err(|_| "a client's thread panicked")?;
            for (i, figures) in figures.iter().enumerate() {
                let of_phase =
                    i.checked_sub(1).and_then(|i| phases.get_mut(i)).map(|phase| &mut phase.figures);
                of_phase.unwrap_or(&mut unmeasured).append(figures);
            }
        }
        Ok::<_, String>((phases, unmeasured))
    })?;
    phases.retain(|phase| phase.seconds > 0.0);
    Ok(mixed_report::report(args, start, &phases, &unmeasured, &board.failures()))
}

/// Requests whose text is known: all that good clients ask.
const N_KNOWN: usize = 64;
/// Time in which the phase before ends and readers begin.
const SETTLING: f64 = 5.0;

fn phase(args: &Args, target: &Target, board: &Board, number: usize) -> Result<Phase> {
    let seconds = args.minutes() * 60.0 / args.n_phases() as f64;
    let settling = SETTLING.min(seconds / 5.0);
    let is_attacked = number.is_multiple_of(2);
    let is_over = AtomicBool::new(false);
    board.begin(0);
    let phase = std::thread::scope(|scope| {
        let ender = Ender::new(&is_over);
        let flag = &is_over;
        let readers = Readers {
            n: args.slow,
            max_tokens: args.slow_tokens,
            period: Duration::from_secs_f64((seconds / 2.0).min(READERS_PERIOD)),
            seed: args.seed ^ number as u64,
        };
        let reading = if is_attacked { Reading::Slow } else { Reading::Quick };
        let n_slowloris = if is_attacked { args.slowloris } else { 0 };
        let readers = spawn(scope, move || readers.run(target, reading, flag))?;
        let slowloris = spawn(scope, move || attack::slowloris(target, n_slowloris, flag))?;
        watch(target, board, settling);
        board.begin(number);
        let begun = Instant::now();
        let vitals = watch(target, board, seconds - settling);
        let seconds = begun.elapsed().as_secs_f64();
        board.begin(0);
        drop(ender);
        let [readers, slowloris] = [readers, slowloris].map(|thread| thread.join().map_err(|_| PANIC));
        let (readers, slowloris) = (readers?, slowloris?);
        Ok::<_, String>(Phase { is_attacked, readers, slowloris, seconds, vitals, ..Phase::default() })
    })?;
    eprintln!("phase {number} is over");
    Ok(phase)
}

/// Time in which each reader asks once, at most.
const READERS_PERIOD: f64 = 15.0;

const PANIC: &str = "an attacker's thread panicked";

/// Looks at the server every second, until the time is over or everything is.
fn watch(target: &Target, board: &Board, seconds: f64) -> Vec<Vitals> {
    let begun = Instant::now();
    let end = begun + Duration::from_secs_f64(seconds);
    let mut vitals = Vec::new();
    while !board.is_over() && Instant::now() < end {
        let look = begun + Duration::from_secs(vitals.len() as u64);
        if Instant::now() >= look {
            vitals.push(target.pid.and_then(Vitals::of));
        }
        let rest = end.saturating_duration_since(Instant::now());
        std::thread::sleep(rest.min(Duration::from_millis(50)));
    }
    vitals.into_iter().flatten().collect()
}

/// Asks until all is over; its figures by phase.
fn good_client<'scope>(
    scope: &'scope Scope<'scope, '_>,
    (args, control): (&'scope Args, &'scope [Ask]),
    target: &'scope Target,
    board: &'scope Board,
    i: usize,
) -> Result<ScopedJoinHandle<'scope, Vec<Figures>>> {
    spawn(scope, move || {
        let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
        let mut client = Client::new(target);
        let mut figures = vec![Figures::default(); args.n_phases() + 1];
        // They do not all begin at once.
        std::thread::sleep(Duration::from_millis(random.below(1000) as u64));
        while !board.is_over() {
            let ask = &control[random.below(control.len())];
            let (started_in, mut pace) = (board.phase(), Pace::start());
            let answer = client.chat(ask, |seen, _, now| {
                if seen == Seen::Text {
                    let figures = &mut figures[board.phase()];
                    match pace.text(now) {
                        (Beat::First, time) => figures.first.push(time),
                        (Beat::Next, time) => figures.gaps.push(time),
                    }
                }
                ControlFlow::Continue(())
            });
            let figures = &mut figures[started_in];
            let why = match answer {
                Ok(Answer::Done(usage, _)) => {
                    figures.done += 1;
                    figures.tokens += usage.completion;
                    continue;
                }
                Ok(Answer::Refused) => "refused, though nobody is above capacity".into(),
                Ok(Answer::Cut) => "closed by itself".into(),
                Err(why) => why,
            };
            figures.failed += 1;
            board.fail(why);
            client = Client::new(target);
            std::thread::sleep(Duration::from_millis(200));
        }
        figures
    })
}

fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    Builder::new()
        .stack_size(STACK)
        .spawn_scoped(scope, work)
        .map_err(|e| format!("cannot start a thread: {e}"))
}
