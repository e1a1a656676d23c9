//! Progress of a download on stderr: a line that is redrawn on a terminal, else a line now and then.

use std::collections::VecDeque;
use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use inferno_hub::{HubError, RemoteFile, RepoId, Watch};

use crate::commands::{bytes, note};
use crate::terminal;

/// The rate is that of this time.
const WINDOW: Duration = Duration::from_secs(8);
/// Silence after which it is said.
const SILENCE: Duration = Duration::from_secs(5);
/// Time between two lines where stderr is no terminal; the first comes sooner.
const LINES: Duration = Duration::from_secs(30);
const FIRST_LINE: Duration = Duration::from_secs(5);
/// Clears the rest of a line.
const ERASE: &str = "\x1b[K";
/// Columns of a terminal that does not say.
const COLUMNS: usize = 80;
/// Columns of the bar, and the fewest and most of the name beside it.
const BAR: (usize, usize) = (6, 32);
const LABEL: (usize, usize) = (8, 40);

/// Counts of a download, told by its threads and drawn by another.
#[derive(Debug)]
pub(crate) struct Progress {
    state: Mutex<State>,
    is_cancelled: AtomicBool,
    is_terminal: bool,
}

#[derive(Debug, Default)]
struct State {
    label: String,
    /// Bytes of all files.
    total: u64,
    /// By file: bytes that were there at first, and bytes that are; `None` before the first number.
    files: Vec<Option<(u64, u64)>>,
    /// Bytes that have come, by time; the first is older than the window.
    samples: VecDeque<(Instant, u64)>,
    began: Option<Instant>,
    /// When bytes last came.
    moved: Option<Instant>,
    /// The line before, where stderr is no terminal.
    last_line: Option<Instant>,
    is_drawn: bool,
    notes: Vec<String>,
}

/// Numbers of a line.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    done: u64,
    total: u64,
    /// Bytes per second; `None` before it is known.
    rate: Option<f64>,
    silence: Duration,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let is_terminal = std::io::stderr().is_terminal() && !terminal::is_dumb();
        Progress { state: Mutex::default(), is_cancelled: AtomicBool::new(false), is_terminal }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the download at the next occasion.
    pub(crate) fn cancel(&self) {
        self.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Prints notes, and how far the download is.
    pub(crate) fn draw(&self) {
        let now = Instant::now();
        let state = &mut *self.state();
        self.print_notes(state);
        let Some(began) = state.began else { return };
        let numbers = state.numbers(now);
        if self.is_terminal {
            let line = line(&state.label, numbers, columns());
            let _ = write!(std::io::stderr(), "\r{}{}", terminal::visible(&line), ERASE);
            state.is_drawn = true;
            return;
        }
        let due = state.last_line.map_or(began + FIRST_LINE, |last| last + LINES);
        if now >= due {
            state.last_line = Some(now);
            note(&line(&state.label, numbers, usize::MAX));
        }
    }

    /// Clears the line; if the download `is_whole`, says how long it took.
    pub(crate) fn end(&self, is_whole: bool) {
        let state = &mut *self.state();
        self.print_notes(state);
        self.clear(state);
        let Some(began) = state.began.filter(|_| is_whole) else { return };
        let (came, time) = (state.came(), began.elapsed());
        let rate = came as f64 / time.as_secs_f64().max(1e-3);
        note(&format!("downloaded {} in {} ({}/s)", bytes(came), clock(time), bytes(rate as u64)));
    }

    fn print_notes(&self, state: &mut State) {
        for text in std::mem::take(&mut state.notes) {
            self.clear(state);
            note(&text);
        }
    }

    fn clear(&self, state: &mut State) {
        if std::mem::take(&mut state.is_drawn) {
            let _ = write!(std::io::stderr(), "\r{}", ERASE);
        }
    }
}

impl Watch for Progress {
    fn begin(&self, repo: &RepoId, files: &[RemoteFile]) {
        let state = &mut *self.state();
        let total = files.iter().map(|file| file.size).sum();
        let name = |file: &RemoteFile| file.path.rsplit('/').next().unwrap_or_default().to_owned();
        let (label, what) = match files {
            [file] => (name(file), format!("`{}`", file.path)),
            [first, ..] => {
                (format!("{} files", files.len()), format!("{} files from `{}` on", files.len(), first.path))
            }
            [] => return,
        };
        state.notes.push(format!("downloading {what} of {repo}, {}", bytes(total)));
        let now = Instant::now();
        *state = State {
            label,
            total,
            files: vec![None; files.len()],
            began: Some(now),
            moved: Some(now),
            notes: std::mem::take(&mut state.notes),
            is_drawn: state.is_drawn,
            ..State::default()
        };
    }

    fn advance(&self, idx: usize, done: u64) {
        let state = &mut *self.state();
        let Some(file) = state.files.get_mut(idx) else { return };
        match file {
            Some((_, now)) if done >= *now => *now = done,
            // A smaller number is a new start.
            _ => *file = Some((done, done)),
        }
        state.moved = Some(Instant::now());
    }

    fn note(&self, text: &str) {
        self.state().notes.push(text.to_owned());
    }

    fn check(&self) -> Result<(), HubError> {
        if self.is_cancelled.load(Ordering::Relaxed) { Err(HubError::Cancelled) } else { Ok(()) }
    }
}

impl State {
    /// Bytes that have come by this download.
    fn came(&self) -> u64 {
        self.files.iter().flatten().map(|(before, now)| now - before).sum()
    }

    fn numbers(&mut self, now: Instant) -> Numbers {
        let came = self.came();
        if self.samples.back().is_some_and(|(_, before)| *before > came) {
            self.samples.clear();
        }
        self.samples.push_back((now, came));
        while self.samples.get(1).is_some_and(|(time, _)| now.duration_since(*time) >= WINDOW) {
            self.samples.pop_front();
        }
        let (since, before) = self.samples[0];
        let time = now.duration_since(since).as_secs_f64();
        Numbers {
            done: self.files.iter().flatten().map(|(_, now)| now).sum(),
            total: self.total,
            rate: (time >= 0.5).then(|| (came - before) as f64 / time),
            silence: self.moved.map_or(Duration::ZERO, |moved| now.duration_since(moved)),
        }
    }
}

/// Name, share, bar, bytes, rate and time left, with [`terminal::FREE_COLUMNS`] left of `columns`.
fn line(label: &str, numbers: Numbers, columns: usize) -> String {
    let Numbers { done, total, rate, silence } = numbers;
    let share = done as f64 / total.max(1) as f64;
    let percent = (100.0 * share).floor();
    let mut behind = part_of(done, total);
    match rate {
        _ if silence >= SILENCE => behind += &format!(", nothing for {} s", silence.as_secs()),
        Some(rate) if rate >= 1.0 => {
            let left = (total.saturating_sub(done) as f64 / rate).min(1e6) as u64;
            behind += &format!(", {}/s, {} left", bytes(rate as u64), countdown(left));
        }
        _ => {}
    }
    if columns == usize::MAX {
        return format!("{label}: {percent} %, {behind}");
    }
    let room = columns.saturating_sub(terminal::FREE_COLUMNS);
    let label_len = label.chars().count().min(LABEL.1);
    let left = room.saturating_sub(format!("  100 % []  {behind}").len());
    let n_bar = left.saturating_sub(label_len).clamp(BAR.0, BAR.1);
    let bar = if left >= n_bar {
        let n_full = ((n_bar as f64 * share) as usize).min(n_bar);
        format!(" [{}{}]", "#".repeat(n_full), ".".repeat(n_bar - n_full))
    } else {
        String::new()
    };
    let text = format!("{percent:3} %{bar}  {behind}");
    let text = match room.saturating_sub(text.len() + 2).min(LABEL.1) {
        n if n >= label.chars().count() => format!("{label}  {text}"),
        n if n >= LABEL.0 => format!("{}…  {text}", label.chars().take(n - 1).collect::<String>()),
        _ => text,
    };
    text.chars().take(room).collect()
}

/// `217.0 of 639.4 MB`.
fn part_of(done: u64, total: u64) -> String {
    let total = bytes(total);
    let (number, unit) = total.split_once(' ').unwrap_or((&total, "B"));
    let (scale, digits) = match unit {
        "kB" => (1e3, 1),
        "MB" => (1e6, 1),
        "GB" => (1e9, 2),
        _ => (1.0, 0),
    };
    format!("{:.digits$} of {number} {unit}", done as f64 / scale)
}

/// `0:17`, `3:20`, `2:05:00`.
fn countdown(seconds: u64) -> String {
    match seconds {
        s @ 0..3600 => format!("{}:{:02}", s / 60, s % 60),
        s => format!("{}:{:02}:{:02}", s / 3600, s % 3600 / 60, s % 60),
    }
}

/// Time as people read it: `48 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn clock(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{:.1} s", time.as_secs_f64()),
        s @ 1..60 => format!("{s} s"),
        s @ 60..3600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Columns of the terminal.
fn columns() -> usize {
    terminal::Size::now().map_or(COLUMNS, |size| size.columns)
}

#[cfg(test)]
mod tests;
