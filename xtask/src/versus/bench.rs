//! The two servers, and what they are asked.

use std::path::PathBuf;
use std::time::Duration;

use xtask::testing::Random;

use super::args::Args;
use super::burst::{Answered, burst};
use super::case::{ANSWER_TOKENS, Case, N_WARM, SHORT_ANSWER, seed};
use super::chat::Question;
use super::flood::{self, Flood};
use super::rival::{self, N_SEQUENCES, Rival, SETTINGS, Setting};
use super::speech::Speech;
use super::{IDLE_PATIENCE, QUIET_PATIENCE, Result};
use crate::load::vitals::check_files;
use crate::peer::quiet;

/// Tokens of each at most, and what the shared prefix leaves of them.
const MOST_CONTEXT: usize = 1280;
const BESIDE_PREFIX: usize = 280;

/// Of every prompt, about 12 tokens of the chat's template besides.
const PROMPT_TOKENS: usize = 100;
const SHORT_PROMPT: usize = 12;
/// Instead of a window, where that many would not come in it.
const BURST: usize = 320;
const WINDOW_SECONDS: f64 = 10.0;
/// Requests per second from which on new connections take the cores from the server that is measured: answers are
/// longer then, and fewer.
const BUSY_CLIENTS: f64 = 500.0;
const LONG_ANSWER: usize = 256;

/// For an answer of which nobody doubts that it comes.
const PATIENCE: Duration = Duration::from_secs(900);

/// Rounds from here on are trials of settings.
const TRIALS: usize = 1 << 20;

pub(super) struct Bench<'a> {
    args: &'a Args,
    ours: Rival,
    /// For the report.
    pub(super) descriptions: [String; 2],
    their_program: PathBuf,
    /// Started anew for every case.
    theirs: Option<Rival>,
    context: usize,
    speech: Speech,
    prefix_tokens: usize,
    /// Requests per second that each does with all slots busy; of the overload.
    rates: [f64; 2],
    /// Tokens of each answer; of the overload.
    overload_answer: usize,
}

impl<'a> Bench<'a> {
    pub(super) fn prepare(args: &'a Args) -> Result<Bench<'a>> {
        check_files(flood::MOST_CLIENTS + 64)?;
        let program = match &args.ours {
            Some(program) => crate::peer::worker::program(program)?,
            None => crate::peer::build_ours()?,
        };
        let context = rival::model_context(&program, &args.model())?.min(MOST_CONTEXT);
        let prefix_tokens = context.checked_sub(BESIDE_PREFIX).filter(|&n| n > 0);
        let prefix_tokens = prefix_tokens.ok_or("the model's context is too short")?;
        let their_program = crate::peer::worker::program(&args.theirs)?;
        let ours = rival::ours(args, &program, context)?;
        let descriptions =
            [rival::describe_ours(args, &program, context)?, rival::describe_theirs(args, &their_program)?];
        let speech = Speech::of(&ours.target)?;
        let bench = Bench {
            args,
            ours,
            descriptions,
            their_program,
            theirs: None,
            context,
            speech,
            prefix_tokens,
            rates: [0.0; 2],
            overload_answer: SHORT_ANSWER,
        };
        bench.short_burst(0, N_WARM, &mut Random(1))?;
        Ok(bench)
    }

    /// Starts theirs with the setting that does most in this case, and says which it is.
    pub(super) fn choose(&mut self, case: Case) -> Result<String> {
        let (mut best, mut now, mut n_settings) = (None, None, 0);
        let settings = SETTINGS.iter().filter(|setting| setting.n_slots >= case.n_streams());
        for setting in settings.take(if self.args.quick { 1 } else { SETTINGS.len() }) {
            now = Some(*setting);
            match self.start_theirs(setting).and_then(|()| self.trial(case)) {
                Ok(rate) => {
                    eprintln!("  llama-server {}: {rate:.1} tokens/s", setting.options(self.context));
                    n_settings += 1;
                    if best.is_none_or(|(most, _)| rate > most) {
                        best = Some((rate, *setting));
                    }
                }
                Err(why) => eprintln!("  llama-server {}: {why}", setting.options(self.context)),
            }
        }
        let (_, setting) = best.ok_or("no setting of llama-server answers")?;
        if now != Some(setting) {
            self.start_theirs(&setting)?;
        }
        let options = setting.options(self.context);
        Ok(match n_settings {
            1 => format!("llama-server with `{options}`"),
            n => format!("llama-server with `{options}`, the best of {n} settings"),
        })
    }

    fn start_theirs(&mut self, setting: &Setting) -> Result<()> {
        // Two at once might not fit.
        self.theirs = None;
        self.theirs = Some(rival::theirs(self.args, &self.their_program, setting, self.context)?);
        self.short_burst(1, N_WARM, &mut Random(1)).map(|_| ())
    }

    /// Tokens per second of theirs, the better of two samples.
    fn trial(&self, case: Case) -> Result<f64> {
        let mut most = 0.0_f64;
        for i in 0..2 {
            self.wait();
            most = most.max(match case {
                Case::Overload => self.short_burst(1, N_SEQUENCES, &mut Random(3 + i))?.tokens_per_s(),
                _ => self.sample(case, 1, TRIALS + i as usize)?[0],
            });
        }
        Ok(most)
    }

    /// Until nothing is at work; whether both servers came to rest.
    pub(super) fn wait(&self) -> bool {
        if !self.args.quick {
            quiet::wait(QUIET_PATIENCE);
        }
        self.pids().iter().all(|&pid| quiet::settle(pid, IDLE_PATIENCE))
    }

    /// Ours and theirs.
    pub(super) fn pids(&self) -> [u32; 2] {
        [self.ours.pid, self.side(1).pid]
    }

    /// An error if a server has ended.
    pub(super) fn check_alive(&mut self) -> Result<()> {
        let theirs = |bench: &mut Bench| bench.theirs.as_mut()?.target.end_of_server();
        let end = self.ours.target.end_of_server().or_else(|| theirs(self));
        end.map_or(Ok(()), Err)
    }

    /// What has to be known before a case, and what of it has to be said.
    pub(super) fn note(&mut self, case: Case) -> Result<String> {
        match case {
            Case::Streams(_) => Ok(String::new()),
            Case::SharedPrefix => {
                Ok(format!("a prefix of {} tokens, new in every round; ", self.prefix_tokens))
            }
            Case::Overload => {
                self.find_rates(SHORT_ANSWER, 2)?;
                if self.rates.iter().any(|rate| flood::FACTOR * rate > BUSY_CLIENTS) {
                    self.find_rates(LONG_ANSWER, 4)?;
                }
                let ([ours, theirs], tokens) = (self.rates, self.overload_answer);
                Ok(match self.is_open() {
                    true => format!(
                        "for {} s each server gets 10 times the requests that it does with {N_SEQUENCES} at once, {:.0}/s and {:.0}/s, {tokens} tokens each; ",
                        self.window(),
                        flood::FACTOR * ours,
                        flood::FACTOR * theirs,
                    ),
                    false => {
                        format!("{} requests at the same moment, {tokens} tokens each; ", self.n_burst())
                    }
                })
            }
        }
    }

    /// Requests per second, of answers of that length, at capacity.
    fn find_rates(&mut self, n_tokens: usize, seed: u64) -> Result<()> {
        self.overload_answer = n_tokens;
        for side in [0, 1] {
            let mut random = Random(seed);
            let questions: Vec<Question> = (0..N_SEQUENCES).map(|_| self.flooding(&mut random)).collect();
            self.rates[side] = N_SEQUENCES as f64 / self.answered(side, &questions)?.seconds;
        }
        Ok(())
    }

    /// A figure for each metric of the case. Both servers get the same prompts, and no round those of another.
    pub(super) fn sample(&self, case: Case, side: usize, round: usize) -> Result<Vec<f64>> {
        let mut random = Random(seed(case, round));
        match case {
            Case::Streams(n) => {
                let questions: Vec<Question> =
                    (0..n).map(|_| self.question(None, PROMPT_TOKENS, ANSWER_TOKENS, &mut random)).collect();
                let answered = self.answered(side, &questions)?;
                Ok(vec![answered.tokens_per_s(), answered.first.p50, answered.first.max])
            }
            Case::SharedPrefix => {
                let system = self.speech.text(&mut random, self.prefix_tokens);
                let questions: Vec<Question> = (0..=N_WARM)
                    .map(|_| self.question(Some(&system), SHORT_PROMPT, ANSWER_TOKENS, &mut random))
                    .collect();
                let cold = self.answered(side, &questions[..1])?;
                let warm = self.answered(side, &questions[1..])?;
                Ok(vec![warm.tokens_per_s(), warm.first.p50, cold.first.max])
            }
            Case::Overload => {
                let flood = self.flood(side, &mut random)?;
                if let Some(why) = &flood.failure {
                    eprintln!("  a request failed: {why}");
                }
                let Flood { done_per_s, tokens_per_s, refused, failed, refusals, first, .. } = flood;
                Ok(vec![done_per_s, tokens_per_s, refused, failed, refusals.p99, first.p50, first.p99])
            }
        }
    }

    fn flood(&self, side: usize, random: &mut Random) -> Result<Flood> {
        let target = &self.side(side).target;
        if !self.is_open() {
            let questions: Vec<Question> = (0..self.n_burst()).map(|_| self.flooding(random)).collect();
            return flood::at_once(target, &questions);
        }
        let seed = random.bits();
        let question = |i: u64| self.flooding(&mut Random(seed ^ i));
        flood::stream(target, question, flood::FACTOR * self.rates[side], self.window())
    }

    /// Are both quick enough for a window of arrivals?
    fn is_open(&self) -> bool {
        self.rates.iter().all(|rate| flood::FACTOR * rate * WINDOW_SECONDS >= BURST as f64)
    }

    fn window(&self) -> f64 {
        if self.args.quick { WINDOW_SECONDS / 5.0 } else { WINDOW_SECONDS }
    }

    fn n_burst(&self) -> usize {
        if self.args.quick { BURST / 2 } else { BURST }
    }

    pub(super) fn side(&self, side: usize) -> &Rival {
        match side {
            0 => &self.ours,
            _ => self.theirs.as_ref().expect("it is started before every case"),
        }
    }

    fn short_burst(&self, side: usize, n: usize, random: &mut Random) -> Result<Answered> {
        let questions: Vec<Question> = (0..n).map(|_| self.short(random)).collect();
        self.answered(side, &questions)
    }

    fn answered(&self, side: usize, questions: &[Question]) -> Result<Answered> {
        let heard = burst(&self.side(side).target, questions, PATIENCE)?;
        Answered::of(&heard, questions[0].n_tokens)
    }

    fn short(&self, random: &mut Random) -> Question {
        self.question(None, SHORT_PROMPT, SHORT_ANSWER, random)
    }

    /// One of the overload.
    fn flooding(&self, random: &mut Random) -> Question {
        self.question(None, SHORT_PROMPT, self.overload_answer, random)
    }

    fn question(
        &self,
        system: Option<&str>,
        n_prompt: usize,
        n_tokens: usize,
        random: &mut Random,
    ) -> Question {
        let user = self.speech.text(random, n_prompt);
        Question { system: system.map(str::to_owned), user, n_tokens }
    }
}
