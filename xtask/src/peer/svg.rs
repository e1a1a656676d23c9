//! The ratios as bars, on a scale where twice as fast and half as fast are equally far.

use std::fmt::Write;

use super::Outcome;
use super::item::Item;
use super::markdown::{Report, rate};

const LABELS: f64 = 300.0;
const PLOT: f64 = 480.0;
const FIGURES: f64 = 180.0;
const ROW: f64 = 30.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 44.0;

/// Ratios at both ends, powers of two.
struct Scale {
    least: f64,
    most: f64,
}

impl Scale {
    fn of(ratios: impl Iterator<Item = f64>) -> Scale {
        let (mut least, mut most) = (0.5f64, 2.0f64);
        for ratio in ratios.filter(|r| r.is_finite() && *r > 0.0) {
            least = least.min(ratio);
            most = most.max(ratio);
        }
        Scale { least: least.log2().floor(), most: most.log2().ceil() }
    }

    fn x(&self, ratio: f64) -> f64 {
        LABELS + PLOT * ((ratio.log2() - self.least) / (self.most - self.least)).clamp(0.0, 1.0)
    }

    fn ticks(&self) -> impl Iterator<Item = f64> {
        (self.least as i32..=self.most as i32).map(|power| 2f64.powi(power))
    }
}

/// A picture of all rows that have figures.
pub(super) fn plot(report: &Report) -> String {
    let rows: Vec<(&Item, &Outcome)> =
        report.rows.iter().filter_map(|(item, outcome)| Some((*item, outcome.as_ref().ok()?))).collect();
    let target = |item: &Item| item.target_here(report.machine.has_amx);
    let scale = Scale::of(
        rows.iter()
            .flat_map(|(item, o)| [o.ratio.least(), o.ratio.most(), target(item).first, target(item).goal]),
    );
    let (width, bottom) = (LABELS + PLOT + FIGURES, TOP + ROW * rows.len() as f64);
    let height = bottom + BOTTOM;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"16\" fill=\"#111\">inferno over llama.cpp, tokens per second</text>\n\
         <text x=\"12\" y=\"42\" fill=\"#555\">{}, {} threads, {}</text>\n",
        escaped(&report.machine.cpu),
        report.threads,
        report.date,
    );
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let color = if tick == 1.0 { "#111" } else { "#ddd" };
        let _ = write!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"{color}\"/>\n\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#555\">{tick}×</text>\n",
            bottom + 16.0
        );
    }
    for (i, (item, o)) in rows.iter().enumerate() {
        bar(&mut out, TOP + ROW * i as f64, item, o, &scale, target(item).first, target(item).goal);
    }
    let _ = write!(
        out,
        "<text x=\"{LABELS}\" y=\"{:.1}\" fill=\"#555\">bar: median; line: range over the rounds; dashes: first \
         target and goal</text>\n</svg>\n",
        bottom + 36.0
    );
    out
}

fn bar(out: &mut String, top: f64, item: &Item, o: &Outcome, scale: &Scale, first: f64, goal: f64) {
    let (one, end, middle) = (scale.x(1.0), scale.x(o.ratio.median()), top + ROW / 2.0);
    let color = if o.ratio.median() >= first { "#2a7f4f" } else { "#c2571a" };
    let _ = write!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#111\">{}</text>\n\
         <rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"16\" fill=\"{color}\"/>\n\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\" stroke=\"#111\" stroke-width=\"2\"/>\n",
        LABELS - 10.0,
        middle + 4.5,
        escaped(item.title),
        one.min(end),
        middle - 8.0,
        (end - one).abs(),
        scale.x(o.ratio.least()),
        scale.x(o.ratio.most()),
    );
    for target in [first, goal] {
        let x = scale.x(target);
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"#444\" stroke-width=\"2\" \
             stroke-dasharray=\"4 2\"/>",
            top + 3.0,
            top + ROW - 3.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#111\">{:.2}×  ({} / {})</text>",
        LABELS + PLOT + 14.0,
        middle + 4.5,
        o.ratio.median(),
        rate(o.ours.median()),
        rate(o.theirs.median()),
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
