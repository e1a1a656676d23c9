//! What a scenario came to, for people and for programs.

use serde_json::{Value as Json, json};

use super::args::{Args, Scenario};

#[derive(Debug)]
pub(super) struct Report {
    /// For people, lines.
    pub(super) text: String,
    /// For programs, an object.
    pub(super) figures: Json,
    /// Bars that were missed and rules that were broken.
    pub(super) broken: Vec<String>,
}

impl Report {
    pub(super) fn to_text(&self) -> String {
        let mut text = self.text.clone();
        match self.broken.len() {
            0 => text.push_str("\nall rules were kept\n"),
            _ => self.broken.iter().for_each(|broken| text.push_str(&format!("\nBROKEN: {broken}\n"))),
        }
        text
    }

    pub(super) fn to_json(&self, args: &Args) -> Json {
        let name = match args.scenario {
            Scenario::Mixed => "mixed",
            Scenario::Overload => "overload",
            Scenario::Aborts => "aborts",
        };
        let mut report = json!({ "scenario": name, "seed": args.seed, "streams": args.n_streams() });
        if let (Some(report), Some(figures)) = (report.as_object_mut(), self.figures.as_object()) {
            report.extend(figures.clone());
        }
        report["broken"] = json!(self.broken);
        report
    }
}
