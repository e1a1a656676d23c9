//! What the command line asks for.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::{Result, USAGE};

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scenario {
    Mixed,
    Overload,
    Aborts,
    Hostile,
    Faults,
    Soak,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Args {
    pub(super) scenario: Scenario,
    pub(super) server: Option<PathBuf>,
    pub(super) url: Option<String>,
    pub(super) pid: Option<u32>,
    pub(super) seed: u64,
    pub(super) patience: Duration,
    pub(super) json: bool,
    pub(super) minutes: Option<f64>,
    pub(super) trace: Option<PathBuf>,
    pub(super) phases: Option<usize>,
    pub(super) streams: Option<usize>,
    pub(super) slow: usize,
    pub(super) slow_tokens: usize,
    pub(super) slowloris: usize,
    pub(super) seconds: f64,
    pub(super) peak_seconds: f64,
    pub(super) factor: f64,
    pub(super) sequences: usize,
    pub(super) queue: usize,
    pub(super) tokens: usize,
    /// Streams of `aborts`, tries of each kind of `faults`.
    pub(super) count: Option<usize>,
    /// Kinds of `faults`; none: all.
    pub(super) only: Vec<String>,
    /// What stands after `--`.
    pub(super) server_args: Vec<String>,
}

/// Memory of the server's keys and values, unless its options say so: it fills up with cached prefixes.
pub(super) const POOL_BYTES: u64 = 64 << 20;
const MOST_PHASES: usize = 1000;

impl Default for Args {
    fn default() -> Args {
        Args {
            scenario: Scenario::Mixed,
            server: None,
            url: None,
            pid: None,
            seed: 1,
            patience: Duration::from_secs(60),
            json: false,
            minutes: None,
            trace: None,
            phases: None,
            streams: None,
            slow: 32,
            slow_tokens: 100,
            slowloris: 500,
            seconds: 60.0,
            peak_seconds: 15.0,
            factor: 10.0,
            sequences: 8,
            queue: 16,
            tokens: 256,
            count: None,
            only: Vec::new(),
            server_args: Vec::new(),
        }
    }
}

impl Args {
    pub(super) fn parse(args: &[String]) -> Result<Args> {
        let (ours, servers) = match args.iter().position(|arg| arg == "--") {
            Some(at) => (&args[..at], &args[at + 1..]),
            None => (args, &args[..0]),
        };
        let mut parsed = Args { server_args: servers.to_vec(), ..Args::default() };
        let mut rest = ours.iter();
        if let Some(name) = ours.first().filter(|arg| !arg.starts_with('-')) {
            parsed.scenario = match name.as_str() {
                "mixed" => Scenario::Mixed,
                "overload" => Scenario::Overload,
                "aborts" => Scenario::Aborts,
                "hostile" => Scenario::Hostile,
                "faults" => Scenario::Faults,
                "soak" => Scenario::Soak,
                _ => return Err(format!("there is no scenario `{name}`\n\n{USAGE}")),
            };
            rest.next();
        }
        while let Some(arg) = rest.next() {
            if arg == "--json" {
                parsed.json = true;
                continue;
            }
            let slot = rest.clone().next();
            let value = || slot.ok_or_else(|| format!("`{arg}` needs a value\n\n{USAGE}"));
            match arg.as_str() {
                "--server" => parsed.server = Some(value()?.into()),
                "--url" => parsed.url = Some(value()?.clone()),
                "--pid" => parsed.pid = Some(number(arg, value()?, 1)?),
                "--seed" => parsed.seed = number(arg, value()?, 0)?,
                "--patience" => parsed.patience = Duration::from_secs_f64(amount(arg, value()?)?),
                "--minutes" => parsed.minutes = Some(amount(arg, value()?)?),
                "--trace" => parsed.trace = Some(value()?.into()),
                "--phases" => parsed.phases = Some(number(arg, value()?, 1)?),
                "--streams" => parsed.streams = Some(number(arg, value()?, 1)?),
                "--slow" => parsed.slow = number(arg, value()?, 0)?,
                "--slow-tokens" => parsed.slow_tokens = number(arg, value()?, 1)?,
                "--slowloris" => parsed.slowloris = number(arg, value()?, 0)?,
                "--seconds" => parsed.seconds = amount(arg, value()?)?,
                "--peak-seconds" => parsed.peak_seconds = amount(arg, value()?)?,
                "--factor" => parsed.factor = amount(arg, value()?)?,
                "--sequences" => parsed.sequences = number(arg, value()?, 1)?,
                "--queue" => parsed.queue = number(arg, value()?, 0)?,
                "--tokens" => parsed.tokens = number(arg, value()?, 1)?,
                "--count" => parsed.count = Some(number(arg, value()?, 1)?),
                "--only" => parsed.only = kinds(value()?)?,
                _ => return Err(format!("there is no option `{arg}`\n\n{USAGE}")),
            }
            rest.next();
        }
        if parsed.url.is_some() && (parsed.server.is_some() || !parsed.server_args.is_empty()) {
            return Err("a server that runs (`--url`) takes no program and no options".into());
        }
        if parsed.scenario == Scenario::Faults && parsed.url.is_some() {
            return Err("`faults` starts its own servers, and takes no `--url`".into());
        }
        if parsed.url.is_none() && parsed.pid.is_some() {
            return Err("`--pid` belongs to `--url`".into());
        }
        Ok(parsed)
    }

    /// The server's program, built if it is not given.
    pub(super) fn program(&self) -> Result<PathBuf> {
        self.server.clone().map_or_else(crate::peer::build_ours, Ok)
    }

    /// Good clients at a time.
    pub(super) fn n_streams(&self) -> usize {
        self.streams.unwrap_or(match self.scenario {
            Scenario::Mixed => 32,
            Scenario::Overload => self.sequences,
            Scenario::Soak => 8,
            Scenario::Aborts => 16,
            Scenario::Hostile | Scenario::Faults => 1,
        })
    }

    /// Of all phases of `mixed`, and of what is measured of `soak`.
    pub(super) fn minutes(&self) -> f64 {
        self.minutes.unwrap_or(match self.scenario {
            Scenario::Soak => 60.0,
            _ => 10.0,
        })
    }

    /// Streams of `aborts`.
    pub(super) fn n_aborts(&self) -> usize {
        self.count.unwrap_or(1000)
    }

    /// Tries of each kind of `faults`.
    pub(super) fn n_tries(&self) -> usize {
        self.count.unwrap_or(10)
    }

    /// Phases of `mixed`, two a minute: each attacked one is held against the clean one before it.
    pub(super) fn n_phases(&self) -> usize {
        self.phases.unwrap_or_else(|| (2 * self.minutes().round().max(1.0) as usize).min(MOST_PHASES))
    }

    /// The server's own options: those of the scenario, unless they are given, and those that are given.
    pub(super) fn server_options(&self) -> Vec<String> {
        let n = match self.scenario {
            // No request is refused, and good clients wait for readers alone.
            Scenario::Mixed => [self.n_streams(), self.n_streams() + 4 * self.slow],
            Scenario::Overload => [self.sequences, self.queue],
            // What was closed may be there a moment longer.
            Scenario::Aborts => [self.n_streams(), 4 * self.n_streams()],
            // Some wait now and then, and no request is refused.
            Scenario::Soak => [self.n_streams().div_ceil(2), 4 * self.n_streams()],
            Scenario::Hostile | Scenario::Faults => [8, 64],
        };
        let mut ours = vec![
            ("--sequences", n[0].to_string()),
            ("--queue", n[1].to_string()),
            ("--kv-memory", format!("{}MiB", POOL_BYTES >> 20)),
        ];
        if self.scenario == Scenario::Mixed {
            // Before a slow reader asks again, and long enough to be seen if its place were kept.
            ours.push(("--write-time", "6".to_owned()));
        }
        let mut options: Vec<String> =
            ["serve", "--host", "127.0.0.1", "--port", "0"].map(String::from).into();
        for (name, value) in ours {
            let with_value = format!("{name}=");
            if !self.server_args.iter().any(|arg| arg == name || arg.starts_with(&with_value)) {
                options.extend([name.to_owned(), value]);
            }
        }
        options.extend(self.server_args.iter().cloned());
        options
    }

    /// Sockets at the same time, and a few files besides.
    pub(super) fn n_files(&self) -> usize {
        32 + match self.scenario {
            // A reader has the answer of the period before, too.
            Scenario::Mixed => self.n_streams() + 2 * self.slow + self.slowloris,
            Scenario::Overload => super::overload::MOST_CLIENTS,
            Scenario::Aborts | Scenario::Soak => self.n_streams(),
            Scenario::Faults => 256,
            Scenario::Hostile => super::hostile::Sizes::default().n_silent,
        }
    }
}

fn number<T: FromStr + TryFrom<u32> + PartialOrd>(name: &str, text: &str, least: u32) -> Result<T> {
    let is_enough = |n: &T| T::try_from(least).is_ok_and(|least| *n >= least);
    let found = text.parse().ok().filter(is_enough);
    found.ok_or_else(|| format!("`{name}` takes a number from {least} on, not `{text}`"))
}

/// Names of faults, with commas between them.
fn kinds(names: &str) -> Result<Vec<String>> {
    let all = super::faults::FAULTS.map(|fault| fault.name);
    let known = |name: &str| match all.contains(&name) {
        true => Ok(name.to_owned()),
        false => Err(format!("there is no fault `{name}`, there are: {}", all.join(", "))),
    };
    names.split(',').map(known).collect()
}

fn amount(name: &str, text: &str) -> Result<f64> {
    let found = text.parse().ok().filter(|&x: &f64| x > 0.0 && x <= 1e6);
    found.ok_or_else(|| format!("`{name}` takes a number above 0, not `{text}`"))
}
