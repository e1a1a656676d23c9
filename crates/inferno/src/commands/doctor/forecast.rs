//! From the times of a cut to the speed of the whole, and from memory to users.

use anyhow::Result;
use inferno_model::architecture::Architecture;
use serde_json::{Value as Json, json};

use super::cut::Cut;
use super::probe::{Probe, Times, row_flop, step_bytes};
use crate::kv_memory::{self, KvMemory};
use crate::load::{Compute, Opened};

/// Rows of a prompt's step.
const CHUNK: f64 = 512.0;
/// Tokens of the prompt whose answer is waited for.
const PROMPT: usize = 1000;
/// Tokens of prompt and answer that a user has at a time.
pub(super) const TOKENS: usize = 4096;
/// Users that are worth counting.
pub(super) const MAX_USERS: usize = 1000;
/// Memory that the program and its buffers take beside weights, keys and values.
const BUFFERS: u64 = 256 << 20;
/// Rounds of measurements.
const ROUNDS: usize = 3;

/// Whether a model runs in the memory there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// With what is free now.
    Yes,
    /// With what other programs have now.
    IfFreed,
    /// Not on this machine.
    No,
    /// The system does not say what memory there is.
    Unknown,
}

/// The speed that a model will have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Speed {
    /// Tokens per second of one answer with a short context.
    pub(super) decode: f64,
    /// Tokens per second of a prompt of 512 tokens.
    pub(super) prompt: f64,
    /// Seconds to the first token after a prompt of 1,000 tokens, or of a whole context if that is shorter.
    pub(super) first_token: f64,
}

/// The memory that a model takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Room {
    /// Bytes for its weights, one user's keys and values, and buffers.
    pub(super) needs: u64,
    pub(super) fit: Fit,
    /// Users with 4,096 tokens each, or a whole context if that is shorter, whose keys and values fit as `serve` divides memory.
    pub(super) users: usize,
    /// The part of the model that GPUs take; `None` if the processor computes.
    pub(super) on_gpu: Option<f64>,
}

impl Speed {
    /// Of a model of which `first` computes a share and `second` the rest, one after the other.
    pub(super) fn mixed(first: Speed, second: Speed, share: f64) -> Speed {
        let rate = |a: f64, b: f64| 1.0 / (share / a + (1.0 - share) / b);
        Speed {
            decode: rate(first.decode, second.decode),
            prompt: rate(first.prompt, second.prompt),
            first_token: share * first.first_token + (1.0 - share) * second.first_token,
        }
    }

    /// Of a whole model, from the times of its cut. A decode step takes as much longer as it reads more bytes, a row of a
    /// prompt as it meets more weights.
    pub(super) fn of(times: &Times, bytes_ratio: f64, flop_ratio: f64, context_len: usize) -> Speed {
        // A row in the middle of `n` has n / 2 positions before it, and one of the measured steps rows / 2.
        let row = |n: f64| flop_ratio * (times.row + times.position * (n - times.rows as f64) / 2.0);
        let n = PROMPT.min(context_len) as f64;
        let chunk = CHUNK.min(context_len as f64);
        Speed { decode: 1.0 / (bytes_ratio * times.step), prompt: 1.0 / row(chunk), first_token: n * row(n) }
    }

    pub(super) fn to_json(self) -> Json {
        json!({
            "decode_tokens_per_s": self.decode,
            "prompt_tokens_per_s": self.prompt,
            "time_to_first_token_s": self.first_token,
        })
    }
}

/// A forecast that is being measured.
pub(super) struct Measuring {
    probe: Probe,
    /// A smaller cut, where steps of the first one would take too long with enough rows for a prompt.
    prompts: Option<Probe>,
    bytes_ratio: f64,
    flop_ratio: f64,
    context_len: usize,
    /// Instruction set or GPU.
    pub(super) device: String,
}

impl Measuring {
    /// Loads a cut of `whole`, which needs no weights, with about `budget` bytes. `None` if Ctrl-C was pressed.
    pub(super) fn start(
        whole: &Opened,
        arch: &Architecture,
        compute: &Compute,
        budget: u64,
    ) -> Result<Option<Measuring>> {
        let load = |cut: &Cut| {
            let part = Opened::without_path(whole.name.clone(), cut.model(&whole.file, arch)?);
            let most_rows = (CHUNK * cut.share_of_experts()) as usize;
            Probe::load(&part, compute, most_rows)
        };
        let cut = Cut::of(&whole.file, arch, budget);
        let Some(mut probe) = load(&cut)? else { return Ok(None) };
        let mut prompts = None;
        if let Some(share) = probe.share_for_prompts() {
            let smaller = Cut::of(&whole.file, arch, (budget as f64 * share) as u64);
            if smaller == cut {
                let Some(()) = probe.take_enough_rows()? else { return Ok(None) };
            } else {
                let Some(mut probe) = load(&smaller)? else { return Ok(None) };
                let Some(()) = probe.take_enough_rows()? else { return Ok(None) };
                prompts = Some(probe);
            }
        }
        let kv_type = probe.runs_on.kv_type;
        let (step_bytes, row_flop) = (step_bytes(whole, arch, kv_type), row_flop(whole, arch));
        Ok(Some(Measuring {
            bytes_ratio: step_bytes / probe.step_bytes,
            flop_ratio: row_flop / prompts.as_ref().unwrap_or(&probe).row_flop,
            context_len: arch.context_len,
            device: probe.runs_on.level.clone(),
            probe,
            prompts,
        }))
    }

    /// Measures once more. `None` if Ctrl-C was pressed.
    pub(super) fn round(&mut self) -> Result<Option<()>> {
        match self.probe.measure_steps()? {
            Some(()) => self.prompts.as_mut().unwrap_or(&mut self.probe).measure_prompts(),
            None => Ok(None),
        }
    }

    /// The cut that prompts are measured with.
    fn of_prompts(&self) -> &Probe {
        self.prompts.as_ref().unwrap_or(&self.probe)
    }

    fn times(&self) -> Times {
        self.of_prompts().times(self.probe.step())
    }

    /// Measures as often as a forecast needs. `None` if Ctrl-C was pressed.
    pub(super) fn rounds(&mut self) -> Result<Option<()>> {
        for _ in 0..ROUNDS {
            if self.round()?.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(()))
    }

    /// By the measurements so far.
    pub(super) fn speed(&self) -> Speed {
        Speed::of(&self.times(), self.bytes_ratio, self.flop_ratio, self.context_len)
    }

    /// Of another model, in about the same types, at the rates measured here.
    pub(super) fn speed_of(&self, other: &Opened, arch: &Architecture) -> Speed {
        let bytes_ratio = step_bytes(other, arch, self.probe.runs_on.kv_type) / self.probe.step_bytes;
        let flop_ratio = row_flop(other, arch) / self.of_prompts().row_flop;
        Speed::of(&self.times(), bytes_ratio, flop_ratio, arch.context_len)
    }

    /// Of a model of which only the bytes of its file are known, all of them read for every token.
    pub(super) fn speed_of_bytes(&self, file_bytes: u64) -> Speed {
        let ratio = |step_bytes: f64| file_bytes as f64 / step_bytes;
        let (of_steps, of_prompts) = (ratio(self.probe.step_bytes), ratio(self.of_prompts().step_bytes));
        Speed::of(&self.times(), of_steps, of_prompts, usize::MAX)
    }

    /// Bytes per second that decoding reads, and operations on weights per second of a prompt.
    pub(super) fn rates(&self) -> (f64, f64) {
        let times = self.times();
        (self.probe.step_bytes / times.step, self.of_prompts().row_flop / times.row)
    }
}

/// Operations on weights per second of a prompt, by one measurement of a cut of about `budget` bytes, and the device. `None` if
/// Ctrl-C was pressed.
pub(super) fn matrix_rate(
    whole: &Opened,
    arch: &Architecture,
    compute: &Compute,
    budget: u64,
) -> Result<Option<(f64, String)>> {
    let cut = Cut::of(&whole.file, arch, budget).model(&whole.file, arch)?;
    let part = Opened::without_path(whole.name.clone(), cut);
    let Some(mut probe) = Probe::load(&part, compute, CHUNK as usize)? else { return Ok(None) };
    let row = probe.prompt()?;
    Ok(row.map(|row| (probe.row_flop / row, probe.runs_on.level.clone())))
}

/// The memory that a model with a file of `file_bytes` takes on the device that `compute` selects.
pub(super) fn room(whole: &Opened, arch: &Architecture, file_bytes: u64, compute: &Compute) -> Result<Room> {
    let target = compute.target()?;
    let kv_type = target.kv_type(whole);
    let tokens = TOKENS.min(arch.context_len);
    let user = Architecture { context_len: tokens, ..arch.clone() };
    let one = KvMemory { sequences: std::num::NonZero::<usize>::MIN, kv_memory: None };
    let kv = one.plan(&user, kv_type, None, CHUNK as usize)?.bytes;
    let needs = file_bytes + kv + BUFFERS;
    let fit = fit(needs, kv_memory::available(), kv_memory::total());
    let users = match (fit, target.kv_space(whole, &user)) {
        (Fit::Yes | Fit::Unknown, Some(space)) => {
            let all = KvMemory {
                sequences: std::num::NonZero::new(MAX_USERS).expect("more than zero"),
                kv_memory: None,
            };
            all.plan(&user, kv_type, Some(space), CHUNK as usize).map_or(0, |plan| plan.sequences_of(tokens))
        }
        _ => 0,
    };
    Ok(Room { needs, fit, users: users.min(MAX_USERS), on_gpu: target.share_of_devices(needs) })
}

fn fit(needs: u64, free: Option<u64>, total: Option<u64>) -> Fit {
    match (free, total) {
        (Some(free), _) if needs <= free => Fit::Yes,
        (Some(_), Some(total)) if needs <= total => Fit::IfFreed,
        (Some(_), _) => Fit::No,
        (None, _) => Fit::Unknown,
    }
}

impl Room {
    pub(super) fn to_json(self) -> Json {
        let fits = match self.fit {
            Fit::Yes => "yes",
            Fit::IfFreed => "if_freed",
            Fit::No => "no",
            Fit::Unknown => "unknown",
        };
        json!({
            "fits": fits,
            "needs_bytes": self.needs,
            "users_of_4096_tokens": self.users,
            "share_on_gpu": self.on_gpu,
        })
    }
}

#[cfg(test)]
mod tests;
