//! Medians and ranges: a mean would be one slow moment's.

use serde_json::{Value as Json, json};

/// Samples of one quantity, in the order of the repeats.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::commands) struct Samples(pub(in crate::commands) Vec<f64>);

impl Samples {
    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    /// NaN if there are none.
    pub(in crate::commands) fn median(&self) -> f64 {
        let sorted = self.sorted();
        match sorted.len() {
            0 => f64::NAN,
            n if n % 2 == 1 => sorted[n / 2],
            n => (sorted[n / 2 - 1] + sorted[n / 2]) / 2.0,
        }
    }

    pub(in crate::commands) fn least(&self) -> f64 {
        self.sorted().first().copied().unwrap_or(f64::NAN)
    }

    pub(in crate::commands) fn most(&self) -> f64 {
        self.sorted().last().copied().unwrap_or(f64::NAN)
    }

    /// The same samples in another unit.
    pub(in crate::commands) fn map(&self, f: impl Fn(f64) -> f64) -> Samples {
        Samples(self.0.iter().map(|&x| f(x)).collect())
    }

    /// This quantity over another one, repeat by repeat.
    pub(in crate::commands) fn over(&self, other: &Samples) -> Samples {
        Samples(self.0.iter().zip(&other.0).map(|(a, b)| a / b).collect())
    }

    /// `median (least … most)`, each by `show`; the median alone where all are equal or there is only one.
    pub(in crate::commands) fn text(&self, show: impl Fn(f64) -> String) -> String {
        let (median, least, most) = (show(self.median()), show(self.least()), show(self.most()));
        if least == most { median } else { format!("{median} ({least} … {most})") }
    }

    pub(in crate::commands) fn to_json(&self) -> Json {
        json!({ "median": self.median(), "least": self.least(), "most": self.most(), "samples": self.0 })
    }
}

/// Three or four digits that matter.
pub(in crate::commands) fn short(x: f64) -> String {
    match x.abs() {
        1000.0.. => format!("{x:.0}"),
        10.0.. => format!("{x:.1}"),
        1.0.. => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let text = |samples: &[f64]| Samples(samples.to_vec()).text(short);
        assert_eq!(text(&[3.0, 1.0, 2.0]), "2.00 (1.00 … 3.00)");
        assert_eq!(text(&[4.0, 1.0, 2.0, 30.0]), "3.00 (1.00 … 30.0)");
        assert_eq!(text(&[0.25]), "0.250");
        assert_eq!(text(&[1234.4, 1234.1]), "1234");
        assert!(Samples::default().median().is_nan());
    }

    #[test]
    fn ratios_are_taken_repeat_by_repeat() {
        let over = Samples(vec![2.0, 9.0]).over(&Samples(vec![1.0, 3.0]));
        assert_eq!(over, Samples(vec![2.0, 3.0]));
    }
}
