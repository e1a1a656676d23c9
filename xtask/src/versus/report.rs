//! The report for people: a file with a section for every model.

use std::fmt::Write;
use std::path::Path;

use super::Result;
use super::case::{Case, Metric, Outcome, Unit};
use crate::peer::machine::Machine;
use crate::peer::markdown::{marked, rate};
use crate::peer::samples::Samples;

/// What a section says.
#[derive(Default)]
pub(super) struct Report {
    pub(super) label: String,
    pub(super) machine: Machine,
    pub(super) date: String,
    pub(super) command: String,
    /// Versions and commands.
    pub(super) servers: [String; 2],
    /// Averages before anything was started.
    pub(super) load: String,
    pub(super) rows: Vec<(Case, Result<Outcome>)>,
}

const HEAD: &str = "\
# Our server against llama-server

Both servers run for the whole time, on the same file and with as many threads, and are asked over loopback by one
program on the same cores. Samples alternate: ours first in one round, theirs first in the next, the other one idle.
Both get the same prompts, random words that never come twice; temperature 0, and no answer ends early. llama-server
runs with the setting that does most in the case (SETTING stands for it). Figures are medians of the rounds with the
range behind them, ratios (ours over theirs) are taken round by round: above 1 is better for what is per second, below 1
for times. A time to first token begins with the request and ends with the first text.
";

impl Report {
    /// Puts the section into the file.
    pub(super) fn write(&self, out: Option<&Path>) -> Result<()> {
        let Some(out) = out else { return Ok(()) };
        if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|e| format!("cannot make `{}`: {e}", folder.display()))?;
        }
        let before = match out.exists() {
            true => {
                std::fs::read_to_string(out).map_err(|e| format!("cannot read `{}`: {e}", out.display()))?
            }
            false => HEAD.to_owned(),
        };
        std::fs::write(out, with_section(&before, &self.to_section()))
            .map_err(|e| format!("cannot write `{}`: {e}", out.display()))
    }

    pub(super) fn to_section(&self) -> String {
        let mut out = format!("## {}\n\n", self.label);
        let _ = write!(
            out,
            "* machine: {}\n* date: {}\n* command: `{}`\n* {}\n* {}\n* load average before: {}\n\n",
            self.machine, self.date, self.command, self.servers[0], self.servers[1], self.load,
        );
        out += "| | inferno | llama-server | ratio | first target | goal |\n|---|--:|--:|--:|--:|--:|\n";
        for (case, outcome) in &self.rows {
            match outcome {
                Ok(outcome) => rows_of(*case, outcome, &mut out),
                Err(why) => {
                    let why = why.replace(['|', '\n'], " ");
                    let _ = writeln!(out, "| **{}** | failed: {why} | | | | |", case.title());
                }
            }
        }
        let n_disturbed: usize =
            self.rows.iter().filter_map(|row| Some(row.1.as_ref().ok()?.n_disturbed)).sum();
        if n_disturbed > 0 {
            let _ = writeln!(
                out,
                "\n**Other programs were at work during {n_disturbed} of the samples: these figures are worth little.**"
            );
        }
        out
    }
}

fn rows_of(case: Case, outcome: &Outcome, out: &mut String) {
    let _ = writeln!(out, "| **{}**: {} | | | | | |", case.title(), outcome.note);
    for ((metric, ours), theirs) in case.metrics().iter().zip(&outcome.ours).zip(&outcome.theirs) {
        let ratio = ratio(metric, ours, theirs);
        let [first, goal] = match metric.bars {
            Some(bars) => bars.map(|bar| metric.unit.bar(ratio.median(), bar)),
            None => Default::default(),
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {first} | {goal} |",
            metric.name,
            text(ours, |x| metric.unit.show(x)),
            text(theirs, |x| metric.unit.show(x)),
            text(&ratio, |x| if x.is_infinite() { "∞".into() } else { format!("{x:.2}×") }),
        );
    }
}

/// Round by round.
pub(super) fn ratio(metric: &Metric, ours: &Samples, theirs: &Samples) -> Samples {
    match metric.unit {
        Unit::Share => Samples::default(),
        Unit::Rate | Unit::Time => ours.over(theirs),
    }
}

/// Of the rounds that have a figure.
fn text(samples: &Samples, show: impl Fn(f64) -> String) -> String {
    let known = Samples(samples.0.iter().copied().filter(|x| !x.is_nan()).collect());
    match known.0.len() {
        0 => "–".into(),
        _ => known.text(show),
    }
}

impl Unit {
    pub(super) fn show(self, x: f64) -> String {
        match self {
            _ if x.is_nan() => "–".into(),
            Unit::Rate => rate(x),
            Unit::Time => format!("{} ms", rate(x)),
            Unit::Share => format!("{:.0} %", 100.0 * x),
        }
    }

    fn bar(self, ratio: f64, bar: f64) -> String {
        match self {
            Unit::Time => marked(ratio <= bar, &format!("≤ {bar}×")),
            Unit::Rate | Unit::Share => marked(ratio >= bar, &format!("≥ {bar}×")),
        }
    }
}

/// The file with the section in place of the one with the same heading, or behind all others.
pub(super) fn with_section(file: &str, section: &str) -> String {
    let heading = section.lines().next().unwrap_or_default();
    let (mut before, mut after, mut place) = (String::new(), String::new(), Place::Before);
    for line in file.lines() {
        place = match place {
            Place::Before if line == heading => Place::Within,
            Place::Within if line.starts_with("## ") => Place::After,
            place => place,
        };
        let part = match place {
            Place::Before => &mut before,
            Place::Within => continue,
            Place::After => &mut after,
        };
        part.push_str(line);
        part.push('\n');
    }
    let parts = [before.trim_end(), section.trim_end(), after.trim_end()];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n\n") + "\n"
}

/// Where a line stands, seen from the section.
#[derive(Clone, Copy)]
enum Place {
    Before,
    Within,
    After,
}
