//! Sampling defaults: flags take precedence over the model's file, and the file over the program's own values.
//!
//! Source of the keys: `general.sampling.*` of llama.cpp (`gguf-py/gguf/constants.py`).

use inferno_format::{Metadata, Value};
use inferno_server::Defaults;

/// Sampling parameters, each `None` unless set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Wishes {
    pub(crate) temperature: Option<f32>,
    /// 0 and less: all.
    pub(crate) top_k: Option<i64>,
    pub(crate) top_p: Option<f32>,
    pub(crate) min_p: Option<f32>,
    pub(crate) repeat_penalty: Option<f32>,
    /// Less than 0: all.
    pub(crate) repeat_last_n: Option<i64>,
    pub(crate) presence_penalty: Option<f32>,
    pub(crate) frequency_penalty: Option<f32>,
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

/// The order in which samplers are applied, by llama.cpp's names.
const SEQUENCE: [&str; 5] = ["penalties", "top_k", "top_p", "min_p", "temperature"];

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
            // Off, or a number that means something only beside one that is on.
            "xtc_threshold" | "mirostat_tau" | "mirostat_eta" => Ok(()),
            "mirostat" | "xtc_probability" if as_f64(value) == Some(0.0) => Ok(()),
            "mirostat" | "xtc_probability" => Err("that sampler is not supported".into()),
            "sequence" => match value {
                Value::String(text)
                    if text.split(';').map(str::trim).filter(|s| SEQUENCE.contains(s)).eq(SEQUENCE) =>
                {
                    Ok(())
                }
                _ => Err(format!("samplers are applied in the order {}", SEQUENCE.join(";"))),
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
    /// Merges: values of `self` take precedence over values of `other`.
    pub(crate) fn or(&self, other: &Wishes) -> Wishes {
        Wishes {
            temperature: self.temperature.or(other.temperature),
            top_k: self.top_k.or(other.top_k),
            top_p: self.top_p.or(other.top_p),
            min_p: self.min_p.or(other.min_p),
            repeat_penalty: self.repeat_penalty.or(other.repeat_penalty),
            repeat_last_n: self.repeat_last_n.or(other.repeat_last_n),
            presence_penalty: self.presence_penalty.or(other.presence_penalty),
            frequency_penalty: self.frequency_penalty.or(other.frequency_penalty),
        }
    }

    /// Keeps the values that `other` does not set.
    pub(crate) fn without(&self, other: &Wishes) -> Wishes {
        let f32 = |x: Option<f32>, other: Option<f32>| x.filter(|_| other.is_none());
        let i64 = |x: Option<i64>, other: Option<i64>| x.filter(|_| other.is_none());
        Wishes {
            temperature: f32(self.temperature, other.temperature),
            top_k: i64(self.top_k, other.top_k),
            top_p: f32(self.top_p, other.top_p),
            min_p: f32(self.min_p, other.min_p),
            repeat_penalty: f32(self.repeat_penalty, other.repeat_penalty),
            repeat_last_n: i64(self.repeat_last_n, other.repeat_last_n),
            presence_penalty: f32(self.presence_penalty, other.presence_penalty),
            frequency_penalty: f32(self.frequency_penalty, other.frequency_penalty),
        }
    }

    /// Fills in the program's own values.
    pub(crate) fn resolve(&self) -> Defaults {
        let own = Defaults::default();
        Defaults {
            temperature: self.temperature.unwrap_or(own.temperature),
            top_k: self.top_k.map_or(own.top_k, |k| usize::try_from(k).unwrap_or(0)),
            top_p: self.top_p.unwrap_or(own.top_p),
            min_p: self.min_p.unwrap_or(own.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(own.repeat_penalty),
            repeat_last_n: self.repeat_last_n.map_or(own.repeat_last_n, |n| usize::try_from(n).ok()),
            presence_penalty: self.presence_penalty.unwrap_or(own.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(own.frequency_penalty),
        }
    }

    /// The values that are set, by the names of their flags; empty if none is.
    pub(crate) fn describe(&self) -> String {
        let number = |name: &str, x: Option<f32>| x.map(|x| format!("{name} {x}"));
        let integer = |name: &str, x: Option<i64>| x.map(|x| format!("{name} {x}"));
        let all = [
            number("temperature", self.temperature),
            integer("top-k", self.top_k),
            number("top-p", self.top_p),
            number("min-p", self.min_p),
            number("repeat-penalty", self.repeat_penalty),
            integer("repeat-last-n", self.repeat_last_n),
            number("presence-penalty", self.presence_penalty),
            number("frequency-penalty", self.frequency_penalty),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }
}

impl From<&Defaults> for Wishes {
    fn from(all: &Defaults) -> Wishes {
        Wishes {
            temperature: Some(all.temperature),
            top_k: Some(all.top_k as i64),
            top_p: Some(all.top_p),
            min_p: Some(all.min_p),
            repeat_penalty: Some(all.repeat_penalty),
            repeat_last_n: Some(all.repeat_last_n.map_or(-1, |n| n as i64)),
            presence_penalty: Some(all.presence_penalty),
            frequency_penalty: Some(all.frequency_penalty),
        }
    }
}

#[cfg(test)]
mod tests;
