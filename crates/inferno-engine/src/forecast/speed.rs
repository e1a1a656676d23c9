//! Duration of steps, by the sequences that decode in them and the rows of prompts.

use crate::request::Micros;

/// Numbers of decoding sequences that are told apart: up to 1, 2, 4, … 2048.
const BUCKETS: usize = 12;
/// A mean over steps of more time forgets the oldest, in microseconds.
const MEMORY: f64 = 10_000_000.0;
/// A mean over more numbers forgets the oldest.
const MANY: f64 = 4_096.0;
/// Rows of prompts after which half of them are forgotten.
const PROMPT_MEMORY: f64 = 16_384.0;

/// Time of steps, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Speed {
    /// Steps without rows of prompts, by the sequences that decode.
    decode: [Mean; BUCKETS],
    /// A line for numbers that were not seen yet: a step's time without rows, and per row.
    line: (f64, f64),
    /// Time of the steps that were seen, in parts of what the line says.
    ratio: Mean,
    /// Rows of prompts, and what they added to their steps.
    prompt: (f64, f64),
    /// Tokens of a sequence and step: above 1 where drafts are right.
    tokens: Mean,
}

/// A mean as sums of parts and whole, which are halved when there is something to forget: until then it is the plain mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Mean {
    sum: f64,
    n: f64,
}

impl Mean {
    fn add(&mut self, x: f64, n: f64, memory: f64) {
        self.sum += x;
        self.n += n;
        if self.sum > memory {
            (self.sum, self.n) = (self.sum / 2.0, self.n / 2.0);
        }
    }

    fn get(&self) -> Option<f64> {
        (self.n > 0.0).then(|| self.sum / self.n)
    }
}

impl Default for Speed {
    /// Nothing is known: as a model of some hundred million parameters on a processor.
    fn default() -> Speed {
        Speed {
            decode: [Mean::default(); BUCKETS],
            line: (10_000.0, 1_000.0),
            ratio: Mean::default(),
            prompt: (0.0, 0.0),
            tokens: Mean::default(),
        }
    }
}

fn bucket(n: usize) -> usize {
    (n.max(1).next_power_of_two().ilog2() as usize).min(BUCKETS - 1)
}

impl Speed {
    /// From a step of one row and one of `n_rows`, measured before there are requests.
    pub(crate) fn measured(one: Micros, many: Micros, n_rows: usize) -> Speed {
        let per_row = (many as f64 - one as f64).max(0.0) / (n_rows.max(2) - 1) as f64;
        let base = (one as f64 - per_row).max(0.0);
        Speed { line: (base, per_row.max(0.5)), ..Speed::default() }
    }

    /// A step with `n_decoding` sequences that decode and `n_prompt_rows` took `took`.
    pub(crate) fn observe(&mut self, n_decoding: usize, n_prompt_rows: usize, took: Micros) {
        let took = took as f64;
        if n_prompt_rows == 0 {
            self.ratio.add(took, self.on_line(n_decoding).max(1.0), MEMORY);
            self.decode[bucket(n_decoding)].add(took, 1.0, MEMORY);
            return;
        }
        let without = if n_decoding > 0 { self.step(n_decoding) } else { self.base() };
        let (rows, time) = &mut self.prompt;
        *rows += n_prompt_rows as f64;
        *time += (took - without).max(0.0);
        if *rows > PROMPT_MEMORY {
            (*rows, *time) = (*rows / 2.0, *time / 2.0);
        }
    }

    /// A sequence got `n` tokens of a step.
    pub(crate) fn got(&mut self, n: usize) {
        self.tokens.add(n as f64, 1.0, MANY);
    }

    fn on_line(&self, n: usize) -> f64 {
        self.line.0 + self.line.1 * n as f64
    }

    /// Expected time of a step in which `n` sequences decode.
    pub(crate) fn step(&self, n: usize) -> f64 {
        let seen = self.decode[bucket(n)].get();
        seen.unwrap_or_else(|| self.on_line(n) * self.ratio.get().unwrap_or(1.0))
    }

    /// Time of a step that does not depend on its rows, about.
    fn base(&self) -> f64 {
        let (base, per_row) = self.line;
        self.step(1) * base / (base + per_row).max(1.0)
    }

    /// Expected time of a prompt's rows, in steps of `max_rows`; `is_alone` if no sequence decodes meanwhile, whose steps
    /// they would share.
    pub(crate) fn prompt(&self, n_rows: f64, max_rows: usize, is_alone: bool) -> f64 {
        let (rows, time) = self.prompt;
        // A few rows seen tell less than the line does.
        let known = self.line.1 * self.ratio.get().unwrap_or(1.0);
        let per_row = (time + 32.0 * known) / (rows + 32.0);
        let steps = if is_alone { (n_rows / max_rows.max(1) as f64).ceil() } else { 0.0 };
        n_rows * per_row + steps * self.base()
    }

    /// Tokens of a sequence and step.
    pub(crate) fn tokens_per_step(&self) -> f64 {
        self.tokens.get().unwrap_or(1.0).max(1.0)
    }
}
