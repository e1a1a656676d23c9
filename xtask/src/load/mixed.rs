//! Good clients alone and among attackers, in turn.
//!
//! ```text
//! phase      1 clean   2 attacked   3 clean   4 attacked
//! figures    . ######  ##########   . ######  ##########     . the settling: of no phase
//! ```

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
use super::report::Report;
use super::stream::Seen;
use super::target::Target;
use super::vitals::Vitals;
use super::{Result, STACK, mixed_report};

/// One phase as it went.
#[derive(Debug, Default)]
pub(super) struct Phase {
    /// Its attackers: slow readers, and senders of slow headers.
    pub(super) attack: Option<[Tally; 2]>,
    pub(super) seconds: f64,
    pub(super) figures: Figures,
    /// Of the server, every second.
    pub(super) vitals: Vec<Vitals>,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<Report> {
    let board = Board::default();
    let control = &control(args, target)?;
    let (mut phases, unmeasured) = std::thread::scope(|scope| {
        // Whatever ends this scope ends its threads.
        let ender = board.ender();
        let clients: Vec<_> = (0..args.n_streams())
            .map(|i| good_client(scope, (args, control), target, &board, i))
            .collect::<Result<_>>()?;
        let mut phases = Vec::new();
        while phases.len() < args.phases && !board.is_over() {
            let is_attacked = phases.len() % 2 == 1;
            let phase = match is_attacked {
                false => clean(args, target, &board, phases.len() + 1),
                true => attacked(args, target, &board, phases.len() + 1)?,
            };
            phases.push(phase);
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
    Ok(mixed_report::report(&phases, &unmeasured, &board.failures()))
}

/// Requests whose text is known.
const N_KNOWN: usize = 32;

/// Requests and the hashes of their texts, asked one by one of a server that does nothing else.
fn control(args: &Args, target: &Target) -> Result<Vec<(Ask, u64)>> {
    let mut random = Random(args.seed ^ 0x5eed);
    let mut client = Client::new(target);
    let mut ask = || {
        let n_tokens = 16 + random.below(81);
        let ask = Ask::chat(&mut random, n_tokens);
        match client.chat(&ask, |_, _| ControlFlow::Continue(()))? {
            Answer::Done(_) => Ok((ask, client.text_hash())),
            other => Err(format!("a request to a server that does nothing else: {other:?}")),
        }
    };
    (0..N_KNOWN).map(|_| ask()).collect()
}

/// Connections of the last attack end, and what they left behind with them.
const SETTLING: f64 = 5.0;

fn clean(args: &Args, target: &Target, board: &Board, phase: usize) -> Phase {
    let seconds = args.minutes * 60.0 / args.phases as f64;
    let settling = SETTLING.min(seconds / 5.0);
    board.begin(0);
    watch(target, board, settling);
    board.begin(phase);
    let begun = Instant::now();
    let vitals = watch(target, board, seconds - settling);
    let phase = Phase { seconds: begun.elapsed().as_secs_f64(), vitals, ..Phase::default() };
    eprintln!("a clean phase is over");
    phase
}

fn attacked(args: &Args, target: &Target, board: &Board, phase: usize) -> Result<Phase> {
    let seconds = args.minutes * 60.0 / args.phases as f64;
    let is_over = AtomicBool::new(false);
    board.begin(phase);
    let begun = Instant::now();
    let phase = std::thread::scope(|scope| {
        let ender = Ender::new(&is_over);
        let (flag, seed) = (&is_over, args.seed ^ phase as u64);
        let slow =
            spawn(scope, move || attack::slow_readers(target, args.slow, args.slow_tokens, seed, flag))?;
        let slowloris = spawn(scope, move || attack::slowloris(target, args.slowloris, flag))?;
        let vitals = watch(target, board, seconds);
        let seconds = begun.elapsed().as_secs_f64();
        // No longer part of the figures: the end of the attack.
        board.begin(0);
        drop(ender);
        let [slow, slowloris] = [slow, slowloris].map(ScopedJoinHandle::join);
        let attack = [slow.map_err(|_| PANIC)?, slowloris.map_err(|_| PANIC)?];
        Ok::<_, String>(Phase { attack: Some(attack), seconds, vitals, ..Phase::default() })
    })?;
    eprintln!("an attacked phase is over");
    Ok(phase)
}

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
    (args, control): (&'scope Args, &'scope [(Ask, u64)]),
    target: &'scope Target,
    board: &'scope Board,
    i: usize,
) -> Result<ScopedJoinHandle<'scope, Vec<Figures>>> {
    spawn(scope, move || {
        let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
        let mut client = Client::new(target);
        let mut figures = vec![Figures::default(); args.phases + 1];
        // They do not all begin at once.
        std::thread::sleep(Duration::from_millis(random.below(1000) as u64));
        while !board.is_over() {
            // Every other request is one whose text is known.
            let known = (random.below(2) == 0).then(|| &control[random.below(control.len())]);
            let n_tokens = 16 + random.below(81);
            let ask = known.map_or_else(|| Ask::chat(&mut random, n_tokens), |(ask, _)| ask.clone());
            let (started_in, mut pace) = (board.phase(), Pace::start());
            let answer = client.chat(&ask, |seen, now| {
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
                Ok(Answer::Done(_)) if known.is_some_and(|(_, hash)| *hash != client.text_hash()) => {
                    format!("another text than alone: {ask:?}")
                }
                Ok(Answer::Done(usage)) => {
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
