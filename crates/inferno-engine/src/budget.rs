//! How many prompt rows a step may have: so many that those who decode do not wait too long.

use crate::request::Micros;
use crate::scheduler::Plan;

/// Learns from the time that steps take.
#[derive(Debug)]
pub(crate) struct Budget {
    min_rows: usize,
    max_rows: usize,
    target: Micros,
    /// Prompt rows of a step that also decodes.
    rows: usize,
    /// Sums over past steps, each worth less than the next: of 1, rows, rows², time, and rows × time.
    moments: [f64; 5],
    row_times: RowTimes,
}

/// Times of steps that only decode, by their number of rows. Kernels take rows in groups: one row more may take no longer, or half
/// as long again, which no line tells.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowTimes {
    times: [Option<RowTime>; MOST_TIMED_ROWS + 1],
}

#[derive(Debug, Clone, Copy)]
struct RowTime {
    /// Microseconds.
    time: f64,
    /// Steps since it was measured.
    age: u32,
}

/// Rows up to which steps are timed by their number.
const MOST_TIMED_ROWS: usize = 16;
/// Steps after which a time is forgotten.
const OLD: u32 = 256;
/// Weight of the last measurement in a time, if it took longer than before, and else: what takes longer may have been interrupted.
pub(crate) const NEWEST: [f64; 2] = [0.1, 0.5];

impl RowTimes {
    pub(crate) fn observe(&mut self, n_rows: usize, took: Micros) {
        self.times.iter_mut().flatten().for_each(|one| one.age += 1);
        let Some(one) = self.times.get_mut(n_rows) else { return };
        let took = took as f64;
        let before = one.filter(|one| one.age <= OLD).map_or(took, |one| one.time);
        let newest = NEWEST[usize::from(took < before)];
        *one = Some(RowTime { time: before + newest * (took - before), age: 0 });
    }

    /// The nearest number of rows, up to `n_rows`, of which a step was measured of late, and its microseconds.
    pub(crate) fn nearest(&self, n_rows: usize) -> Option<(usize, f64)> {
        let mut up_to = self.times.iter().take(n_rows + 1).enumerate().rev();
        up_to.find_map(|(n, one)| Some((n, (*one).filter(|one| one.age <= OLD)?.time)))
    }
}

/// A step in which nobody decodes may take so many times as long.
const PATIENCE: f64 = 3.0;

/// What the past is worth after a step.
const DECAY: f64 = 0.97;

impl Budget {
    pub(crate) fn new(min_rows: usize, max_rows: usize, target: Micros) -> Budget {
        // The first steps tell; until then a step is rather short.
        let rows = (max_rows / 8).clamp(min_rows.min(max_rows), max_rows);
        Budget { min_rows, max_rows, target, rows, moments: [0.0; 5], row_times: RowTimes::default() }
    }

    /// Prompt rows for a step in which so many decode. Where nobody waits for a token a step may be longer, but not so long
    /// that who comes meanwhile waits for ever.
    pub(crate) fn prompt_rows(&self, n_decoding: usize) -> usize {
        let [n, x, _, t, _] = self.moments;
        if n_decoding > 0 || n < 2.0 {
            return self.rows;
        }
        let (base, per_row) = self.cost().unwrap_or((0.0, t / x.max(1.0)));
        let rows = (PATIENCE * self.target as f64 - base) / per_row.max(1e-9);
        (rows as usize).clamp(self.min_rows.min(self.max_rows), self.max_rows)
    }

    pub(crate) fn observe(&mut self, plan: &Plan, took: Micros) {
        let (n, t) = (plan.n_rows as f64, took as f64);
        for (sum, x) in self.moments.iter_mut().zip([1.0, n, n * n, t, n * t]) {
            *sum = *sum * DECAY + x;
        }
        if plan.n_decoding == 0 {
            return;
        }
        if plan.n_prompt_rows + plan.n_forced_rows == 0 {
            self.row_times.observe(plan.n_rows, took);
            return;
        }
        let least = self.min_rows.min(self.max_rows);
        if took > self.target {
            let shrunk = (self.rows as u64).saturating_mul(self.target) / took;
            self.rows = (shrunk as usize).max(self.rows / 2).max(least);
        } else if plan.was_cut && took < self.target / 5 * 4 {
            self.rows = (self.rows + self.rows / 4 + 1).min(self.max_rows);
        }
    }

    /// How long a step with so many rows takes, about; `None` if there was none yet.
    pub(crate) fn expected(&self, n_rows: usize) -> Option<f64> {
        let [n, _, _, t, _] = self.moments;
        let line = self.cost().map(|(base, per_row)| base + per_row * n_rows as f64);
        line.or_else(|| (n > 0.0).then(|| t / n))
    }

    /// Rows that make a step in which `n_decoding` sequences decode longer by at most a `share` of its time, about. One until steps
    /// tell what a row takes, so that they do.
    pub(crate) fn rows_within(&self, share: f64, n_decoding: usize) -> usize {
        self.cost().map_or(1, |(base, per_row)| {
            let step = base + per_row * n_decoding as f64;
            (share * step / per_row.max(1e-9)) as usize
        })
    }

    /// Times of steps that only decode.
    pub(crate) fn row_times(&self) -> RowTimes {
        self.row_times
    }

    /// What a step takes without rows, and per row: a line through past steps. `None` before they tell.
    pub(crate) fn cost(&self) -> Option<(f64, f64)> {
        let [n, x, xx, t, xt] = self.moments;
        let spread = n * xx - x * x;
        if n < 3.0 || spread < 1e-9 * xx * n {
            return None;
        }
        let slope = ((n * xt - x * t) / spread).max(0.0);
        Some((((t - slope * x) / n).max(0.0), slope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_rows_fall_quickly_rise_slowly_and_are_forgotten() {
        let mut times = RowTimes::default();
        assert_eq!(times.nearest(8), None);
        times.observe(4, 1_000);
        assert_eq!(
            (times.nearest(3), times.nearest(4), times.nearest(8)),
            (None, Some((4, 1_000.0)), Some((4, 1_000.0)))
        );
        times.observe(4, 2_000);
        assert_eq!(times.nearest(4), Some((4, 1_100.0)));
        times.observe(4, 100);
        assert_eq!(times.nearest(4), Some((4, 600.0)));
        // Other numbers of rows, and more than are timed.
        (0..OLD).for_each(|_| times.observe(MOST_TIMED_ROWS + 1, 5));
        assert_eq!(times.nearest(100), Some((4, 600.0)));
        times.observe(1, 50);
        assert_eq!(times.nearest(100), Some((1, 50.0)));
        // After a long time the first one counts whole.
        times.observe(4, 700);
        assert_eq!(times.nearest(100), Some((4, 700.0)));
    }

    /// Steps of a model that takes 1 ms and 100 µs a row.
    fn steps(budget: &mut Budget, n: usize, n_decoding: usize) {
        for _ in 0..n {
            let n_prompt_rows = budget.prompt_rows(n_decoding);
            let n_rows = n_prompt_rows + n_decoding;
            let plan = Plan { n_rows, n_decoding, n_prompt_rows, was_cut: true, ..Plan::default() };
            budget.observe(&plan, 1_000 + 100 * n_rows as Micros);
        }
    }

    #[test]
    fn a_step_that_decodes_comes_close_to_its_target_and_stays_below() {
        let mut budget = Budget::new(4, 1_000, 20_000);
        steps(&mut budget, 100, 8);
        let took = 1_000 + 100 * (budget.prompt_rows(8) as u64 + 8);
        assert!((15_000..=21_000).contains(&took), "{took}");
    }

    #[test]
    fn a_step_in_which_nobody_decodes_is_bounded_too() {
        let mut budget = Budget::new(4, 10_000, 20_000);
        steps(&mut budget, 3, 0);
        steps(&mut budget, 10, 8);
        let took = 1_000 + 100 * budget.prompt_rows(0) as u64;
        assert!((55_000..=65_000).contains(&took), "{took}");
        let (base, per_row) = budget.cost().unwrap();
        assert!((base - 1_000.0).abs() < 1.0 && (per_row - 100.0).abs() < 0.1, "{base} + {per_row} a row");
    }

    #[test]
    fn nothing_is_below_the_least() {
        let mut budget = Budget::new(16, 64, 10);
        steps(&mut budget, 50, 3);
        assert_eq!((budget.prompt_rows(3), budget.prompt_rows(0)), (16, 16));
    }
}
