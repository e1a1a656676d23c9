//! Samplers beyond the usual ones, by llama.cpp's names and those of others, and words that may not come.

use std::sync::Arc;

use inferno_engine::{Breakers, SamplerKind, Samplers, Sampling};
use inferno_model::sample::{Mirostat, MirostatVersion};
use inferno_text::Tokenizer;
use serde_json::Value;

use crate::error::ApiError;
use crate::fields::{Fields, agreed, expected_at};
use crate::infill;
use crate::settings::Defaults;

/// Texts that end a repetition, and words: their number, and the bytes of one.
const BREAKERS: usize = 16;
/// See above; as llama.cpp has it.
const BREAKER_BYTES: usize = 40;
const BAD_WORDS: usize = 128;
const BAD_WORD_BYTES: usize = 256;

/// The parameters of each sampler.
const NAMES: [(SamplerKind, &[&str]); 9] = [
    (
        SamplerKind::Penalties,
        &["repetition_penalty", "repeat_penalty", "frequency_penalty", "presence_penalty"],
    ),
    (SamplerKind::Dry, &["dry_multiplier"]),
    (SamplerKind::TopNSigma, &["top_n_sigma", "nsigma"]),
    (SamplerKind::TopK, &["top_k"]),
    (SamplerKind::TypicalP, &["typical_p"]),
    (SamplerKind::TopP, &["top_p"]),
    (SamplerKind::MinP, &["min_p"]),
    (SamplerKind::Xtc, &["xtc_probability"]),
    (SamplerKind::Temperature, &["temperature", "do_sample", "dynatemp_range"]),
];

/// The samplers that a request has parameters of.
pub(super) fn asked(fields: &Fields) -> Vec<SamplerKind> {
    let is_asked = |(_, names): &&(_, &[&str])| names.iter().any(|name| fields.peek(name).is_some());
    NAMES.iter().filter(is_asked).map(|(kind, _)| *kind).collect()
}

/// Reads the samplers, adds them to `sampling`, whose other parameters are read; the request has parameters of those in
/// `asked`. Returns the samplers as they are asked for.
pub(super) fn read(
    fields: &mut Fields,
    defaults: &Defaults,
    tokenizer: &Arc<Tokenizer>,
    (asked, sampling): (&[SamplerKind], &mut Sampling),
) -> Result<Samplers, ApiError> {
    let own = &defaults.samplers;
    let sigma = [
        ("top_n_sigma", fields.number("top_n_sigma", -1.0..=100.0)?),
        ("nsigma", fields.number("nsigma", -1.0..=100.0)?),
    ];
    let mut number = |name, from: f32, to: f32, default: f32| {
        Ok::<f32, ApiError>(fields.number(name, from..=to)?.unwrap_or(default))
    };
    let mut samplers = Samplers {
        order: None,
        min_keep: own.min_keep,
        top_n_sigma: agreed(sigma)?.unwrap_or(own.top_n_sigma),
        typical_p: number("typical_p", 0.0, 1.0, own.typical_p)?,
        xtc_probability: number("xtc_probability", 0.0, 1.0, own.xtc_probability)?,
        xtc_threshold: number("xtc_threshold", 0.0, 1.0, own.xtc_threshold)?,
        dynatemp_range: number("dynatemp_range", 0.0, 100.0, own.dynatemp_range)?,
        dynatemp_exponent: number("dynatemp_exponent", 0.0, 100.0, own.dynatemp_exponent)?,
        mirostat: None,
        dry_multiplier: number("dry_multiplier", 0.0, 100.0, own.dry_multiplier)?,
        dry_base: number("dry_base", 0.0, 100.0, own.dry_base)?,
        dry_allowed_length: own.dry_allowed_length,
        dry_last_n: own.dry_last_n,
        infill: None,
    };
    if let Some(n) = fields.count("min_keep", 0..=i32::MAX as usize)? {
        samplers.min_keep = n;
    }
    if let Some(n) = fields.integer("dry_allowed_length", 0..=i64::from(i32::MAX))? {
        samplers.dry_allowed_length = n as u32;
    }
    if let Some(n) = fields.integer("dry_penalty_last_n", -1..=i64::from(i32::MAX))? {
        samplers.dry_last_n = usize::try_from(n).ok();
    }
    samplers.mirostat = mirostat(fields, defaults)?;
    let in_place = || own.order.as_deref().map(|order| with_asked(order, asked));
    samplers.order = order(fields)?.or_else(in_place);
    let is_asked = |order: &Arc<[SamplerKind]>| order.contains(&SamplerKind::Infill);
    samplers.infill =
        samplers.order.as_ref().filter(|order| is_asked(order)).map(|_| infill::vocabulary(tokenizer));
    let texts = breakers(fields)?;
    let mut breakers = Breakers::default();
    if samplers.has_dry() {
        if samplers.dry_base < 1.0 {
            let message = format!("`dry_base` is {}, expected a number from 1 to 100", samplers.dry_base);
            return Err(ApiError::invalid("dry_base", message));
        }
        let texts = texts.as_deref().unwrap_or(&defaults.dry_sequence_breakers);
        breakers = Breakers::new(texts.iter().flat_map(|text| tokenizer.overlaps(text)));
    }
    samplers.add_to(sampling, Arc::new(breakers));
    sampling.bad_words = bad_words(fields, tokenizer)?;
    Ok(samplers)
}

/// The operator's order, and the samplers that it leaves out and the request asks for, in their place.
fn with_asked(order: &[SamplerKind], asked: &[SamplerKind]) -> Arc<[SamplerKind]> {
    let place = |kind: SamplerKind| SamplerKind::DEFAULT_ORDER.iter().position(|&other| other == kind);
    let mut all = order.to_vec();
    for &kind in asked.iter().filter(|kind| !order.contains(kind)) {
        let at = all.iter().position(|&other| place(other) > place(kind)).unwrap_or(all.len());
        all.insert(at, kind);
    }
    all.into()
}

/// Names of samplers in an array, or letters in a string, as llama.cpp has them.
fn order(fields: &mut Fields) -> Result<Option<Arc<[SamplerKind]>>, ApiError> {
    const NAME: &str = "samplers";
    let names = || SamplerKind::all().map(SamplerKind::name).collect::<Vec<&str>>().join(", ");
    match fields.take(NAME) {
        None => Ok(None),
        Some(Value::String(letters)) => {
            let kinds = letters.chars().map(SamplerKind::of_letter).collect::<Option<_>>();
            let letters_of = || SamplerKind::all().map(SamplerKind::letter).collect::<String>();
            kinds.map(Some).ok_or_else(|| {
                let expected = format!("letters of \"{}\", or an array of names", letters_of());
                expected_at(NAME, &Value::String(letters.clone()), &expected)
            })
        }
        Some(Value::Array(items)) if items.len() <= 4 * SamplerKind::DEFAULT_ORDER.len() => {
            let kind = |(i, item): (usize, &Value)| {
                let kind = item.as_str().and_then(SamplerKind::named);
                let expected = || format!("one of {}", names());
                kind.ok_or_else(|| expected_at(&format!("{NAME}[{i}]"), item, &expected()))
            };
            items.iter().enumerate().map(kind).collect::<Result<_, _>>().map(Some)
        }
        Some(other) => Err(fields.expected(NAME, &other, &format!("an array of some of {}", names()))),
    }
}

/// Off is 0; text-generation-webui has another name for it.
fn mirostat(fields: &mut Fields, defaults: &Defaults) -> Result<Option<Mirostat>, ApiError> {
    let mut version = |name| Ok((name, fields.integer(name, 0..=2)?));
    let version = agreed([version("mirostat")?, version("mirostat_mode")?])?;
    let tau = fields.number("mirostat_tau", 0.0..=100.0)?.unwrap_or(defaults.mirostat_tau);
    let eta = fields.number("mirostat_eta", 0.0..=10.0)?.unwrap_or(defaults.mirostat_eta);
    let version = match version {
        None => defaults.samplers.mirostat.map(|own| own.version),
        Some(0) => None,
        Some(1) => Some(MirostatVersion::One),
        Some(_) => Some(MirostatVersion::Two),
    };
    Ok(version.map(|version| Mirostat { version, tau, eta }))
}

/// An array of texts, or that as a string of JSON with or without its brackets, as text-generation-webui has it.
fn breakers(fields: &mut Fields) -> Result<Option<Vec<String>>, ApiError> {
    const NAME: &str = "dry_sequence_breakers";
    const EXPECTED: &str = "an array of strings";
    let items = match fields.take(NAME) {
        None => return Ok(None),
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) => {
            let text = text.trim();
            let array = if text.starts_with('[') { text.to_owned() } else { format!("[{text}]") };
            let items = serde_json::from_str(&array).ok().filter(|_| array.len() < 4096);
            items.ok_or_else(|| expected_at(NAME, &text.into(), EXPECTED))?
        }
        Some(other) => return Err(fields.expected(NAME, &other, EXPECTED)),
    };
    texts(NAME, items, (BREAKERS, BREAKER_BYTES)).map(Some)
}

/// Words by which a completion may not go on, as vLLM has them.
fn bad_words(fields: &mut Fields, tokenizer: &Tokenizer) -> Result<Arc<[Box<[u32]>]>, ApiError> {
    const NAME: &str = "bad_words";
    let words = match fields.take(NAME) {
        None => return Ok(Arc::default()),
        Some(Value::Array(items)) => texts(NAME, items, (BAD_WORDS, BAD_WORD_BYTES))?,
        Some(other) => return Err(fields.expected(NAME, &other, "an array of strings")),
    };
    let sequences = words.iter().map(|word| tokenizer.word_sequences(word));
    if let Some(i) = sequences.clone().position(|sequences| sequences.is_empty()) {
        let found = Value::String(words[i].clone());
        return Err(expected_at(&format!("{NAME}[{i}]"), &found, "a word with more than spaces"));
    }
    Ok(sequences.flatten().map(Vec::into_boxed_slice).collect())
}

/// Strings of 1 to `most.1` bytes, at most `most.0` of them.
fn texts(name: &str, items: Vec<Value>, most: (usize, usize)) -> Result<Vec<String>, ApiError> {
    if items.len() > most.0 {
        let message = format!("`{name}` has {} strings, expected at most {}", items.len(), most.0);
        return Err(ApiError::invalid(name, message));
    }
    let text = |(i, item): (usize, Value)| match item {
        Value::String(text) if (1..=most.1).contains(&text.len()) => Ok(text),
        other => {
            let expected = format!("a string of 1 to {} bytes", most.1);
            Err(expected_at(&format!("{name}[{i}]"), &other, &expected))
        }
    };
    items.into_iter().enumerate().map(text).collect()
}
