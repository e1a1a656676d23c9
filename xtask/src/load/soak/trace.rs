//! When clients ask and for how much: as a trace has it, or as drawn.

use std::path::Path;

use xtask::testing::Random;

use crate::load::Result;
use crate::load::args::Args;
use crate::load::ask::{Ask, words};

/// One request of a service.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Turn {
    /// Since the request before, of any client.
    gap_seconds: f64,
    prompt_tokens: usize,
    completion_tokens: usize,
}

pub(super) struct Turns {
    turns: Vec<Turn>,
    n_clients: usize,
    most_tokens: usize,
}

/// Prompts and answers are this many times shorter than those of a service with large models.
const SHORTER: usize = 8;
/// Words of the longest prompt: it fits every model.
const MOST_WORDS: usize = 160;
/// A client thinks for no longer, in seconds.
const LONGEST_PAUSE: f64 = 5.0;
/// Requests that are read of a trace, or drawn.
const N_TURNS: usize = 20_000;

impl Turns {
    /// Of `--trace`, a file as Azure's (<https://github.com/Azure/AzurePublicDataset>): `TIMESTAMP,ContextTokens,GeneratedTokens`.
    /// Without one: gaps of a Poisson process of five a second, and lengths that are uniform in their logarithm, from 8 to 4096
    /// tokens of prompts and to 1024 of answers.
    pub(super) fn of(args: &Args) -> Result<Turns> {
        let turns = match &args.trace {
            Some(path) => read(path)?,
            None => drawn(&mut Random(args.seed)),
        };
        Ok(Turns { turns, n_clients: args.n_streams(), most_tokens: args.tokens })
    }

    fn one(&self, random: &mut Random) -> Turn {
        self.turns[random.below(self.turns.len())]
    }

    /// A chat of such lengths.
    pub(super) fn ask(&self, random: &mut Random) -> Ask {
        let turn = self.one(random);
        let n_words = (turn.prompt_tokens / SHORTER).clamp(1, MOST_WORDS);
        let max_tokens = (turn.completion_tokens / SHORTER).clamp(1, self.most_tokens);
        Ask { user: words(random, n_words), is_exact: true, ..Ask::chat(random, max_tokens) }
    }

    /// Seconds that a client waits before its next request: between all of them requests come as in the trace, if answers take no
    /// time.
    pub(super) fn pause(&self, random: &mut Random) -> f64 {
        (self.one(random).gap_seconds * self.n_clients as f64).min(LONGEST_PAUSE)
    }
}

fn drawn(random: &mut Random) -> Vec<Turn> {
    // From 0 to 1, both excluded.
    let mut share = || (random.bits() >> 11) as f64 / (1_u64 << 53) as f64 + f64::EPSILON;
    let length = |share: f64, most: f64| (8.0 * (most / 8.0).powf(share)) as usize;
    let turn = |_| Turn {
        gap_seconds: -share().ln() / 5.0,
        prompt_tokens: length(share(), 4096.0),
        completion_tokens: length(share(), 1024.0),
    };
    (0..N_TURNS).map(turn).collect()
}

fn read(path: &Path) -> Result<Vec<Turn>> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read `{name}`: {e}"))?;
    parse(&text).map_err(|why| format!("`{name}`: {why}"))
}

fn parse(text: &str) -> Result<Vec<Turn>> {
    let mut lines = text.trim_start_matches('\u{feff}').lines().map(str::trim).zip(1..);
    const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
    if lines.next().is_none_or(|(line, _)| line != HEADER) {
        return Err(format!("a trace begins with the line `{HEADER}`"));
    }
    let mut last = None;
    let mut turns = Vec::new();
    for (line, number) in lines.filter(|(line, _)| !line.is_empty()).take(N_TURNS) {
        let (at, prompt_tokens, completion_tokens) =
            fields(line).ok_or_else(|| format!("line {number} is not a request: `{line}`"))?;
        // Times of day: a day that begins looks like a step back.
        let gap = last.map_or(0.0, |last: f64| (at - last).max(0.0));
        turns.push(Turn { gap_seconds: gap, prompt_tokens, completion_tokens });
        last = Some(at);
    }
    match turns.is_empty() {
        true => Err("there are no requests in it".into()),
        false => Ok(turns),
    }
}

/// `2023-11-16 18:15:46.6805900,374,44`, the time as seconds of its day.
fn fields(line: &str) -> Option<(f64, usize, usize)> {
    let mut fields = line.split(',');
    let (time, prompt, completion) = (fields.next()?, fields.next()?, fields.next()?);
    let clock = time.split(' ').nth(1)?;
    let mut parts = clock.splitn(3, ':').map(|part| part.trim_end_matches("+00").parse::<f64>().ok());
    let [hours, minutes, seconds] = [parts.next()??, parts.next()??, parts.next()??];
    let at = hours * 3600.0 + minutes * 60.0 + seconds;
    at.is_finite().then_some((at, prompt.parse().ok()?, completion.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read() {
        let head = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
        let text = format!(
            "{head}2023-11-16 23:59:59.5000000,374,44\n\n2023-11-16 23:59:59.75,1,2\r\n2023-11-17 00:00:01,3,4\n"
        );
        let turn = |gap_seconds, prompt_tokens, completion_tokens| Turn {
            gap_seconds,
            prompt_tokens,
            completion_tokens,
        };
        assert_eq!(parse(&text).unwrap(), [turn(0.0, 374, 44), turn(0.25, 1, 2), turn(0.0, 3, 4)]);
        for (text, why) in [
            ("1,2,3\n", "begins with the line"),
            (head, "no requests"),
            (&format!("{head}x,1,2\n"), "line 2 is not a request: `x,1,2`"),
            (&format!("{head}2023-11-16 1:2:3,-1,2\n"), "line 2"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn lengths_and_pauses_stay_within_what_a_small_model_holds() {
        let args = Args { tokens: 50, streams: Some(4), ..Args::default() };
        let turns = Turns::of(&args).unwrap();
        let mut random = Random(3);
        let asks: Vec<Ask> = (0..200).map(|_| turns.ask(&mut random)).collect();
        assert!(asks.iter().all(|ask| (1..=50).contains(&ask.max_tokens)));
        assert!(asks.iter().all(|ask| ask.user.split(' ').count() <= MOST_WORDS));
        let pauses: Vec<f64> = (0..1000).map(|_| turns.pause(&mut random)).collect();
        let mean = pauses.iter().sum::<f64>() / 1000.0;
        // Five requests a second of four clients.
        assert!((0.6..1.0).contains(&mean), "{mean}");
        assert!(pauses.iter().all(|pause| (0.0..=LONGEST_PAUSE).contains(pause)));
    }
}
