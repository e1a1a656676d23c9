//! The report for people.

use std::fmt::Write;
use std::path::Path;

use serde_json::Value as Json;

use super::item::{Item, Target};
use super::machine::Machine;
use super::{Outcome, Read, Result, plot_path, svg};

/// Everything that is in the report.
#[derive(Default)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) date: String,
    pub(super) command: String,
    pub(super) commit: String,
    pub(super) threads: usize,
    /// Our version and level of instructions, and theirs.
    pub(super) ours: Option<String>,
    pub(super) theirs: Option<String>,
    pub(super) rows: Vec<(&'static Item, Result<Outcome>)>,
}

impl Report {
    /// From the first words of both programs.
    pub(super) fn note_versions(&mut self, ours: &Json, theirs: &Json) {
        let text = |json: &Json| json.as_str().unwrap_or("unknown").to_owned();
        let settings = &ours["settings"];
        self.ours.get_or_insert_with(|| {
            let (level, kv) = (text(&settings["backend"]), text(&settings["kv_type"]));
            format!("{} (commit {}), {level}, KV {kv}", text(&ours["inferno"]), self.commit)
        });
        self.theirs.get_or_insert_with(|| {
            format!(
                "{}, KV f16; {}",
                text(&theirs["version"]),
                text(&theirs["system"]).trim_end_matches(" |")
            )
        });
    }

    /// The report and its plot.
    pub(super) fn write(&self, out: Option<&Path>) -> Result<()> {
        let Some(out) = out else { return Ok(()) };
        let put = |path: &Path, text: &str| {
            if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
                std::fs::create_dir_all(folder)
                    .map_err(|e| format!("cannot make `{}`: {e}", folder.display()))?;
            }
            std::fs::write(path, text).map_err(|e| format!("cannot write `{}`: {e}", path.display()))
        };
        let plot = plot_path(out);
        put(&plot, &svg::plot(self))?;
        put(out, &self.to_markdown(plot.file_name().and_then(|name| name.to_str())))
    }

    pub(super) fn to_markdown(&self, plot: Option<&str>) -> String {
        let mut out = String::from("# Speed against llama.cpp, on the CPU\n\n");
        let unknown = || "unknown".to_owned();
        let _ = write!(
            out,
            "* machine: {}\n* date: {}\n* command: `{}`\n* inferno: {}\n* llama.cpp: {}\n\
             * {} threads each\n\n",
            self.machine,
            self.date,
            self.command,
            self.ours.clone().unwrap_or_else(unknown),
            self.theirs.clone().unwrap_or_else(unknown),
            self.threads,
        );
        out += "Both programs are loaded and warm, and samples alternate: ours, theirs, ours, theirs. Figures are medians\n\
                with the range behind them, in tokens per second; ratios are taken round by round. The model has the\n\
                shape of Qwen3-0.6B and random weights. llama.cpp runs with and without flash attention, and for many\n\
                sequences with one KV cache for all and with one for each: the best is what counts.\n\n";
        if let Some(plot) = plot {
            let _ = writeln!(out, "![ratios]({plot})\n");
        }
        out += "| | inferno | llama.cpp | its best setting | ratio | first target | goal |\n\
                |---|--:|--:|---|--:|--:|--:|\n";
        for (item, outcome) in &self.rows {
            match outcome {
                Ok(o) => self.rows_of(item, o, &mut out),
                Err(why) => {
                    let why = why.replace(['|', '\n'], " ");
                    let _ = writeln!(out, "| {} | failed: {why} | | | | | |", item.title);
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
        if !self.machine.has_amx && self.rows.iter().any(|row| row.0.target_without_amx.is_some()) {
            out += "\nThis machine has no AMX. Where there is a target without AMX on either side, that one is shown; the\n\
                    others were set for a machine that has it.\n";
        }
        out
    }

    fn rows_of(&self, item: &Item, o: &Outcome, out: &mut String) {
        let ratio = |x: f64| format!("{x:.2}×");
        let target = item.target_here(self.machine.has_amx);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | **{}** | {} | {} |",
            item.title,
            o.ours.text(rate),
            o.theirs.text(rate),
            setting(&o.setting),
            o.ratio.text(ratio),
            reached(o.ratio.median(), target.first, &plain(target.first)),
            reached(o.ratio.median(), target.goal, &plain(target.goal)),
        );
        if let (Some(Read { stream, share }), Some(Target { first, goal })) = (&o.read, item.share) {
            let percent = |x: f64| format!("{:.0} %", 100.0 * x);
            let _ = writeln!(
                out,
                "| … share of the streaming read, {} GB/s | {} | | | | {} | {} |",
                stream.text(rate),
                share.text(percent),
                reached(share.median(), first, &percent(first)),
                reached(share.median(), goal, &percent(goal)),
            );
        }
    }
}

/// Three digits.
pub(crate) fn rate(x: f64) -> String {
    match x {
        100.0.. => format!("{x:.0}"),
        _ => format!("{x:.1}"),
    }
}

fn plain(x: f64) -> String {
    format!("{x}×")
}

fn reached(found: f64, wanted: f64, text: &str) -> String {
    marked(found >= wanted, text)
}

/// A bar, and whether it was reached.
pub(crate) fn marked(is_reached: bool, bar: &str) -> String {
    format!("{bar} {}", if is_reached { "✓" } else { "✗" })
}

/// The words of `llama_cpp_bench.py`, for people.
fn setting(name: &str) -> String {
    let words = name.split('+').map(|word| match word {
        "flash" => "flash attention",
        "plain" => "no flash attention",
        "one" => "one cache",
        "each" => "a cache each",
        "kv8" => "8-bit KV",
        other => other,
    });
    words.collect::<Vec<_>>().join(", ")
}
