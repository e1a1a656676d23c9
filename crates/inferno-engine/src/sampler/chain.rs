//! Samplers in any order, and those that the default order of [`SampleSpec`](inferno_model::sample::SampleSpec) lacks.
//!
//! What a request asks for is a [`Samplers`]. Where that comes to the default order and to samplers that it has, there is no chain,
//! and the request is sampled as any other; else a [`Chain`] runs over the candidates of a row, on the host.

use std::sync::Arc;

use inferno_model::sample::{Candidates, Draws, Mirostat, Room};

use super::dry::{Breakers, Dry, DryRoom};
use super::infill::Infill;
use super::{History, Sampling};

/// A kind of sampler, by llama.cpp's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamplerKind {
    /// `penalties`: of repeats, frequency and presence.
    Penalties,
    /// `dry`
    Dry,
    /// `top_n_sigma`
    TopNSigma,
    /// `top_k`
    TopK,
    /// `typ_p`
    TypicalP,
    /// `top_p`
    TopP,
    /// `min_p`
    MinP,
    /// `xtc`
    Xtc,
    /// `temperature`, with its dynamic range.
    Temperature,
    /// `infill`, which no default order has: see [`Infill`].
    Infill,
}

impl SamplerKind {
    /// llama.cpp's order, which is the default.
    pub const DEFAULT_ORDER: [SamplerKind; 9] = [
        SamplerKind::Penalties,
        SamplerKind::Dry,
        SamplerKind::TopNSigma,
        SamplerKind::TopK,
        SamplerKind::TypicalP,
        SamplerKind::TopP,
        SamplerKind::MinP,
        SamplerKind::Xtc,
        SamplerKind::Temperature,
    ];

    /// All kinds.
    pub fn all() -> impl Iterator<Item = SamplerKind> {
        SamplerKind::DEFAULT_ORDER.into_iter().chain([SamplerKind::Infill])
    }

    /// Its name in llama.cpp.
    pub fn name(self) -> &'static str {
        match self {
            SamplerKind::Penalties => "penalties",
            SamplerKind::Dry => "dry",
            SamplerKind::TopNSigma => "top_n_sigma",
            SamplerKind::TopK => "top_k",
            SamplerKind::TypicalP => "typ_p",
            SamplerKind::TopP => "top_p",
            SamplerKind::MinP => "min_p",
            SamplerKind::Xtc => "xtc",
            SamplerKind::Temperature => "temperature",
            SamplerKind::Infill => "infill",
        }
    }

    /// The sampler of a name, with dashes, without anything between its words, or short, as llama.cpp takes it.
    pub fn named(name: &str) -> Option<SamplerKind> {
        let name = name.trim().to_ascii_lowercase().replace('-', "_");
        let is_named = |kind: &SamplerKind| name == kind.name() || name == kind.name().replace('_', "");
        let own = SamplerKind::all().find(is_named);
        own.or(match &*name {
            "typical_p" | "typical" | "typ" => Some(SamplerKind::TypicalP),
            "nucleus" => Some(SamplerKind::TopP),
            "temp" => Some(SamplerKind::Temperature),
            _ => None,
        })
    }

    /// Its letter in llama.cpp's `--sampling-seq`.
    pub fn letter(self) -> char {
        match self {
            SamplerKind::Penalties => 'e',
            SamplerKind::Dry => 'd',
            SamplerKind::TopNSigma => 's',
            SamplerKind::TopK => 'k',
            SamplerKind::TypicalP => 'y',
            SamplerKind::TopP => 'p',
            SamplerKind::MinP => 'm',
            SamplerKind::Xtc => 'x',
            SamplerKind::Temperature => 't',
            SamplerKind::Infill => 'i',
        }
    }

    /// The sampler of a letter.
    pub fn of_letter(letter: char) -> Option<SamplerKind> {
        SamplerKind::all().find(|kind| kind.letter() == letter)
    }
}

/// Parameters of samplers beside those of `SampleSpec`. [`Samplers::default`] is none of them, in the default order.
#[derive(Debug, Clone, PartialEq)]
pub struct Samplers {
    /// Samplers that are applied, in this order; `None` is the default order.
    pub order: Option<Arc<[SamplerKind]>>,
    /// Filters keep at least this many tokens; 0 and 1 ask for none.
    pub min_keep: usize,
    /// Standard deviations; 0 and less is off.
    pub top_n_sigma: f32,
    /// 1 is off.
    pub typical_p: f32,
    /// 0 is off.
    pub xtc_probability: f32,
    /// Above 0.5 is off.
    pub xtc_threshold: f32,
    /// 0 is off.
    pub dynatemp_range: f32,
    /// The power to which the share of entropy is raised.
    pub dynatemp_exponent: f32,
    /// In place of all filters and of the draw.
    pub mirostat: Option<Mirostat>,
    /// 0 is off.
    pub dry_multiplier: f32,
    /// At least 1.
    pub dry_base: f32,
    /// See [`Dry::allowed_length`].
    pub dry_allowed_length: u32,
    /// See [`Dry::last_n`]; 0 is off.
    pub dry_last_n: Option<usize>,
    /// Texts and ends for [`SamplerKind::Infill`], which needs them.
    pub infill: Option<Arc<Infill>>,
}

impl Default for Samplers {
    fn default() -> Samplers {
        Samplers {
            order: None,
            min_keep: 0,
            top_n_sigma: -1.0,
            typical_p: 1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            mirostat: None,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_last_n: Some(64),
            infill: None,
        }
    }
}

/// A sampler of a chain, with its parameters. Penalties and DRY have theirs in [`Sampling`].
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    Penalties,
    Dry,
    TopNSigma(f32),
    TopK(usize),
    TypicalP(f32),
    TopP(f32),
    MinP(f32),
    Xtc { probability: f32, threshold: f32 },
    Temperature { temperature: f32, range: f32, exponent: f32 },
    Infill,
}

/// Samplers that do something, in the order in which they are applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Chain {
    stages: Vec<Stage>,
    min_keep: usize,
    pub(super) mirostat: Option<Mirostat>,
    infill: Option<Arc<Infill>>,
}

impl Samplers {
    /// Does DRY do anything? Its breakers are needed only then.
    pub fn has_dry(&self) -> bool {
        let is_in_order = self.order.as_ref().is_none_or(|order| order.contains(&SamplerKind::Dry));
        self.dry_multiplier != 0.0 && self.dry_last_n != Some(0) && (is_in_order || self.mirostat.is_some())
    }

    /// Adds these samplers to `sampling`, whose other parameters are set. Samplers that the order leaves out are switched off.
    pub fn add_to(&self, sampling: &mut Sampling, breakers: Arc<Breakers>) {
        sampling.dry = self.has_dry().then(|| {
            Arc::new(Dry {
                multiplier: self.dry_multiplier,
                base: self.dry_base,
                allowed_length: self.dry_allowed_length,
                last_n: self.dry_last_n,
                breakers,
            })
        });
        sampling.chain = None;
        let order = self.order.as_deref().unwrap_or(&SamplerKind::DEFAULT_ORDER);
        if let Some(mirostat) = self.mirostat {
            let stages = [SamplerKind::Penalties, SamplerKind::Dry, SamplerKind::Temperature];
            // Without a range: as llama.cpp has it.
            let plain = Samplers { dynatemp_range: 0.0, ..self.clone() };
            let stages = stages.into_iter().filter_map(|kind| plain.stage(kind, sampling)).collect();
            sampling.chain =
                Some(Arc::new(Chain { stages, min_keep: 0, mirostat: Some(mirostat), infill: None }));
            return;
        }
        let stages: Vec<Stage> = order.iter().filter_map(|&kind| self.stage(kind, sampling)).collect();
        let spec = &mut sampling.spec;
        let is_greedy = spec.is_greedy();
        for kind in SamplerKind::DEFAULT_ORDER.into_iter().filter(|kind| !order.contains(kind)) {
            match kind {
                SamplerKind::Penalties => {
                    sampling.repeat_penalty = 1.0;
                    (sampling.frequency_penalty, sampling.presence_penalty) = (0.0, 0.0);
                }
                SamplerKind::TopK => spec.top_k = 0,
                SamplerKind::TopP => spec.top_p = 1.0,
                SamplerKind::MinP => spec.min_p = 0.0,
                SamplerKind::Temperature => spec.temperature = 1.0,
                _ => {}
            }
        }
        let places = stages.iter().map(|stage| stage.place());
        let is_plain = stages.iter().all(|stage| stage.is_in_spec())
            && places.is_sorted_by(|a, b| a < b)
            && self.min_keep <= 1;
        // The best token stays the best through filters that only cut others.
        let cuts_others = stages.iter().all(|stage| stage.keeps_best());
        if !(is_plain || is_greedy && sampling.spec.is_greedy() && cuts_others) {
            let (min_keep, infill) = (self.min_keep, self.infill.clone());
            sampling.chain = Some(Arc::new(Chain { stages, min_keep, mirostat: None, infill }));
        }
    }

    /// The sampler of a kind; `None` if it does nothing.
    fn stage(&self, kind: SamplerKind, sampling: &Sampling) -> Option<Stage> {
        let spec = &sampling.spec;
        let (probability, threshold) = (self.xtc_probability, self.xtc_threshold);
        let temperature = spec.temperature;
        let (range, exponent) = (self.dynatemp_range, self.dynatemp_exponent);
        match kind {
            SamplerKind::Penalties => sampling.penalizes().then_some(Stage::Penalties),
            SamplerKind::Dry => sampling.dry.is_some().then_some(Stage::Dry),
            SamplerKind::TopNSigma => (self.top_n_sigma > 0.0).then_some(Stage::TopNSigma(self.top_n_sigma)),
            SamplerKind::TopK => (spec.top_k > 0).then_some(Stage::TopK(spec.top_k)),
            SamplerKind::TypicalP => (self.typical_p < 1.0).then_some(Stage::TypicalP(self.typical_p)),
            SamplerKind::TopP => (spec.top_p < 1.0).then_some(Stage::TopP(spec.top_p)),
            SamplerKind::MinP => (spec.min_p > 0.0).then_some(Stage::MinP(spec.min_p)),
            SamplerKind::Xtc => {
                (probability > 0.0 && threshold <= 0.5).then_some(Stage::Xtc { probability, threshold })
            }
            SamplerKind::Temperature => (temperature != 1.0 || range > 0.0).then_some(Stage::Temperature {
                temperature,
                range,
                exponent,
            }),
            SamplerKind::Infill => {
                assert!(self.infill.is_some(), "`infill` is in the order without the texts of tokens");
                Some(Stage::Infill)
            }
        }
    }
}

impl Stage {
    /// Its place in the default order.
    fn place(self) -> usize {
        match self {
            Stage::Penalties => 0,
            Stage::Dry => 1,
            Stage::TopNSigma(_) => 2,
            Stage::TopK(_) => 3,
            Stage::TypicalP(_) => 4,
            Stage::TopP(_) => 5,
            Stage::MinP(_) => 6,
            Stage::Xtc { .. } => 7,
            Stage::Temperature { .. } => 8,
            Stage::Infill => 9,
        }
    }

    /// Is it done without a chain?
    fn is_in_spec(self) -> bool {
        match self {
            Stage::Penalties | Stage::Dry | Stage::TopK(_) | Stage::TopP(_) | Stage::MinP(_) => true,
            Stage::Temperature { range, .. } => range <= 0.0,
            _ => false,
        }
    }

    /// Does it keep the best token, in its place, whatever else it does?
    fn keeps_best(self) -> bool {
        match self {
            Stage::TopNSigma(_) | Stage::TopK(_) | Stage::TopP(_) | Stage::MinP(_) => true,
            Stage::Temperature { range, .. } => range <= 0.0,
            _ => false,
        }
    }
}

/// Of [`Infill::CANDIDATES`].
const INFILL_TOP_K: &str = "1 to 256 and `top_k` before `infill` in `samplers`, as `infill` compares all tokens that are left \
                            with one another";

impl Chain {
    /// The token that the chain draws from `row` (vocab_size,), and what its samplers left.
    pub(super) fn choose<'a>(
        &self,
        (row, room, dry_room): (&'a mut [f32], &'a mut Room, &mut DryRoom),
        position: u32,
        sampling: &Sampling,
        history: &mut History,
    ) -> (u32, Candidates<'a>) {
        let mut draws = Draws::new(sampling.spec.seed, sampling.spec.choice_idx, position);
        let infill = self.infill.as_deref().map(|infill| (infill, infill.end_within(row)));
        let mut candidates = room.candidates(row);
        for &stage in &self.stages {
            match stage {
                Stage::Penalties => history.penalize_candidates(&mut candidates, sampling),
                Stage::Dry => {
                    if let Some(dry) = &sampling.dry {
                        dry_room.search(dry, history.tokens());
                        let change = |token, logit| dry_room.penalized(dry, token, logit);
                        candidates.adjust(dry_room.tokens(), change);
                    }
                }
                Stage::TopNSigma(n) => candidates.top_n_sigma(n),
                Stage::TopK(k) => candidates.top_k(k),
                Stage::TypicalP(p) => candidates.typical_p(p, self.min_keep),
                Stage::TopP(p) => candidates.top_p(p, self.min_keep),
                Stage::MinP(p) => candidates.min_p(p, self.min_keep),
                Stage::Xtc { probability, threshold } => {
                    candidates.xtc((probability, threshold), self.min_keep, draws.next_number());
                }
                Stage::Temperature { temperature, range, exponent } => {
                    candidates.dynamic_temperature(temperature, range, exponent);
                }
                Stage::Infill => {
                    if let Some((infill, end)) = infill {
                        infill.filter(&mut candidates, end);
                    }
                }
            }
        }
        let number = draws.of_token();
        let token = match (&self.mirostat, history.surprise_limit()) {
            (Some(mirostat), Some(limit)) => mirostat.draw(&mut candidates, limit, number),
            _ => candidates.draw(number),
        };
        (token, candidates)
    }

    /// Numbers that are out of their range, with what was expected.
    pub(super) fn check(&self) -> Result<(), (&'static str, f32, &'static str)> {
        let share = |name, x: f32| match (0.0..=1.0).contains(&x) {
            true => Ok(()),
            false => Err((name, x, "a number from 0 to 1")),
        };
        let finite = |name, x: f32| match x.is_finite() && x >= 0.0 {
            true => Ok(()),
            false => Err((name, x, "a number from 0 on")),
        };
        let mut top_k = 0;
        for &stage in &self.stages {
            match stage {
                Stage::TopK(k) => top_k = k,
                Stage::Infill if !(1..=Infill::CANDIDATES).contains(&top_k) => {
                    return Err(("top_k", top_k as f32, INFILL_TOP_K));
                }
                Stage::TopNSigma(n) => finite("top_n_sigma", n)?,
                Stage::TypicalP(p) => share("typical_p", p)?,
                Stage::Xtc { probability, threshold } => {
                    share("xtc_probability", probability)?;
                    share("xtc_threshold", threshold)?;
                }
                Stage::Temperature { range, exponent, .. } => {
                    finite("dynatemp_range", range)?;
                    finite("dynatemp_exponent", exponent)?;
                }
                // Checked with what `Sampling` has.
                _ => {}
            }
        }
        if let Some(Mirostat { tau, eta, .. }) = self.mirostat {
            finite("mirostat_tau", tau)?;
            finite("mirostat_eta", eta)?;
        }
        Ok(())
    }
}
