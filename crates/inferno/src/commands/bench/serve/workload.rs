//! Requests that fit the machine: scaled lengths, stretched arrivals, and tokens.

use inferno_model::batch::PAGE_LEN;

use crate::commands::bench::runner::mix;

/// A request as it was recorded or made up.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Arrival {
    /// Seconds from any moment on.
    pub(super) at: f64,
    /// What the prompt consists of; not empty.
    pub(super) parts: Vec<Part>,
    pub(super) n_completion: usize,
}

/// A stretch of a prompt, from the end of the one before. Equal ids are equal tokens, as far as both go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) id: u64,
    pub(super) end: usize,
}

/// All that is sent, by arrival; the first comes at 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Workload {
    pub(super) arrivals: Vec<Arrival>,
    /// Requests left out: longer than the context, or than the pool.
    pub(super) beyond_context: usize,
    pub(super) beyond_pool: usize,
}

impl Arrival {
    pub(super) fn n_prompt(&self) -> usize {
        self.parts.last().map_or(0, |part| part.end)
    }

    pub(super) fn n_pages(&self) -> usize {
        (self.n_prompt() + self.n_completion).div_ceil(PAGE_LEN)
    }

    /// All lengths multiplied. The ends of parts are rounded, not their lengths, so that no error adds up: equal beginnings
    /// stay equal, and a part's length is off by one token at most.
    fn scaled(mut self, by: f64) -> Arrival {
        let scale = |n: usize| (n as f64 * by).round() as usize;
        self.parts.iter_mut().for_each(|part| part.end = scale(part.end));
        if let Some(last) = self.parts.last_mut() {
            last.end = last.end.max(1);
        }
        self.n_completion = scale(self.n_completion).max(1);
        self
    }

    /// The prompt: of each token its part's id and its place there decide.
    pub(super) fn tokens(&self, seed: u64, vocab_size: usize) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(self.n_prompt());
        for part in &self.parts {
            let key = mix(seed ^ mix(part.id));
            let new = 0..part.end.saturating_sub(tokens.len()) as u64;
            tokens.extend(new.map(|i| (mix(key ^ i) % vocab_size as u64) as u32));
        }
        tokens
    }
}

impl Workload {
    pub(super) fn new(arrivals: Vec<Arrival>, length_scale: f64, context_len: usize) -> Workload {
        let mut workload = Workload { arrivals, ..Workload::default() };
        for arrival in &mut workload.arrivals {
            *arrival = arrival.clone().scaled(length_scale);
        }
        let n = workload.arrivals.len();
        workload.arrivals.retain(|a| a.n_prompt().saturating_add(a.n_completion) <= context_len);
        workload.beyond_context = n - workload.arrivals.len();
        workload
    }

    /// Leaves out what never fits a pool of so many pages.
    pub(super) fn fit(&mut self, n_pages: usize) {
        let n = self.arrivals.len();
        self.arrivals.retain(|a| a.n_pages() <= n_pages);
        self.beyond_pool += n - self.arrivals.len();
    }

    pub(super) fn n_prompt(&self) -> usize {
        self.arrivals.iter().map(Arrival::n_prompt).sum()
    }

    pub(super) fn n_completion(&self) -> usize {
        self.arrivals.iter().map(|a| a.n_completion).sum()
    }

    /// The same requests, so many a second in the mean; at once if that is infinite, or if they came at once.
    pub(super) fn at_rate(&self, per_second: f64) -> Workload {
        let mut workload = self.clone();
        let at = |a: Option<&Arrival>| a.map_or(0.0, |a| a.at);
        let (start, end) = (at(self.arrivals.first()), at(self.arrivals.last()));
        let wanted = self.arrivals.len().saturating_sub(1) as f64 / per_second;
        let stretch = if end > start { wanted / (end - start) } else { 0.0 };
        workload.arrivals.iter_mut().for_each(|a| a.at = (a.at - start) * stretch);
        workload
    }

    /// The first `n` requests, all at once.
    pub(super) fn first(&self, n: usize) -> Workload {
        let arrivals = self.arrivals.iter().take(n).cloned().collect();
        Workload { arrivals, ..Workload::default() }.at_rate(f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival(at: f64, parts: &[(u64, usize)], n_completion: usize) -> Arrival {
        Arrival { at, parts: parts.iter().map(|&(id, end)| Part { id, end }).collect(), n_completion }
    }

    #[test]
    fn scaling_rounds_ends_so_that_errors_do_not_add_up() {
        let parts = [(7, 512), (8, 1024), (9, 1536), (3, 1600)];
        let scaled = arrival(0.0, &parts, 30).scaled(0.05);
        assert_eq!(scaled, arrival(0.0, &[(7, 26), (8, 51), (9, 77), (3, 80)], 2));
        assert_eq!(arrival(0.0, &[(1, 3)], 3).scaled(0.01), arrival(0.0, &[(1, 1)], 1));
        let same = arrival(0.0, &parts, 30);
        assert_eq!(same.clone().scaled(1.0), same);
    }

    #[test]
    fn equal_parts_have_equal_tokens() {
        let tokens = |parts: &[(u64, usize)]| arrival(0.0, parts, 1).tokens(1, 50_000);
        let whole = tokens(&[(0, 40), (1, 80), (2, 100)]);
        assert_eq!(whole.len(), 100);
        assert_eq!(tokens(&[(0, 40), (1, 60)]), whole[..60]);
        let other = tokens(&[(0, 40), (5, 80)]);
        assert_eq!(other[..40], whole[..40]);
        assert!(other[40..].iter().zip(&whole[40..80]).filter(|(a, b)| a == b).count() < 3);
        assert_ne!(arrival(0.0, &[(0, 40)], 1).tokens(2, 50_000), whole[..40]);
    }

    #[test]
    fn arrivals_keep_their_pattern_at_another_rate() {
        let all = [5.0, 5.0, 6.0, 9.0].map(|at| arrival(at, &[(0, 1)], 1));
        let workload = Workload { arrivals: all.to_vec(), ..Workload::default() };
        let times = |w: Workload| w.arrivals.iter().map(|a| a.at).collect::<Vec<f64>>();
        assert_eq!(times(workload.at_rate(1.5)), [0.0, 0.0, 0.5, 2.0]);
        assert_eq!(times(workload.at_rate(f64::INFINITY)), [0.0; 4]);
        assert_eq!(times(workload.first(2).at_rate(3.0)), [0.0; 2]);
    }

    #[test]
    fn what_does_not_fit_is_counted_and_never_cut() {
        let all =
            vec![arrival(0.0, &[(0, 90)], 10), arrival(1.0, &[(0, 91)], 10), arrival(2.0, &[(0, 20)], 12)];
        let mut workload = Workload::new(all, 1.0, 100);
        assert_eq!((workload.arrivals.len(), workload.beyond_context), (2, 1));
        workload.fit(3);
        assert_eq!((workload.arrivals.len(), workload.beyond_pool, workload.n_prompt()), (1, 1, 20));
    }
}
