//! What a scenario came to, for people and for programs.

use serde_json::{Value as Json, json};

use super::args::{Args, Scenario};

#[derive(Debug)]
pub(super) struct Report {
    /// For people, lines.
    pub(super) text: String,
    /// For programs, an object.
    pub(super) figures: Json,
    /// Rules that were broken, whatever else the machine does.
    pub(super) broken: Vec<String>,
    /// Bars of time and speed that were missed, which a busy machine does too.
    pub(super) missed: Vec<String>,
}

impl Report {
    pub(super) fn to_text(&self) -> String {
        let mut text = self.text.clone();
        self.broken.iter().for_each(|broken| text.push_str(&format!("\nBROKEN: {broken}\n")));
        self.missed.iter().for_each(|missed| text.push_str(&format!("\nMISSED: {missed}\n")));
        if self.broken.is_empty() && self.missed.is_empty() {
            text.push_str("\nall rules were kept\n");
        }
        text
    }

    pub(super) fn to_json(&self, args: &Args) -> Json {
        let name = match args.scenario {
            Scenario::Mixed => "mixed",
            Scenario::Overload => "overload",
            Scenario::Aborts => "aborts",
            Scenario::Hostile => "hostile",
            Scenario::Faults => "faults",
            Scenario::Soak => "soak",
        };
        let mut report = json!({ "scenario": name, "seed": args.seed, "streams": args.n_streams() });
        if let (Some(report), Some(figures)) = (report.as_object_mut(), self.figures.as_object()) {
            report.extend(figures.clone());
        }
        report["broken"] = json!(self.broken);
        report["missed"] = json!(self.missed);
        report
    }
}
