//! Prometheus' text format, version 0.0.4: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::{Display, Write};

use inferno_engine::Histogram;

/// A page of metrics.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// Starts a metric.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    /// One value of it. Labels are names and values in turn.
    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.text, " {value}");
    }

    /// A metric of one value.
    pub(crate) fn one(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) {
        self.head(name, kind, help);
        self.value(name, labels, value);
    }

    /// A histogram whose numbers are `scale` of what is told: microseconds are told as seconds.
    pub(crate) fn histogram<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<N>,
        scale: f64,
    ) {
        self.head(name, "histogram", help);
        self.buckets(name, labels, histogram, scale);
    }

    /// The values of one histogram of a metric.
    pub(crate) fn buckets<const N: usize>(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram<N>,
        scale: f64,
    ) {
        let mut n = 0;
        for (end, count) in histogram.ends().iter().zip(&histogram.counts) {
            n += count;
            let _ = write!(self.text, "{name}_bucket");
            self.labels(labels, Some(&format!("{}", *end as f64 / scale)));
            let _ = writeln!(self.text, " {n}");
        }
        let _ = write!(self.text, "{name}_bucket");
        self.labels(labels, Some("+Inf"));
        let _ = writeln!(self.text, " {}", histogram.n());
        self.value(&format!("{name}_sum"), labels, histogram.sum as f64 / scale);
        self.value(&format!("{name}_count"), labels, histogram.n());
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }

    fn labels(&mut self, labels: &[(&str, &str)], le: Option<&str>) {
        let all = labels.iter().copied().chain(le.map(|end| ("le", end)));
        let mut before = '{';
        for (name, value) in all {
            let _ = write!(self.text, "{before}{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_are_cumulative_and_labels_are_escaped() {
        static ENDS: [u64; 2] = [1_000_000, 2_500_000];
        let mut histogram = Histogram::new(&ENDS);
        [500_000, 2_000_000, 9_000_000].into_iter().for_each(|x| histogram.add(x));
        let mut page = Page::default();
        page.histogram("t_seconds", "Time.", &[("model", "a\"b\\")], &histogram, 1e6);
        let expected = r#"# HELP t_seconds Time.
# TYPE t_seconds histogram
t_seconds_bucket{model="a\"b\\",le="1"} 1
t_seconds_bucket{model="a\"b\\",le="2.5"} 2
t_seconds_bucket{model="a\"b\\",le="+Inf"} 3
t_seconds_sum{model="a\"b\\"} 11.5
t_seconds_count{model="a\"b\\"} 3
"#;
        assert_eq!(page.into_text(), expected);
    }
}
