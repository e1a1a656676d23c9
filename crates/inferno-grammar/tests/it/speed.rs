//! Times of masks, forced tokens and compilations over a vocabulary of 152,000 tokens.
//!
//! `INFERNO_MASK_STEP=1 cargo test -p inferno-grammar --release -- --nocapture masks_are_fast` measures all schemas, a step of 8
//! every eighth. Without it a few schemas are walked, and no time is judged.

use std::time::{Duration, Instant};

use inferno_engine::{Grammar, TokenMask};
use inferno_grammar::{Compiled, GrammarSource};
use inferno_text::Special;
use serde_json::Value;
use xtask::testing::Random;

use crate::schemas::in_order;
use crate::walk::{Walker, qwen3};

/// Longest answer that is drawn.
const MOST_TOKENS: usize = 200;

/// Times that each answer is written.
const PASSES: usize = 3;

/// The 99th percentile of the time for a mask.
const MOST_P99: Duration = Duration::from_millis(1);

/// Times of one kind, with the schema of each.
#[derive(Default)]
struct Times(Vec<(Duration, usize)>);

impl Times {
    fn add(&mut self, began: Instant, schema: usize) {
        self.0.push((began.elapsed(), schema));
    }

    /// Prints percentiles; the 99th one.
    fn print(&mut self, title: &str, names: &[String]) -> Duration {
        self.0.sort_unstable();
        let n = self.0.len();
        if n == 0 {
            return Duration::ZERO;
        }
        let at = |share: f64| self.0[((n - 1) as f64 * share) as usize].0;
        let mean = self.0.iter().map(|t| t.0).sum::<Duration>() / n as u32;
        println!(
            "{title}: {n}, mean {mean:?}, 50 % {:?}, 90 % {:?}, 99 % {:?}, 99.9 % {:?}, most {:?}",
            at(0.5),
            at(0.9),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        let mut shown: Vec<usize> = Vec::new();
        for &(time, schema) in self.0.iter().rev() {
            if !shown.contains(&schema) && shown.len() < 8 {
                shown.push(schema);
                let slow = self.0.iter().filter(|t| t.1 == schema && t.0 > MOST_P99).count();
                println!("    {time:?} at worst, {slow} times above {MOST_P99:?}: {}", names[schema]);
            }
        }
        at(0.99)
    }
}

#[derive(Default)]
struct All {
    masks: Times,
    forced: Times,
    commits: Times,
}

impl All {
    /// Writes an answer several times, for what else the machine does counts in none of them all: `choose` gives the token
    /// under a mask, until it has none.
    fn answer<F: FnMut(&TokenMask) -> Option<u32>>(
        &mut self,
        walker: &Walker,
        compiled: &Compiled,
        schema: usize,
        choose: impl Fn() -> F,
    ) {
        let mut least = [const { Vec::new() }; 3];
        for pass in 0..PASSES {
            let times = write(walker, compiled, choose());
            for (least, times) in least.iter_mut().zip(times) {
                match pass {
                    0 => *least = times,
                    _ => least.iter_mut().zip(times).for_each(|(least, time)| *least = time.min(*least)),
                }
            }
        }
        let [masks, forced, commits] = least;
        let all = [(&mut self.masks, masks), (&mut self.forced, forced), (&mut self.commits, commits)];
        for (kind, times) in all {
            kind.0.extend(times.into_iter().map(|time| (time, schema)));
        }
    }
}

/// Writes an answer: times of its masks, of forced tokens, and of taking a token.
fn write(
    walker: &Walker,
    compiled: &Compiled,
    mut choose: impl FnMut(&TokenMask) -> Option<u32>,
) -> [Vec<Duration>; 3] {
    let mut constraint = compiled.constrain(MOST_TOKENS);
    let mut mask = TokenMask::new(walker.tokenizer.vocab_size());
    let [mut masks, mut forced, mut commits] = [const { Vec::new() }; 3];
    let mut tokens = Vec::new();
    for _ in 0..MOST_TOKENS {
        if constraint.finished() {
            break;
        }
        tokens.clear();
        let began = Instant::now();
        constraint.forced(&mut tokens);
        forced.push(began.elapsed());
        mask.allow_all();
        let began = Instant::now();
        constraint.mask(&mut mask);
        if tokens.is_empty() {
            masks.push(began.elapsed());
        }
        assert_eq!(constraint.failure(), None);
        let Some(token) = choose(&mask) else { break };
        let began = Instant::now();
        constraint.commit(token);
        commits.push(began.elapsed());
    }
    [masks, forced, commits]
}

#[test]
fn masks_are_fast() {
    let asked = std::env::var("INFERNO_MASK_STEP").ok().map(|step| step.parse::<usize>().unwrap());
    let (Some(data), Some(tokenizer)) = (xtask::testing::data("schemas"), qwen3()) else { return };
    let walker = Walker::new(tokenizer);
    let text = std::fs::read_to_string(data.join("maskbench-400.jsonl")).unwrap();
    let ends = walker.tokenizer.end_of_generation();
    let (mut names, mut compiles) = (Vec::new(), Times::default());
    let (mut written, mut drawn) = (All::default(), All::default());
    for line in text.lines().step_by(asked.unwrap_or(100)) {
        let case: Value = serde_json::from_str(line).unwrap();
        let began = Instant::now();
        let Ok(compiled) = walker.compile(&GrammarSource::JsonSchema(case["schema"].clone())) else {
            continue;
        };
        let schema = names.len();
        compiles.add(began, schema);
        names.push(case["name"].to_string());
        // Answers as a model writes them.
        for test in case["tests"].as_array().unwrap().iter().filter(|test| test["valid"] == true) {
            let data = in_order(&case["schema"], &case["schema"], &test["data"], 0).to_string();
            let tokens = walker.tokenizer.encode_continuation(&data, Special::AsText);
            written.answer(&walker, &compiled, schema, || {
                let mut tokens = tokens.iter().copied();
                move |mask| tokens.next().filter(|&token| mask.is_allowed(token))
            });
        }
        // Answers as a model of random weights writes them.
        drawn.answer(&walker, &compiled, schema, || {
            let mut random = Random(7 + schema as u64);
            move |mask| {
                let nth = random.below(mask.n_allowed());
                let token = (0..mask.n_tokens() as u32).filter(|&token| mask.is_allowed(token)).nth(nth);
                token.filter(|token| !ends.contains(token))
            }
        });
    }
    compiles.print("compiling", &names);
    let mut worst = Duration::ZERO;
    for (what, all) in [("answers of the data", &mut written), ("random answers", &mut drawn)] {
        all.forced.print(&format!("{what}: forced tokens"), &names);
        all.commits.print(&format!("{what}: taking a token"), &names);
        worst = worst.max(all.masks.print(&format!("{what}: masks"), &names));
    }
    assert!(names.len() > 3 && !drawn.masks.0.is_empty());
    assert!(asked.is_none() || worst < MOST_P99, "99th percentile of a mask: {worst:?}");
}
