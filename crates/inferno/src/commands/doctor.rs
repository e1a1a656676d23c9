//! `inferno doctor`: the devices of this machine, and a forecast of how fast models will be on it, before any is downloaded.
//!
//! A forecast loads a cut of the model ([`cut`]) to the device that the model would have, measures it ([`probe`]) and
//! extrapolates ([`forecast`]). Without a model, two cuts of usual shapes stand for all.

mod check;
mod cut;
mod forecast;
mod known;
mod machine;
mod probe;
mod quota;
mod remote;
mod report;

use std::process::ExitCode;

use anyhow::{Context, Result};
use inferno_format::DType;
use serde_json::{Value as Json, json};

use crate::cli::{self, Encoding};
use crate::commands::{note, print, synth};
use crate::load::{Compute, Opened};
use crate::{interrupt, terminal};
pub(super) use cut::Cut;
use forecast::{Fit, Measuring, Room, Speed, room};
use known::{Candidate, candidates, known};
pub(super) use machine::Found;
pub(super) use probe::row_flop;
use report::Row;

/// Length of the list of well-known models.
const LISTED: usize = 12;
/// Tokens per second below which a model is listed only if it is small.
const SLOWEST: f64 = 2.0;
/// Bytes of the file of a small model.
const SMALL: u64 = 1_000_000_000;

pub(crate) fn doctor(args: &cli::Doctor) -> Result<ExitCode> {
    if args.check {
        return check::check(args);
    }
    // Until here Ctrl-C ends the program: a hub may take its time.
    let asked: Vec<Candidate> = args
        .models
        .iter()
        .map(|model| candidates(model))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect();
    interrupt::listen()?;
    let mut doctor = Doctor { args, found: Found::at_once() };
    doctor.say(&doctor.found.at_once_text())?;
    let is_measured = doctor.found.measure(&args.compute)?.is_some();
    doctor.say(&doctor.found.measured_text())?;
    let finished = match (is_measured, asked.is_empty()) {
        (false, _) => None,
        (true, true) => doctor.overview()?,
        (true, false) => doctor.forecasts(asked)?,
    };
    let Some(rows) = finished else {
        note("stopped");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    };
    if args.json {
        let mut object = doctor.found.to_json();
        object["forecasts"] = rows.iter().map(Row::to_json).collect::<Json>();
        print(format!("{}\n", terminal::json(&format!("{object:#}"))).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

struct Doctor<'a> {
    args: &'a cli::Doctor,
    found: Found,
}

impl Doctor<'_> {
    /// Prints text for people.
    fn say(&self, text: &str) -> Result<()> {
        if self.args.json { Ok(()) } else { print(terminal::fitted_to_stdout(text).as_bytes()) }
    }

    /// A forecast for each of `asked`, by a cut of its own where it fits. `None` if Ctrl-C was pressed.
    fn forecasts(&self, asked: Vec<Candidate>) -> Result<Option<Vec<Row>>> {
        let width = asked.iter().map(|c| report::label(&c.name).chars().count()).max().unwrap_or(0);
        self.say(&report::heading(width))?;
        let mut rows = Vec::new();
        let mut rates = None;
        for candidate in asked {
            let row = match &candidate.shape {
                Some(shape) => {
                    let arch = shape.architecture(None)?;
                    let room = room(shape, &arch, candidate.file_bytes, &self.args.compute)?;
                    let speed = match room.fit {
                        Fit::No => None,
                        _ => {
                            let Some(speed) = self.by_own_cut(shape, &room)? else { return Ok(None) };
                            Some(speed)
                        }
                    };
                    Row::new(&candidate, Some(&room), speed)
                }
                None => {
                    if rates.is_none() {
                        rates = match self.rates()? {
                            Some(rates) => Some(rates),
                            None => return Ok(None),
                        };
                    }
                    let speed = rates.as_ref().map(|rates: &Rates| rates.by_size(&candidate));
                    Row::new(&candidate, None, speed)
                }
            };
            self.say(&row.text(width))?;
            rows.push(row);
        }
        self.say(&report::notes(&rows))?;
        Ok(Some(rows))
    }

    fn by_own_cut(&self, shape: &Opened, room: &Room) -> Result<Option<Speed>> {
        let compute = &self.args.compute;
        match room.on_gpu {
            Some(share) if share < 1.0 => {
                let Some(processor) = self.measured(shape, &compute.on_processor())? else { return Ok(None) };
                if share == 0.0 {
                    return Ok(Some(processor));
                }
                Ok(self.measured(shape, compute)?.map(|gpu| Speed::mixed(gpu, processor, share)))
            }
            _ => self.measured(shape, compute),
        }
    }

    fn measured(&self, shape: &Opened, compute: &Compute) -> Result<Option<Speed>> {
        let arch = shape.architecture(None)?;
        let measuring = Measuring::start(shape, &arch, compute, self.found.budget())
            .with_context(|| format!("cannot measure a part of `{}`", shape.name));
        let Some(mut measuring) = measuring? else { return Ok(None) };
        Ok(measuring.rounds()?.map(|()| measuring.speed()))
    }

    /// Well-known models that fit, by the rates of usual shapes. `None` if Ctrl-C was pressed.
    fn overview(&mut self) -> Result<Option<Vec<Row>>> {
        let Some(rates) = self.rates()? else { return Ok(None) };
        self.say(&rates.text())?;
        let mut listed: Vec<(Candidate, Option<Room>, Speed)> = Vec::new();
        let mut shapes = Vec::new();
        for known in known() {
            // Of models with the same shape the first stands for all.
            if let Some(preset) = known.preset() {
                if shapes.contains(&preset) {
                    continue;
                }
                shapes.push(preset);
            }
            let Some(&(quant, bytes)) = known.files.iter().find(|(quant, _)| *quant == known.default_quant)
            else {
                continue;
            };
            let Some(candidate) = known.candidate(quant, bytes)? else { continue };
            let (room, speed) = match &candidate.shape {
                Some(shape) => {
                    let arch = shape.architecture(None)?;
                    let room = room(shape, &arch, candidate.file_bytes, &self.args.compute)?;
                    (Some(room), rates.by_shape(shape, candidate.quant.as_str())?)
                }
                None => (None, rates.by_size(&candidate)),
            };
            let is_slow = speed.decode < SLOWEST && candidate.file_bytes > SMALL;
            if !is_slow && room.is_none_or(|room| room.fit != Fit::No) {
                listed.push((candidate, room, speed));
            }
        }
        // The largest that fit are the best, and the smallest are the fastest: an even choice from the one end to the other.
        listed.sort_by_key(|(candidate, ..)| std::cmp::Reverse(candidate.file_bytes));
        let last = listed.len().saturating_sub(1).max(1);
        let is_kept = |i: usize| i == 0 || i * (LISTED - 1) / last > (i - 1) * (LISTED - 1) / last;
        let rows: Vec<Row> = listed
            .iter()
            .enumerate()
            .filter(|&(i, _)| is_kept(i))
            .map(|(_, (candidate, room, speed))| Row::new(candidate, room.as_ref(), Some(*speed)))
            .collect();
        let width = rows.iter().map(Row::name_width).max().unwrap_or(0);
        self.say(&report::heading(width))?;
        for row in &rows {
            self.say(&row.text(width))?;
        }
        self.say(&report::notes(&rows))?;
        self.say("Estimates by usual shapes; `inferno doctor MODEL` measures a part of that model.\n")?;
        self.found.rates = Some(rates.to_json());
        Ok(Some(rows))
    }

    fn rates(&self) -> Result<Option<Rates>> {
        let mut measured = Vec::new();
        for (preset, encoding) in [("qwen3-4b", Encoding::Q4KM), ("qwen3-0.6b", Encoding::One(DType::Q8_0))] {
            let file = synth::outline(preset, encoding)?.context("the preset is there")?;
            let whole = Opened::without_path(preset.into(), file);
            let arch = whole.architecture(None)?;
            let measuring = Measuring::start(&whole, &arch, &self.args.compute, self.found.budget() / 2)?;
            let Some(mut measuring) = measuring else { return Ok(None) };
            if measuring.round()?.is_none() {
                return Ok(None);
            }
            measured.push((encoding, measuring));
        }
        Ok(Some(Rates(measured)))
    }
}

/// Rates of usual shapes, for models that are only estimated.
struct Rates(Vec<(Encoding, Measuring)>);

impl Rates {
    /// The rates for a quant: those of Q8_0 for types that are not packed closer.
    fn of(&self, quant: &str) -> &Measuring {
        let is_large = ["Q8", "F16", "BF16", "F32"].iter().any(|large| quant.contains(large));
        let found = self.0.iter().find(|(encoding, _)| (*encoding == Encoding::Q4KM) != is_large);
        &found.unwrap_or(&self.0[0]).1
    }

    fn by_shape(&self, shape: &Opened, quant: &str) -> Result<Speed> {
        let arch = shape.architecture(None)?;
        let measured = self.of(quant);
        Ok(measured.speed_of(shape, &arch))
    }

    fn by_size(&self, candidate: &Candidate) -> Speed {
        self.of(&candidate.quant).speed_of_bytes(candidate.file_bytes)
    }

    fn text(&self) -> String {
        let mut head = "products";
        let mut text = String::new();
        for (encoding, measured) in &self.0 {
            let (read, compute) = measured.rates();
            let (read, compute) = (read / 1e9, compute / 1e9);
            text += &format!(
                "{head:<9}  {encoding}: {read:.1} GB/s when decoding, {compute:.0} GFLOP/s in prompts\n"
            );
            head = "";
        }
        let device = &self.0[0].1.device;
        text + &format!("           on {device}\n")
    }

    fn to_json(&self) -> Json {
        let rate = |(encoding, measured): &(Encoding, Measuring)| {
            let (read, compute) = measured.rates();
            json!({
                "type": encoding.to_string(),
                "device": measured.device,
                "decode_gb_per_s": read / 1e9,
                "prompt_gflop_per_s": compute / 1e9,
            })
        };
        self.0.iter().map(rate).collect()
    }
}

#[cfg(test)]
mod tests;
