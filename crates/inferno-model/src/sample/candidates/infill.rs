//! llama.cpp's sampler `infill`, for completions between a prefix and a suffix (`llama_sampler_infill_apply`, llama.cpp pull request
//! 9896): the end is taken early, and a token whose text others go on from counts with all of them.

use super::Candidates;

/// The least probability of a token that does not end the answer.
const LEAST: f64 = 0.2;

impl Candidates<'_> {
    /// Keeps the tokens that `is_end` where three times their probability, times the number of candidates, exceeds that of all
    /// others. Else, of the others, keeps those of at least probability 0.2, and then of at least `1 / (n + 1)` of what `n` of them
    /// and the ends have; if there is none, the token `end` alone, or the best one if that is `None`.
    ///
    /// For this choice alone the probability of a token moves to another one where the text of either begins with that of the other:
    /// to the more probable one. `is_prefix` says of two tokens whether the second's text begins with the first's, which is not empty;
    /// it is called for all pairs of candidates.
    pub fn infill(
        &mut self,
        end: Option<u32>,
        is_end: impl Fn(u32) -> bool,
        is_prefix: impl Fn(u32, u32) -> bool,
    ) {
        self.sort();
        let best = self.best();
        if !best.is_finite() {
            return;
        }
        let sum = self.sum(best);
        let n = self.len();
        let temperature = self.temperature;
        let room = &mut *self.room;
        let (list, scores) = (&mut room.sampler.candidates, &mut room.scores);
        // (probability, index); no candidate has one of 0 but those that were merged and those of no weight
        scores.clear();
        let probability = |logit: f32| f64::from(crate::numerics::exp((logit - best) / temperature)) / sum;
        scores.extend((0..).zip(&*list).map(|(i, c)| (probability(c.1), i)));
        let ends = scores.iter().zip(&*list).filter(|(_, c)| is_end(c.0));
        let p_end: f64 = ends.map(|(score, _)| score.0).sum();
        let p_text = 1.0 - p_end;
        if 3.0 * p_end * n as f64 > p_text {
            list.retain(|c| is_end(c.0));
            return;
        }
        for i in 0..n {
            for j in (0..n).filter(|&j| j != i) {
                if scores[i].0 == 0.0 {
                    break;
                }
                if scores[j].0 > 0.0 && is_prefix(list[i].0, list[j].0) {
                    let (to, from) = if scores[j].0 > scores[i].0 { (j, i) } else { (i, j) };
                    scores[to].0 += scores[from].0;
                    scores[from].0 = 0.0;
                }
            }
        }
        scores.retain(|&(p, i)| p >= LEAST || p > 0.0 && is_end(list[i as usize].0));
        let n_text = scores.iter().filter(|score| !is_end(list[score.1 as usize].0)).count();
        if n_text == 0 {
            list.truncate(1);
            if let Some(end) = end {
                list[0] = (end, best);
            }
            return;
        }
        let least = scores.iter().map(|score| score.0).sum::<f64>() / (n_text + 1) as f64;
        scores.retain(|&(p, i)| p >= least || is_end(list[i as usize].0));
        for (place, &(_, i)) in scores.iter().enumerate() {
            list[place] = list[i as usize];
        }
        list.truncate(scores.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::sample::Room;
    use crate::sample::random::uniform;

    /// A vocabulary: texts, of which that of an end is empty.
    fn is_prefix(texts: &[String], token: u32, longer: u32) -> bool {
        let text = &texts[token as usize];
        !text.is_empty() && texts[longer as usize].starts_with(text)
    }

    /// Tokens that are left of a row.
    fn left(row: &[f32], texts: &[String], (end, ends): (Option<u32>, &[u32])) -> Vec<u32> {
        let (mut room, mut row) = (Room::default(), row.to_vec());
        let mut candidates = room.candidates(&mut row);
        candidates.infill(
            end,
            |token| ends.contains(&token),
            |token, longer| is_prefix(texts, token, longer),
        );
        candidates.list().iter().map(|c| c.0).collect()
    }

    /// llama.cpp's loops as they are. `None` where a comparison is too near to say.
    fn plain(row: &[f32], texts: &[String], (end, ends): (Option<u32>, &[u32])) -> Option<Vec<u32>> {
        let is_end = |token: u32| ends.contains(&token);
        let is_near = |a: f64, b: f64| (a - b).abs() < 1e-5 * a.abs().max(b.abs());
        let mut all: Vec<(u32, f64)> = (0..).zip(row).map(|(i, &x)| (i, f64::from(x))).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let best = all[0];
        let sum: f64 = all.iter().map(|c| (c.1 - best.1).exp()).sum();
        let mut all: Vec<(u32, f64)> = all.into_iter().map(|c| (c.0, (c.1 - best.1).exp() / sum)).collect();
        let of = |all: &[(u32, f64)], ends: bool| -> f64 {
            all.iter().filter(|c| is_end(c.0) == ends).map(|c| c.1).sum()
        };
        let (p_text, p_end) = (of(&all, false), of(&all, true));
        let (a, b) = (3.0 * p_end * all.len() as f64, p_text);
        if is_near(a, b) {
            return None;
        }
        if a > b {
            return Some(all.iter().map(|c| c.0).filter(|&token| is_end(token)).collect());
        }
        for i in 0..all.len() {
            for j in 0..all.len() {
                if all[i].1 == 0.0 {
                    break;
                }
                if i == j || all[j].1 == 0.0 || !is_prefix(texts, all[i].0, all[j].0) {
                    continue;
                }
                let (to, from) = if all[j].1 > all[i].1 { (j, i) } else { (i, j) };
                if is_near(all[i].1, all[j].1) {
                    return None;
                }
                all[to].1 += all[from].1;
                all[from].1 = 0.0;
            }
        }
        let keep = |all: &mut Vec<(u32, f64)>, least: f64| {
            let is_unclear = all.iter().any(|c| is_near(c.1, least));
            all.retain(|c| c.1 >= least || is_end(c.0));
            !is_unclear
        };
        if !keep(&mut all, 0.2) {
            return None;
        }
        let n_text = all.iter().filter(|c| !is_end(c.0)).count();
        if n_text == 0 {
            return Some(vec![end.unwrap_or(best.0)]);
        }
        let sum: f64 = all.iter().map(|c| c.1).sum();
        keep(&mut all, sum / (n_text + 1) as f64).then(|| all.iter().map(|c| c.0).collect())
    }

    #[test]
    fn a_text_counts_with_all_that_go_on_from_it() {
        // The example of llama.h, and an end.
        let texts = ["hel", "hell", "hello", "dummy", ""].map(str::to_owned);
        let row = [0.5f32, 0.2, 0.1, 0.1, 1e-9].map(f32::ln);
        assert_eq!(left(&row, &texts, (Some(4), &[4])), [0, 4]);
        // Alone none of them is probable enough.
        let texts = ["a", "b", "c", "d", "e", "f"].map(str::to_owned);
        assert_eq!(left(&[0.0; 6], &texts, (Some(9), &[9])), [9]);
        assert_eq!(left(&[0.0; 6], &texts, (None, &[])), [0]);
        let texts = ["aa", "ab", "ac", "d", "a", "f"].map(str::to_owned);
        assert_eq!(left(&[0.0; 6], &texts, (Some(9), &[9])), [4], "four of six begin with an a");
    }

    #[test]
    fn an_end_of_some_probability_is_the_end() {
        let texts = ["a", "b", ""].map(str::to_owned);
        // Three times 0.09, three candidates: 0.81 of 0.91; with 0.11 it is 0.99 of 0.89.
        let row = |p: f32| [0.6f32.ln(), (0.4 - p).ln(), p.ln()];
        assert_eq!(left(&row(0.09), &texts, (Some(2), &[2])), [0, 2]);
        assert_eq!(left(&row(0.11), &texts, (Some(2), &[2])), [2]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_sampler_leaves_what_llama_cpps_leaves(
            texts in prop::collection::vec("[ab]{1,4}", 1..40),
            seed in any::<u64>(),
            width in 0.5f32..12.0,
            n_ends in 0u32..3,
            end_bias in -16.0f32..0.0,
        ) {
            let n = texts.len() as u32;
            let ends: Vec<u32> = (n..n + n_ends).collect();
            let texts: Vec<String> = texts.into_iter().chain(ends.iter().map(|_| String::new())).collect();
            let logit = |i: u32| {
                let bias = if i >= n { end_bias } else { 0.0 };
                (uniform(seed, i, 0, 0) as f32 * 0.999 + 0.0005).ln() * width / 3.0 + bias
            };
            let row: Vec<f32> = (0..texts.len() as u32).map(logit).collect();
            let ends = (ends.first().copied(), &ends[..]);
            let expected = plain(&row, &texts, ends);
            prop_assume!(expected.is_some());
            prop_assert_eq!(left(&row, &texts, ends), expected.unwrap());
        }
    }
}
