//! A report as Markdown and as JSON.

use serde_json::{Value as Json, json};

use super::row::{Limits, Row};
use crate::commands::doctor::Found;
use crate::kv_memory::shown;

/// Everything that a report says.
pub(super) struct Page {
    found: Found,
    pub(super) limits: Limits,
    /// Device, threads and type of keys and values of the first model.
    pub(super) runs_on: Option<String>,
    pub(super) rows: Vec<Row>,
    /// Of the whole survey.
    pub(super) seconds: f64,
    date: String,
}

const COLUMNS: [&str; 8] =
    ["model", "work", "tok/s", "ms a step", "of reads", "of matrices", "dispatches a step", "bound, ms"];

impl Page {
    pub(super) fn new(found: Found, limits: Limits) -> Page {
        let now = inferno_server::rfc3339(inferno_server::since_1970());
        let date = now.split(['T', '.']).take(2).collect::<Vec<_>>().join(" ") + " UTC";
        Page { found, limits, runs_on: None, rows: Vec::new(), seconds: 0.0, date }
    }

    pub(super) fn to_text(&self) -> String {
        let Page { found, limits, .. } = self;
        let mut text = format!("# inferno {} on {}\n\n", env!("CARGO_PKG_VERSION"), limits.device);
        let mut item = |name: &str, value: &str| text += &format!("- {name}: {value}\n");
        item("date", &self.date);
        item("processor", &format!("{}, {} cores", found.machine.cpu, found.machine.n_cores));
        if let Some(total) = found.total {
            item("memory", &shown(total));
        }
        item("system", &format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH));
        if let Some(driver) = &limits.driver {
            item("driver", driver);
        }
        if let Some(runs_on) = &self.runs_on {
            item("computes", runs_on);
        }
        if let Some(dispatch) = limits.dispatch {
            item("empty dispatch", &format!("{:.2} µs", 1e6 * dispatch));
        }
        item("reads", &format!("{:.1} GB/s", limits.read / 1e9));
        item("matrices", &format!("{:.0} GFLOP/s ({})", limits.flop / 1e9, limits.matrices));
        text.push('\n');
        text += &markdown(&self.table());
        text += "\nRandom weights. Medians, with the range of the samples. A bound is 1.5 × (dispatches × empty dispatch + \
                 bytes / reads); shares of matrices count products with weights, not attention.\n";
        let left_out: Vec<&Row> = self.rows.iter().filter(|row| row.outcome.is_err()).collect();
        if !left_out.is_empty() {
            text += "\nLeft out:\n\n";
        }
        for Row { model, work, outcome } in left_out {
            text += &format!("- {model}, {work}: {}\n", outcome.as_ref().err().map_or("", String::as_str));
        }
        text + &format!("\nTook {:.0} s.\n", self.seconds)
    }

    fn table(&self) -> Vec<Vec<String>> {
        let measured = self.rows.iter().filter_map(|row| Some((row, row.outcome.as_ref().ok()?)));
        let rows = measured.map(|(row, measured)| {
            [row.model.clone(), row.work.clone()].into_iter().chain(measured.cells(&self.limits)).collect()
        });
        std::iter::once(COLUMNS.map(String::from).to_vec()).chain(rows).collect()
    }

    pub(super) fn to_json(&self) -> Json {
        let limits = &self.limits;
        let row = |row: &Row| {
            let mut object = match &row.outcome {
                Ok(measured) => measured.to_json(limits),
                Err(why) => json!({ "left_out": why }),
            };
            object["model"] = row.model.clone().into();
            object["work"] = row.work.clone().into();
            object
        };
        json!({
            "inferno": env!("CARGO_PKG_VERSION"),
            "date": self.date,
            "machine": self.found.machine.to_json(),
            "memory_bytes": self.found.total,
            "computes": self.runs_on,
            "limits": {
                "device": limits.device,
                "driver": limits.driver,
                "empty_dispatch_us": limits.dispatch.map(|seconds| 1e6 * seconds),
                "read_gb_per_s": limits.read / 1e9,
                "matrix_gflop_per_s": limits.flop / 1e9,
                "matrices": limits.matrices,
            },
            "rows": self.rows.iter().map(row).collect::<Json>(),
            "seconds": self.seconds,
        })
    }
}

/// A table whose columns line up as text too; the first row is the heading, and numbers are to the right.
fn markdown(rows: &[Vec<String>]) -> String {
    let n_columns = rows.first().map_or(0, Vec::len);
    let width = |i: usize| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns).map(width).collect();
    let line = |row: &[String]| {
        let cells = row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| match i {
            0 | 1 => format!(" {cell:width$} "),
            _ => format!(" {cell:>width$} "),
        });
        format!("|{}|\n", cells.collect::<Vec<_>>().join("|"))
    };
    let rule: String = widths
        .iter()
        .enumerate()
        .map(|(i, &n)| format!("|{}{}", "-".repeat(n + 1), if i < 2 { "-" } else { ":" }))
        .collect();
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        text += &line(row);
        if i == 0 {
            text += &rule;
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up() {
        let rows = [["model", "work", "tok/s"], ["a", "one stream", "1.25"]]
            .map(|row| row.map(String::from).to_vec());
        assert_eq!(
            markdown(&rows),
            "| model | work       | tok/s |\n|-------|------------|------:|\n| a     | one stream |  1.25 |\n"
        );
    }

    #[test]
    fn a_report_names_what_it_left_out() {
        let mut page = Page::new(Found::at_once(), Limits { device: "a GPU".into(), ..Limits::default() });
        page.rows.push(Row::left_out("qwen3-8b Q4_K", "all", "it takes 5 GiB of memory".into()));
        let text = page.to_text();
        assert!(text.starts_with("# inferno "), "{text}");
        assert!(text.contains("- qwen3-8b Q4_K, all: it takes 5 GiB of memory\n"), "{text}");
        assert!(
            page.date.ends_with(" UTC") && page.date.len() == "2026-11-28 12:00:00 UTC".len(),
            "{}",
            page.date
        );
        assert_eq!(page.to_json()["rows"][0]["left_out"], "it takes 5 GiB of memory");
    }
}
