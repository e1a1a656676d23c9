//! Every sampler against a plain reference in double precision, which sorts all tokens and follows the papers.

use proptest::prelude::*;

use super::*;
use crate::sample::SampleSpec;

/// A sampler with its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    TopK(usize),
    TopP(f32),
    MinP(f32),
    TopNSigma(f32),
    TypicalP(f32),
    Xtc(f32, f32, f64),
    Temperature(f32),
    Dynamic(f32, f32, f32),
    /// Takes so much off the logits of tokens with even ids.
    Adjust(f32),
}

fn apply(candidates: &mut Candidates<'_>, op: Op, min_keep: usize) {
    match op {
        Op::TopK(k) => candidates.top_k(k),
        Op::TopP(p) => candidates.top_p(p, min_keep),
        Op::MinP(p) => candidates.min_p(p, min_keep),
        Op::TopNSigma(n) => candidates.top_n_sigma(n),
        Op::TypicalP(p) => candidates.typical_p(p, min_keep),
        Op::Xtc(probability, threshold, number) => candidates.xtc((probability, threshold), min_keep, number),
        Op::Temperature(t) => candidates.temperature(t),
        Op::Dynamic(t, range, exponent) => candidates.dynamic_temperature(t, range, exponent),
        Op::Adjust(by) => {
            let n = candidates.row.len() as u32;
            let change = |token: u32, x: f32| if token.is_multiple_of(2) { x - by } else { x };
            candidates.adjust((0..n).step_by(2), change);
        }
    }
}

/// The reference: (token, logit), best first, ties by id. `margin` is how near any comparison was to going the other way.
#[derive(Debug, Clone)]
struct Plain {
    all: Vec<(u32, f64)>,
    margin: f64,
}

impl Plain {
    fn of(row: &[f32]) -> Plain {
        let finite = row.iter().enumerate().filter(|x| *x.1 > f32::NEG_INFINITY);
        let mut plain = Plain { all: finite.map(|(i, &x)| (i as u32, f64::from(x))).collect(), margin: 1.0 };
        plain.sort();
        plain
    }

    fn sort(&mut self) {
        self.all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    }

    fn probabilities(&self) -> Vec<f64> {
        let best = self.all[0].1;
        let weights: Vec<f64> = self.all.iter().map(|c| libm::exp(c.1 - best)).collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|w| w / sum).collect()
    }

    fn near(&mut self, a: f64, b: f64) {
        self.margin = self.margin.min((a - b).abs() / a.abs().max(b.abs()).max(1e-6));
    }

    /// Keeps the first tokens whose probabilities reach a sum; `order` has their places.
    fn keep_sum(&mut self, order: &[usize], p: f64, min_keep: usize) {
        let probabilities = self.probabilities();
        let (mut sum, mut kept) = (0.0, Vec::new());
        for &i in order {
            sum += probabilities[i];
            self.near(sum, p);
            kept.push(self.all[i]);
            // One of no weight is not met.
            if sum >= p && kept.len() >= min_keep && probabilities[i] > 0.0 {
                break;
            }
        }
        self.all = kept;
        self.sort();
    }

    fn apply(&mut self, op: Op, min_keep: usize) {
        let probabilities = self.probabilities();
        let n = self.all.len();
        match op {
            Op::TopK(k) if k > 0 => self.all.truncate(k),
            Op::TopP(p) if p < 1.0 => {
                let order: Vec<usize> = (0..n).collect();
                self.keep_sum(&order, f64::from(p), min_keep);
            }
            Op::MinP(p) if p > 0.0 => {
                let limit = f64::from(p) * probabilities[0];
                probabilities[1..].iter().for_each(|&x| self.near(x, limit));
                let n_kept = probabilities.iter().take_while(|&&x| x >= limit).count();
                self.all.truncate(n_kept.max(1).max(min_keep));
            }
            Op::TopNSigma(s) if s > 0.0 && n > 1 => {
                let mean = self.all.iter().map(|c| c.1).sum::<f64>() / n as f64;
                let variance = self.all.iter().map(|c| (c.1 - mean).powi(2)).sum::<f64>() / n as f64;
                let limit = self.all[0].1 - f64::from(s) * variance.sqrt();
                self.all.clone().iter().skip(1).for_each(|c| self.near(c.1 - limit + 1.0, 1.0));
                let n_kept = self.all.iter().take_while(|c| c.1 >= limit).count();
                self.all.truncate(n_kept.max(1));
            }
            Op::TypicalP(p) if p < 1.0 => {
                let information: Vec<f64> = probabilities.iter().map(|p| -p.ln()).collect();
                let entropy: f64 = probabilities
                    .iter()
                    .zip(&information)
                    .map(|(p, i)| if *p > 0.0 { p * i } else { 0.0 })
                    .sum();
                let score = |i: usize| (information[i] - entropy).abs();
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| score(a).total_cmp(&score(b)).then(a.cmp(&b)));
                for pair in order.windows(2) {
                    if self.all[pair[0]].1 != self.all[pair[1]].1 {
                        self.near(score(pair[0]) + 1.0, score(pair[1]) + 1.0);
                    }
                }
                self.keep_sum(&order, f64::from(p), min_keep);
            }
            Op::Xtc(probability, threshold, number)
                if number < f64::from(probability) && threshold <= 0.5 && n > 1 =>
            {
                probabilities.iter().for_each(|&x| self.near(x, f64::from(threshold)));
                let n_likely = probabilities.iter().take_while(|&&x| x >= f64::from(threshold)).count();
                if n_likely > 1 && n - (n_likely - 1) >= min_keep {
                    self.all.drain(..n_likely - 1);
                }
            }
            Op::Temperature(t) => self.divide(f64::from(t)),
            Op::Dynamic(t, range, exponent) => {
                let (t, range) = (f64::from(t), f64::from(range));
                if range <= 0.0 {
                    self.divide(t);
                } else if n > 1 {
                    let entropy: f64 =
                        probabilities.iter().map(|&p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum();
                    let share = entropy / (n as f64).ln();
                    let (least, most) = ((t - range).max(0.0), t + range);
                    self.divide(least + (most - least) * share.powf(f64::from(exponent)));
                }
            }
            Op::Adjust(by) => {
                let even = self.all.iter_mut().filter(|c| c.0 % 2 == 0);
                even.for_each(|c| c.1 -= f64::from(by));
                self.sort();
            }
            _ => {}
        }
    }

    fn divide(&mut self, temperature: f64) {
        if temperature <= 0.0 {
            self.all.truncate(1);
        } else {
            self.all.iter_mut().for_each(|c| c.1 /= temperature);
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let p = || prop_oneof![Just(1.0f32), Just(0.0f32), 0.05f32..1.0];
    prop_oneof![
        prop_oneof![Just(0usize), 1usize..60, 1000usize..4000].prop_map(Op::TopK),
        p().prop_map(Op::TopP),
        prop_oneof![Just(0.0f32), 0.001f32..0.6, Just(1.0)].prop_map(Op::MinP),
        prop_oneof![Just(-1.0f32), 0.1f32..4.0].prop_map(Op::TopNSigma),
        p().prop_map(Op::TypicalP),
        (0.0f32..=1.0, 0.0f32..0.6, 0.0f64..1.0).prop_map(|(p, t, n)| Op::Xtc(p, t, n)),
        prop_oneof![8 => 0.2f32..3.0, 1 => Just(0.0f32)].prop_map(Op::Temperature),
        (0.0f32..2.0, prop_oneof![Just(0.0f32), 0.1f32..1.5], 0.1f32..3.0)
            .prop_map(|(t, r, e)| Op::Dynamic(t, r, e)),
        (-2.0f32..2.0).prop_map(Op::Adjust),
    ]
}

/// Logits of two kinds: all different, and with many ties; some at -∞ and some not a number.
fn row() -> impl Strategy<Value = Vec<f32>> {
    let len = prop_oneof![1usize..8, 8usize..300, 2100usize..4000];
    (len, any::<u64>(), any::<bool>(), 1.0f32..12.0).prop_map(|(len, seed, has_ties, width)| {
        let x = |i: u32| {
            let r = random::uniform(seed, i, 0, 0) as f32;
            match (i % 41, has_ties) {
                (7, _) => f32::NEG_INFINITY,
                (9, _) => f32::NAN,
                (_, true) => (r * 6.0).round() * 0.75,
                (_, false) => (r * 0.999 + 0.0005).ln() * -width / 3.0,
            }
        };
        (0..len as u32).map(x).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn samplers_in_any_order_leave_what_the_plain_reference_leaves(
        row in row(),
        ops in prop::collection::vec(op(), 1..6),
        min_keep in prop_oneof![Just(0usize), 1usize..20],
    ) {
        let mut plain = Plain::of(&row);
        prop_assume!(!plain.all.is_empty());
        let (mut room, mut changed) = (Room::default(), row.clone());
        let mut candidates = room.candidates(&mut changed);
        for &op in &ops {
            plain.apply(op, min_keep);
            apply(&mut candidates, op, min_keep);
            prop_assume!(plain.margin > 2e-5);
            // Weights below the smallest float are none.
            prop_assume!(plain.all.iter().all(|c| plain.all[0].1 - c.1 < 80.0));
        }
        let mut found: Vec<(u32, f64)> = match candidates.left() {
            Left::List { temperature } => {
                candidates.list().iter().map(|c| (c.0, f64::from(c.1) / f64::from(temperature))).collect()
            }
            Left::Row { temperature } => {
                Plain::of(candidates.row).all.iter().map(|c| (c.0, c.1 / f64::from(temperature))).collect()
            }
        };
        prop_assert_eq!(candidates.len(), found.len());
        // What division rounds to equal keeps its order in one and not in the other.
        let order = |a: &(u32, f64), b: &(u32, f64)| a.0.cmp(&b.0);
        found.sort_by(order);
        plain.all.sort_by(order);
        let ids = |all: &[(u32, f64)]| all.iter().map(|c| c.0).collect::<Vec<u32>>();
        prop_assert_eq!(ids(&found), ids(&plain.all));
        for (a, b) in found.iter().zip(&plain.all) {
            prop_assert!((a.1 - b.1).abs() < 1e-3 * b.1.abs().max(1.0), "{a:?} {b:?}");
        }
    }

    #[test]
    fn the_default_order_draws_what_the_sampler_draws(
        row in row(),
        top_k in prop_oneof![Just(0usize), 1usize..100],
        top_p in prop_oneof![Just(1.0f32), 0.0f32..1.0],
        min_p in prop_oneof![Just(0.0f32), 0.0f32..1.0],
        temperature in prop_oneof![Just(0.0f32), 0.1f32..3.0],
        seed in any::<u64>(),
    ) {
        let spec = SampleSpec { top_k, top_p, min_p, temperature, seed, choice_idx: 1 };
        let expected = Sampler::default().sample(&row, &spec, 9);
        let (mut room, mut changed) = (Room::default(), row.clone());
        let mut candidates = room.candidates(&mut changed);
        candidates.top_k(top_k);
        candidates.top_p(top_p, 0);
        candidates.min_p(min_p, 0);
        candidates.temperature(temperature);
        prop_assert_eq!(candidates.draw(Draws::new(seed, 1, 9).of_token()), expected);
    }

    #[test]
    fn mirostat_is_that_of_the_paper(
        row in row(),
        is_two in any::<bool>(),
        tau in 0.5f32..8.0,
        eta in 0.01f32..1.0,
        moved in -3.0f64..3.0,
        temperature in 0.3f32..2.0,
        number in 0.0f64..1.0,
    ) {
        let mut plain = Plain::of(&row);
        prop_assume!(plain.all.len() > 1);
        plain.divide(f64::from(temperature));
        let version = if is_two { MirostatVersion::Two } else { MirostatVersion::One };
        let mirostat = Mirostat { version, tau, eta };
        let start = mirostat.initial_limit() + moved;
        let p = plain.probabilities();
        let n_kept = if is_two {
            p.iter().for_each(|&p| plain.near(-p.log2(), start));
            p.iter().take_while(|&&p| -p.log2() <= start).count().max(1)
        } else {
            let pairs = 0..p.len().min(100) - 1;
            let t = |i: usize| ((i + 2) as f64 / (i + 1) as f64).ln();
            let s = pairs.clone().map(|i| t(i) * (p[i] / p[i + 1]).ln()).sum::<f64>()
                / pairs.map(|i| t(i) * t(i)).sum::<f64>();
            let epsilon = s - 1.0;
            prop_assume!(epsilon.abs() > 1e-3 && s > 1e-3);
            let k = ((epsilon * 2f64.powf(start)) / (1.0 - (row.len() as f64).powf(-epsilon))).powf(1.0 / s);
            plain.near(k, k.round());
            (k as usize).clamp(1, p.len())
        };
        plain.all.truncate(n_kept);
        let p = plain.probabilities();
        let mut sum = 0.0;
        let crossed = p.iter().position(|p| {
            sum += p;
            plain.margin = plain.margin.min((sum - number).abs());
            sum > number
        });
        prop_assume!(plain.margin > 1e-4);
        let drawn = crossed.unwrap_or(p.len() - 1);

        let (mut room, mut changed) = (Room::default(), row.clone());
        let mut candidates = room.candidates(&mut changed);
        candidates.temperature(temperature);
        let mut limit = start;
        let token = mirostat.draw(&mut candidates, &mut limit, number);
        prop_assert_eq!(token, plain.all[drawn].0);
        prop_assert_eq!(candidates.len(), n_kept);
        let expected = start - f64::from(eta) * (-p[drawn].log2() - f64::from(tau));
        prop_assert!((limit - expected).abs() < 1e-3 * expected.abs().max(1.0), "{limit} for {expected}");
    }

    #[test]
    fn any_row_leaves_a_token_and_draws_one(
        bits in prop::collection::vec(prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY), Just(0.0f32), any::<f32>()], 1..70),
        ops in prop::collection::vec(op(), 0..8),
        is_two in any::<bool>(),
        min_keep in 0usize..5,
    ) {
        let (mut room, mut row) = (Room::default(), bits);
        let n = row.len() as u32;
        let mut candidates = room.candidates(&mut row);
        ops.iter().for_each(|&op| apply(&mut candidates, op, min_keep));
        prop_assert!(candidates.draw(0.7) < n);
        let version = if is_two { MirostatVersion::Two } else { MirostatVersion::One };
        let mut limit = 5.0;
        let mirostat = Mirostat { version, tau: 5.0, eta: 0.1 };
        prop_assert!(mirostat.draw(&mut candidates, &mut limit, 0.3) < n);
        prop_assert!(!limit.is_nan());
    }
}

/// Tokens that are left of a row, by id.
fn left(row: &[f32], ops: &[Op], min_keep: usize) -> Vec<u32> {
    let (mut room, mut row) = (Room::default(), row.to_vec());
    let mut candidates = room.candidates(&mut row);
    ops.iter().for_each(|&op| apply(&mut candidates, op, min_keep));
    let mut ids: Vec<u32> = match candidates.left() {
        Left::List { .. } => candidates.list().iter().map(|c| c.0).collect(),
        Left::Row { .. } => Plain::of(candidates.row).all.iter().map(|c| c.0).collect(),
    };
    ids.sort_unstable();
    ids
}

/// Logits of these probabilities.
fn logits(p: &[f32]) -> Vec<f32> {
    p.iter().map(|p| p.ln()).collect()
}

#[test]
fn the_examples_of_llama_cpp_come_out_as_there() {
    // tests/test-sampling.cpp of llama.cpp, by what is left.
    let ten = logits(&[0.1, 0.2, 0.3, 0.4]);
    assert_eq!(left(&ten, &[Op::Xtc(0.99, 0.09, 0.5)], 0), [0]);
    assert_eq!(left(&ten, &[Op::Xtc(0.99, 0.2001, 0.5)], 0), [0, 1, 2]);
    assert_eq!(left(&ten, &[Op::Xtc(0.99, 0.3001, 0.5)], 0), [0, 1, 2, 3]);
    assert_eq!(left(&logits(&[0.4, 0.2, 0.2, 0.2]), &[Op::TypicalP(0.5)], 0), [1, 2, 3]);
    assert_eq!(left(&logits(&[0.97, 0.01, 0.01, 0.01]), &[Op::TypicalP(0.5)], 0), [0]);
    assert_eq!(left(&ten, &[Op::TopNSigma(1.0)], 0), [2, 3]);
    assert_eq!(left(&ten, &[Op::TopNSigma(0.0)], 0), [0, 1, 2, 3]);
    assert_eq!(left(&ten, &[Op::TopNSigma(3.0)], 0), [0, 1, 2, 3]);
}

#[test]
fn equal_logits_are_kept_or_cut_by_id() {
    let equal = [1.0; 6];
    assert_eq!(left(&equal, &[Op::TopP(0.4)], 0), [0, 1, 2]);
    assert_eq!(left(&equal, &[Op::MinP(1.0)], 0), [0, 1, 2, 3, 4, 5]);
    assert_eq!(left(&equal, &[Op::TopNSigma(1.0)], 0), [0, 1, 2, 3, 4, 5]);
    assert_eq!(left(&equal, &[Op::TypicalP(0.4)], 0), [0, 1, 2]);
    assert_eq!(left(&equal, &[Op::Xtc(1.0, 0.1, 0.99)], 0), [5]);
    assert_eq!(left(&equal, &[Op::Xtc(1.0, 0.1, 0.99)], 2), [0, 1, 2, 3, 4, 5]);
    assert_eq!(left(&equal, &[Op::Temperature(0.0)], 0), [0]);
    assert_eq!(
        left(&[1.0], &[Op::Xtc(1.0, 0.0, 0.0), Op::TypicalP(0.0), Op::Dynamic(1.0, 0.5, 1.0)], 0),
        [0]
    );
}

#[test]
fn min_keep_holds_for_every_filter_that_has_it() {
    let row = logits(&[0.7, 0.2, 0.06, 0.03, 0.01]);
    for op in [Op::TopP(0.1), Op::MinP(0.9), Op::TypicalP(0.01)] {
        assert_eq!(left(&row, &[op], 0).len(), 1, "{op:?}");
        assert_eq!(left(&row, &[op], 3).len(), 3, "{op:?}");
        assert_eq!(left(&row, &[Op::TopK(4), op], 3).len(), 3, "{op:?}");
    }
}

/// Typical sampling of a long row keeps what it keeps of the sorted list of all candidates, as a list and as a row.
#[test]
fn typical_sampling_sorts_no_vocabulary_and_keeps_the_same() {
    let x = |i: u32, draw| random::uniform(3, i, 0, draw) as f32;
    let bell = |i| (0..6).map(|draw| x(i, draw)).sum::<f32>() - 3.0;
    let mut row: Vec<f32> = (0..30_000).map(|i| bell(i) * 3.5).collect();
    for i in 0..40 {
        row[(x(i, 7) * 30_000.0) as usize] = 15.0 - 2.0 * (1.0 + i as f32).ln();
    }
    row[77] = f32::NAN;
    row[78] = f32::NEG_INFINITY;
    let (mut n_rows, mut n_lists) = (0, 0);
    for (temperature, p, min_keep) in [
        (0.5, 0.3, 0),
        (1.0, 0.2, 5),
        (1.0, 0.9, 0),
        (1.0, 0.95, 9000),
        (1.7, 0.5, 0),
        (2.0, 0.0, 0),
        (2.0, 0.95, 0),
        (2.0, 0.999, 0),
        (9.0, 0.6, 20_000),
        (9.0, 0.6, 40_000),
    ] {
        let kept = |sorts: bool| {
            let (mut room, mut row) = (Room::default(), row.clone());
            let mut candidates = room.candidates(&mut row);
            candidates.temperature(temperature);
            if sorts {
                candidates.sort();
            }
            candidates.typical_p(p, min_keep);
            let is_list = matches!(candidates.left(), Left::List { .. });
            let mut ids: Vec<u32> = match is_list {
                true => candidates.list().iter().map(|c| c.0).collect(),
                false => Plain::of(candidates.row).all.iter().map(|c| c.0).collect(),
            };
            assert!(!is_list || candidates.list().is_sorted_by_key(rank));
            ids.sort_unstable();
            (is_list, ids)
        };
        let ((is_list, found), (_, expected)) = (kept(false), kept(true));
        assert_eq!(found, expected, "temperature {temperature}, p {p}, {min_keep} at least");
        n_lists += usize::from(is_list);
        n_rows += usize::from(!is_list);
    }
    assert!(n_rows > 2 && n_lists > 2, "{n_rows} rows and {n_lists} lists");
}

#[test]
fn a_sampler_that_takes_a_number_leaves_that_of_the_token() {
    let mut draws = Draws::new(5, 2, 77);
    assert_eq!(draws.of_token(), random::uniform(5, 2, 77, 0));
    assert_eq!(draws.next_number(), random::uniform(5, 2, 77, 1));
    assert_eq!(draws.next_number(), random::uniform(5, 2, 77, 2));
    assert_eq!(draws.of_token(), random::uniform(5, 2, 77, 0));
}

#[test]
fn mirostat_keeps_the_surprise_near_its_target() {
    let row: Vec<f32> = (0..5000).map(|i| -1.1 * (1.0 + i as f32).ln()).collect();
    let (mut room, n) = (Room::default(), 4000);
    for version in [MirostatVersion::One, MirostatVersion::Two] {
        let mirostat = Mirostat { version, tau: 3.0, eta: 0.1 };
        let (mut limit, mut sum) = (mirostat.initial_limit(), 0.0);
        for position in 0..n {
            let mut changed = row.clone();
            let before = limit;
            let mut candidates = room.candidates(&mut changed);
            mirostat.draw(&mut candidates, &mut limit, Draws::new(1, 0, position).of_token());
            sum += (before - limit) / f64::from(mirostat.eta) + f64::from(mirostat.tau);
        }
        let mean = sum / f64::from(n);
        assert!((mean - 3.0).abs() < 0.1, "{version:?}: {mean}");
    }
}
