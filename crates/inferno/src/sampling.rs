//! Sampling defaults: flags take precedence over the model's file, and the file over the program's own values.
//!
//! Source of the keys: `general.sampling.*` of llama.cpp (`gguf-py/gguf/constants.py`).

use std::fmt;
use std::sync::Arc;

use inferno_engine::{SamplerKind, Samplers};
use inferno_format::{Metadata, Value};
use inferno_model::sample::{Mirostat, MirostatVersion};
use inferno_server::Defaults;

/// Defines [`Wishes`] and what is the same for all of its fields.
macro_rules! wishes {
    ($($(#[$doc:meta])* $field:ident: $kind:ty = $name:literal,)*) => {
        /// Sampling parameters, each `None` unless set.
        #[derive(Debug, Clone, Default, PartialEq)]
        pub(crate) struct Wishes {
            $($(#[$doc])* pub(crate) $field: Option<$kind>,)*
        }

        impl Wishes {
            /// Merges: values of `self` take precedence over values of `other`.
            pub(crate) fn or(&self, other: &Wishes) -> Wishes {
                Wishes { $($field: self.$field.clone().or_else(|| other.$field.clone()),)* }
            }

            /// Keeps the values that `other` does not set.
            pub(crate) fn without(&self, other: &Wishes) -> Wishes {
                Wishes { $($field: self.$field.clone().filter(|_| other.$field.is_none()),)* }
            }

            /// The values that are set, by the names of their flags; empty if none is.
            pub(crate) fn describe(&self) -> String {
                let all = [$(self.$field.as_ref().map(|x| format!(concat!($name, " {}"), x)),)*];
                all.into_iter().flatten().collect::<Vec<_>>().join(", ")
            }
        }
    };
}

wishes! {
    temperature: f32 = "temperature",
    /// 0 and less: all.
    top_k: i64 = "top-k",
    top_p: f32 = "top-p",
    min_p: f32 = "min-p",
    repeat_penalty: f32 = "repeat-penalty",
    /// Less than 0: all.
    repeat_last_n: i64 = "repeat-last-n",
    presence_penalty: f32 = "presence-penalty",
    frequency_penalty: f32 = "frequency-penalty",
    top_n_sigma: f32 = "top-n-sigma",
    typical_p: f32 = "typical-p",
    xtc_probability: f32 = "xtc-probability",
    xtc_threshold: f32 = "xtc-threshold",
    dynatemp_range: f32 = "dynatemp-range",
    dynatemp_exponent: f32 = "dynatemp-exp",
    dry_multiplier: f32 = "dry-multiplier",
    dry_base: f32 = "dry-base",
    dry_allowed_length: u32 = "dry-allowed-length",
    /// Less than 0: all.
    dry_last_n: i64 = "dry-penalty-last-n",
    dry_sequence_breakers: Texts = "dry-sequence-breaker",
    /// 0 is off.
    mirostat: u32 = "mirostat",
    mirostat_tau: f32 = "mirostat-ent",
    mirostat_eta: f32 = "mirostat-lr",
    samplers: Order = "samplers",
}

/// Samplers in the order in which they are applied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Order(pub(crate) Arc<[SamplerKind]>);

/// Texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Texts(pub(crate) Vec<String>);

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(";"))
    }
}

impl fmt::Display for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(" "))
    }
}

/// Samplers by name, with semicolons between them.
pub(crate) fn order(names: &str) -> Result<Order, String> {
    let names = names.split(';').map(str::trim).filter(|name| !name.is_empty());
    let kind = |name: &str| {
        let all = || SamplerKind::DEFAULT_ORDER.map(SamplerKind::name).join(", ");
        default_kind(SamplerKind::named(name))
            .ok_or_else(|| format!("expected some of {}, with `;` between them", all()))
    };
    names.map(kind).collect::<Result<_, _>>().map(Order)
}

/// A sampler that defaults may have; `infill` is for completions in a gap, which ask for it themselves.
fn default_kind(kind: Option<SamplerKind>) -> Option<SamplerKind> {
    kind.filter(|kind| SamplerKind::DEFAULT_ORDER.contains(kind))
}

/// Samplers by their letters.
pub(crate) fn sequence(letters: &str) -> Result<Order, String> {
    let all = || SamplerKind::DEFAULT_ORDER.map(SamplerKind::letter).iter().collect::<String>();
    let kinds = letters.chars().map(|c| default_kind(SamplerKind::of_letter(c))).collect::<Option<_>>();
    kinds.map(Order).ok_or_else(|| format!("expected letters of `{}`", all()))
}

/// Sampling defaults of a model's file.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct FromFile {
    pub(crate) wishes: Wishes,
    /// Messages about values that are ignored.
    pub(crate) warnings: Vec<String>,
}

const PREFIX: &str = "general.sampling.";

/// Tokens that a repetition penalty of a file looks back at, if it does not say: llama.cpp's default.
const LAST_N_OF_FILES: i64 = 64;

impl FromFile {
    /// Reads the sampling keys of a file. What is out of range or unknown is ignored, and said.
    pub(crate) fn read(metadata: &Metadata) -> FromFile {
        let mut file = FromFile::default();
        for (key, value) in metadata.iter() {
            if let Some(name) = key.strip_prefix(PREFIX) {
                file.take(name, value);
            }
        }
        let wishes = &mut file.wishes;
        if wishes.repeat_penalty.is_some_and(|x| x != 1.0) {
            wishes.repeat_last_n.get_or_insert(LAST_N_OF_FILES);
        }
        file
    }

    fn take(&mut self, name: &str, value: &Value) {
        let wishes = &mut self.wishes;
        let taken = match name {
            "temp" => number(value, 0.0..=100.0).map(|x| wishes.temperature = Some(x)),
            "top_k" => integer(value).map(|k| wishes.top_k = Some(k)),
            "top_p" => number(value, 0.0..=1.0).map(|x| wishes.top_p = Some(x)),
            "min_p" => number(value, 0.0..=1.0).map(|x| wishes.min_p = Some(x)),
            "penalty_repeat" => number(value, 0.01..=10.0).map(|x| wishes.repeat_penalty = Some(x)),
            "penalty_last_n" => integer(value).map(|n| wishes.repeat_last_n = Some(n)),
            "penalty_freq" => number(value, -2.0..=2.0).map(|x| wishes.frequency_penalty = Some(x)),
            "penalty_present" => number(value, -2.0..=2.0).map(|x| wishes.presence_penalty = Some(x)),
            "xtc_probability" => number(value, 0.0..=1.0).map(|x| wishes.xtc_probability = Some(x)),
            "xtc_threshold" => number(value, 0.0..=1.0).map(|x| wishes.xtc_threshold = Some(x)),
            "mirostat" => match integer(value) {
                Ok(version @ 0..=2) => {
                    wishes.mirostat = Some(version as u32);
                    Ok(())
                }
                _ => Err("expected 0, 1 or 2".into()),
            },
            "mirostat_tau" => number(value, 0.0..=100.0).map(|x| wishes.mirostat_tau = Some(x)),
            "mirostat_eta" => number(value, 0.0..=10.0).map(|x| wishes.mirostat_eta = Some(x)),
            "sequence" => match value {
                Value::String(names) => order(names).map(|order| wishes.samplers = Some(order)),
                _ => Err("expected names of samplers with `;` between them".into()),
            },
            _ => Err("the key is not known".into()),
        };
        if let Err(why) = taken {
            let (shown, key) = (short(value), name.escape_debug().take(64).collect::<String>());
            self.warnings.push(format!("`{PREFIX}{key}` of the model is {shown} and is ignored: {why}"));
        }
    }
}

/// A value, without the text of a string: that may be long, and is not ours.
fn short(value: &Value) -> String {
    match value {
        Value::String(text) if text.len() <= 32 => format!("{text:?}"),
        other => other.to_string(),
    }
}

/// A number in `range`, of whatever type the file gives it.
fn number(value: &Value, range: std::ops::RangeInclusive<f32>) -> Result<f32, String> {
    let number = as_f64(value).map(|x| x as f32).filter(|x| range.contains(x));
    number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
}

fn integer(value: &Value) -> Result<i64, String> {
    let number = as_f64(value).filter(|x| x.fract() == 0.0 && x.abs() <= f64::from(i32::MAX));
    number.map(|x| x as i64).ok_or_else(|| "expected an integer of at most 2147483647".into())
}

fn as_f64(value: &Value) -> Option<f64> {
    match value {
        Value::F32(x) => Some(f64::from(*x)),
        Value::F64(x) => Some(*x),
        Value::String(text) => text.trim().parse().ok(),
        other => other.integer().map(|x| x as f64),
    }
}

impl Wishes {
    /// Fills in the program's own values.
    pub(crate) fn resolve(&self) -> Defaults {
        let own = Defaults::default();
        let samplers = &own.samplers;
        let tau = self.mirostat_tau.unwrap_or(own.mirostat_tau);
        let eta = self.mirostat_eta.unwrap_or(own.mirostat_eta);
        let version = match self.mirostat {
            Some(1) => Some(MirostatVersion::One),
            Some(2) => Some(MirostatVersion::Two),
            _ => None,
        };
        Defaults {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.map_or(own.top_k, |k| usize::try_from(k).unwrap_or(0)),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(own.repeat_penalty),
            repeat_last_n: self.repeat_last_n.map_or(own.repeat_last_n, |n| usize::try_from(n).ok()),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
            samplers: Samplers {
                order: self.samplers.as_ref().map(|order| Arc::clone(&order.0)),
                min_keep: samplers.min_keep,
                top_n_sigma: self.top_n_sigma.unwrap_or(samplers.top_n_sigma),
                typical_p: self.typical_p.unwrap_or(samplers.typical_p),
                xtc_probability: self.xtc_probability.unwrap_or(samplers.xtc_probability),
                xtc_threshold: self.xtc_threshold.unwrap_or(samplers.xtc_threshold),
                dynatemp_range: self.dynatemp_range.unwrap_or(samplers.dynatemp_range),
                dynatemp_exponent: self.dynatemp_exponent.unwrap_or(samplers.dynatemp_exponent),
                mirostat: version.map(|version| Mirostat { version, tau, eta }),
                dry_multiplier: self.dry_multiplier.unwrap_or(samplers.dry_multiplier),
                dry_base: self.dry_base.unwrap_or(samplers.dry_base),
                dry_allowed_length: self.dry_allowed_length.unwrap_or(samplers.dry_allowed_length),
                dry_last_n: self.dry_last_n.map_or(samplers.dry_last_n, |n| usize::try_from(n).ok()),
                infill: None,
            },
            dry_sequence_breakers: self
                .dry_sequence_breakers
                .as_ref()
                .map_or(own.dry_sequence_breakers, |texts| texts.0.clone()),
            mirostat_tau: tau,
            mirostat_eta: eta,
        }
    }
}

impl From<&Defaults> for Wishes {
    fn from(all: &Defaults) -> Wishes {
        let (own, samplers) = (Samplers::default(), &all.samplers);
        let version = samplers.mirostat.map(|mirostat| match mirostat.version {
            MirostatVersion::One => 1,
            MirostatVersion::Two => 2,
        });
        // What is off is not told.
        let changed = |x: f32, own: f32| Some(x).filter(|&x| x != own);
        Wishes {
            temperature: Some(all.temperature),
            top_k: Some(all.top_k as i64),
            top_p: Some(all.top_p),
            min_p: Some(all.min_p),
            repeat_penalty: Some(all.repeat_penalty),
            repeat_last_n: Some(all.repeat_last_n.map_or(-1, |n| n as i64)),
            presence_penalty: Some(all.presence_penalty),
            frequency_penalty: Some(all.frequency_penalty),
            top_n_sigma: changed(samplers.top_n_sigma, own.top_n_sigma),
            typical_p: changed(samplers.typical_p, own.typical_p),
            xtc_probability: changed(samplers.xtc_probability, own.xtc_probability),
            xtc_threshold: changed(samplers.xtc_threshold, own.xtc_threshold),
            dynatemp_range: changed(samplers.dynatemp_range, own.dynatemp_range),
            dynatemp_exponent: changed(samplers.dynatemp_exponent, own.dynatemp_exponent),
            dry_multiplier: changed(samplers.dry_multiplier, own.dry_multiplier),
            dry_base: changed(samplers.dry_base, own.dry_base),
            dry_allowed_length: Some(samplers.dry_allowed_length).filter(|&n| n != own.dry_allowed_length),
            dry_last_n: Some(samplers.dry_last_n)
                .filter(|&n| n != own.dry_last_n)
                .map(|n| n.map_or(-1, |n| n as i64)),
            dry_sequence_breakers: Some(&all.dry_sequence_breakers)
                .filter(|texts| **texts != Defaults::default().dry_sequence_breakers)
                .map(|texts| Texts(texts.clone())),
            mirostat: version,
            mirostat_tau: changed(all.mirostat_tau, Defaults::default().mirostat_tau),
            mirostat_eta: changed(all.mirostat_eta, Defaults::default().mirostat_eta),
            samplers: samplers.order.clone().map(Order),
        }
    }
}

#[cfg(test)]
mod tests;
