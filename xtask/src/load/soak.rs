//! Hours of mixed load: memory, files, threads, pages and latency must not drift.
//!
//! ```text
//! |  known texts  |  warm-up  |  measured: six windows of equal length      |  settled  |
//! |  one by one   |  a third of the measured time, then figures and looks   |  idle     |
//! ```
//!
//! Clients think between requests as long as a recorded service had nothing to do, and ask for prompts and answers of its
//! lengths. Of twenty requests twelve are chats whose streamed texts are known, three are streams closed on the way, and five
//! go to the other endpoints or are wrong, and must be answered as they were when nothing else ran.

mod others;
mod trace;
mod trend;

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::{Builder, sleep};
use std::time::{Duration, Instant};

use xtask::testing::Random;

use super::aborts::{Ends, close_within};
use super::args::Args;
use super::ask::Ask;
use super::board::Board;
use super::client::{Answer, Beat, Client, Pace};
use super::figures::Figures;
use super::known::known;
use super::look::{Look, settled};
use super::report::Report;
use super::stream::Seen;
use super::target::Target;
use super::{Result, STACK};

use others::Other;
use trace::Turns;

/// Windows of the measured time.
pub(super) const N_WINDOWS: usize = 6;
/// The time before, over the measured one: the pool of keys and values fills up, and every path has been taken.
const WARM_UP: f64 = 1.0 / 3.0;
/// Looks at the server in the measured time, at most one a second.
const N_LOOKS: f64 = 360.0;
/// Requests whose texts are known.
const N_KNOWN: usize = 64;
/// Texts of a stream for each gap that is kept, which is enough gaps for a day.
const GAPS_APART: usize = 8;

/// Outcome of a soak for the server and its clients.
pub(super) struct Outcome {
    pub(super) hours: f64,
    /// By window, the warm-up first.
    pub(super) figures: Vec<Figures>,
    /// In the measured time: hours since its beginning.
    pub(super) looks: Vec<(f64, Look)>,
    pub(super) before: Look,
    pub(super) after: Look,
    pub(super) ends: Ends,
}

pub(super) fn run(args: &Args, target: &Target) -> Result<Report> {
    let turns = Turns::of(args)?;
    let board = Board::default();
    let mut random = Random(args.seed ^ 0x5eed);
    let before = settled(target, None)?;
    let control = &known(target, N_KNOWN, || turns.ask(&mut random))?;
    let others = &others::known(target)?;
    let ends = Ends::default();
    let seconds = args.minutes() * 60.0;
    let mut looks = Vec::new();
    let work = |i: usize| client(args, (&turns, control, others), (target, &board), &ends, i);
    let work = &work;
    let figures = std::thread::scope(|scope| {
        let ender = board.ender();
        let mut clients = Vec::new();
        for i in 0..args.n_streams() {
            let thread = Builder::new().stack_size(STACK).spawn_scoped(scope, move || work(i));
            clients.push(thread.map_err(|e| format!("cannot start a thread: {e}"))?);
        }
        wait(seconds * WARM_UP, &board);
        let begun = Instant::now();
        let tick = Duration::from_secs_f64((seconds / N_LOOKS).max(1.0).min(seconds / N_WINDOWS as f64));
        for window in 1..=N_WINDOWS {
            board.begin(window);
            let end = seconds * window as f64 / N_WINDOWS as f64;
            while begun.elapsed().as_secs_f64() < end && !board.is_over() {
                looks.push((begun.elapsed().as_secs_f64() / 3600.0, Look::at(target)?));
                let next = begun + tick.mul_f64(looks.len() as f64);
                wait(next.saturating_duration_since(Instant::now()).as_secs_f64(), &board);
            }
        }
        drop(ender);
        let mut figures = vec![Figures::default(); 1 + N_WINDOWS];
        for client in clients {
            let of_client = client.join().map_err(|_| "a client's thread panicked")?;
            figures.iter_mut().zip(&of_client).for_each(|(all, of_client)| all.append(of_client));
        }
        Ok::<_, String>(figures)
    })?;
    let after = settled(target, Some(before))?;
    let outcome = Outcome { hours: seconds / 3600.0, figures, looks, before, after, ends };
    Ok(trend::report(&outcome, &board.failures()))
}

/// Sleeps, unless everything is over.
fn wait(seconds: f64, board: &Board) {
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end && !board.is_over() {
        sleep(end.saturating_duration_since(Instant::now()).min(Duration::from_millis(50)));
    }
}

/// Asks until all is over; its figures by window.
fn client(
    args: &Args,
    (turns, control, others): (&Turns, &[Ask], &[Other]),
    (target, board): (&Target, &Board),
    ends: &Ends,
    i: usize,
) -> Vec<Figures> {
    let mut random = Random(args.seed.wrapping_add((i as u64) << 32));
    let mut client = Client::new(target);
    let mut figures = vec![Figures::default(); 1 + N_WINDOWS];
    while !board.is_over() {
        wait(turns.pause(&mut random), board);
        let window = board.phase();
        let ask = &control[random.below(control.len())];
        let outcome = match random.below(20) {
            ..12 => chat(&mut client, ask, &mut figures[window]),
            12..15 => {
                let mut single = Client::of_single_requests(target);
                close_within(&mut single, ask, &mut random, ends).map(|end| _ = end.fetch_add(1, Relaxed))
            }
            _ => others[random.below(others.len())].ask_again(&mut client),
        };
        match outcome {
            Ok(()) => figures[window].done += 1,
            Err(why) => {
                figures[window].failed += 1;
                board.fail(why);
                client = Client::new(target);
                sleep(Duration::from_millis(200));
            }
        }
    }
    figures
}

fn chat(client: &mut Client, ask: &Ask, figures: &mut Figures) -> Result<()> {
    let (mut pace, mut n_texts) = (Pace::start(), 0);
    let answer = client.chat(ask, |seen, _, now| {
        if seen == Seen::Text {
            n_texts += 1;
            match pace.text(now) {
                (Beat::First, time) => figures.first.push(time),
                (Beat::Next, time) if n_texts % GAPS_APART == 0 => figures.gaps.push(time),
                (Beat::Next, _) => {}
            }
        }
        ControlFlow::Continue(())
    })?;
    match answer {
        Answer::Done(usage, _) => figures.tokens += usage.completion,
        other => return Err(format!("a chat of known text: {other:?}")),
    }
    Ok(())
}
