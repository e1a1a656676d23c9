//! Recorded traffic: when requests came, how long they were, and what their prompts shared.
//!
//! * Azure, <https://github.com/Azure/AzurePublicDataset>: CSV, `TIMESTAMP,ContextTokens,GeneratedTokens`
//! * Mooncake, <https://github.com/kvcache-ai/Mooncake>: JSON lines; equal `hash_ids` are equal runs of 512 tokens

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value as Json;

use super::workload::{Arrival, Part};

const AZURE_HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens";
/// Tokens per id in Mooncake's traces.
const MOONCAKE_RUN: usize = 512;

/// How a line is read.
#[derive(Clone, Copy)]
enum Format {
    Azure,
    Mooncake,
}

/// The first `n` requests of a file, by arrival.
pub(super) fn read(path: &Path, n: usize) -> Result<Vec<Arrival>> {
    let name = path.display().to_string();
    let file = File::open(path).with_context(|| format!("cannot open `{name}`"))?;
    parse(&name, BufReader::new(file), n)
}

fn parse(name: &str, text: impl BufRead, n: usize) -> Result<Vec<Arrival>> {
    let mut format = None;
    let mut arrivals: Vec<Arrival> = Vec::new();
    for (i, line) in text.lines().enumerate() {
        if arrivals.len() == n {
            break;
        }
        let here = || format!("{name}:{}", i + 1);
        let line = line.with_context(|| format!("{}: cannot read a line of text", here()))?;
        let line = line.trim_start_matches('\u{feff}').trim();
        if line.is_empty() {
            continue;
        }
        let arrival = match format {
            None if line == AZURE_HEADER => {
                format = Some(Format::Azure);
                continue;
            }
            Some(Format::Azure) => azure(line, arrivals.len()),
            None | Some(Format::Mooncake) if line.starts_with('{') => {
                format = Some(Format::Mooncake);
                mooncake(line)
            }
            None => Err(anyhow!("expected the header `{AZURE_HEADER}`, or an object in JSON")),
            Some(Format::Mooncake) => Err(anyhow!("expected an object in JSON")),
        };
        arrivals.push(arrival.with_context(here)?);
    }
    ensure!(!arrivals.is_empty(), "{name}: there are no requests in it");
    arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
    Ok(arrivals)
}

/// `2023-11-16 18:15:46.6805900,374,44`; no prompt shares anything.
fn azure(line: &str, request_idx: usize) -> Result<Arrival> {
    let fields: Vec<&str> = line.split(',').collect();
    let [time, prompt, completion] = fields[..] else {
        bail!("expected 3 fields, found {}", fields.len());
    };
    let at = seconds(time)
        .with_context(|| format!("expected a time like `2023-11-16 18:15:46.68`, found `{time}`"))?;
    let length = |name: &str, text: &str| {
        let n = text.trim().parse::<u32>().ok().filter(|n| *n > 0);
        n.map(|n| n as usize).with_context(|| format!("expected 1 token or more as {name}, found `{text}`"))
    };
    let part = Part { id: request_idx as u64, end: length("ContextTokens", prompt)? };
    Ok(Arrival { at, parts: vec![part], n_completion: length("GeneratedTokens", completion)? })
}

/// `{"timestamp": 3000, "input_length": 915, "output_length": 355, "hash_ids": [0, 462]}`, milliseconds.
fn mooncake(line: &str) -> Result<Arrival> {
    let json: Json = serde_json::from_str(line).context("expected an object in JSON")?;
    let at = json["timestamp"].as_f64().filter(|t| t.is_finite());
    let length = |key: &str| {
        let n = json[key].as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n > 0);
        n.map(|n| n as usize).with_context(|| format!("expected `{key}` of 1 or more, found {}", json[key]))
    };
    let n_prompt = length("input_length")?;
    let ids = json["hash_ids"].as_array().context("expected `hash_ids` to be a list")?;
    let n_ids = n_prompt.div_ceil(MOONCAKE_RUN);
    ensure!(ids.len() == n_ids, "expected {n_ids} `hash_ids` for {n_prompt} tokens, found {}", ids.len());
    let part = |(i, id): (usize, &Json)| {
        let id = id.as_u64().with_context(|| format!("expected whole numbers in `hash_ids`, found {id}"))?;
        Ok(Part { id, end: n_prompt.min((i + 1) * MOONCAKE_RUN) })
    };
    Ok(Arrival {
        at: at
            .with_context(|| format!("expected milliseconds as `timestamp`, found {}", json["timestamp"]))?
            / 1e3,
        parts: ids.iter().enumerate().map(part).collect::<Result<_>>()?,
        n_completion: length("output_length")?,
    })
}

/// Seconds since 1970 of a time in UTC.
fn seconds(time: &str) -> Option<f64> {
    let time = time.trim();
    let time = time.strip_suffix("+00:00").or_else(|| time.strip_suffix('Z')).unwrap_or(time);
    let (date, clock) = time.split_once([' ', 'T'])?;
    let (date, clock): (Vec<&str>, Vec<&str>) = (date.split('-').collect(), clock.split(':').collect());
    let ([year, month, day], [hour, minute, second]) = (&date[..], &clock[..]) else { return None };
    let whole = |text: &str, most: i64| text.parse::<i64>().ok().filter(|n| (0..=most).contains(n));
    let (month, day) = (whole(month, 12)?, whole(day, 31)?);
    let second = second.parse::<f64>().ok().filter(|s| (0.0..61.0).contains(s))?;
    let days = days_since_1970(whole(year, 9999)?, month, day);
    Some((days * 86_400 + whole(hour, 23)? * 3600 + whole(minute, 59)? * 60) as f64 + second)
}

/// Howard Hinnant's `days_from_civil`: years begin in March, so that a leap day is their last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year_of_era = year - era * 400;
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests;
