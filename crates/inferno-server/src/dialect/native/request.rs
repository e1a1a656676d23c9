//! Requests in llama-server's words. Parameters of sampling have the same names in all dialects and are read as everywhere.

use std::sync::Arc;
use std::time::Duration;

use inferno_engine::{Distribution, Logprobs, MAX_TOP_LOGPROBS};
use inferno_text::{Special, Tokenizer};
use serde_json::{Map, Value};

use crate::app::App;
use crate::completion::{Completion, Piece, Prompt};
use crate::error::ApiError;
use crate::fields::{Fields, agreed, expected_at};
use crate::infill::{Gap, pieces};
use crate::lines::LineLimits;
use crate::settings::Settings;

/// Fields of an answer that a request may choose.
const RESPONSE_FIELDS: usize = 64;

/// llama-server's number for a seed of the server's own choice.
const RANDOM_SEED: u64 = u32::MAX as u64;

/// Parameters of this dialect alone.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    /// Probabilities of this many tokens; 0 is none.
    pub(super) n_probs: usize,
    /// Probabilities are of the distribution that tokens are drawn from.
    pub(super) post_sampling: bool,
    pub(super) return_tokens: bool,
    /// The slot as the client names it; -1 is any. There are none here.
    pub(super) id_slot: i64,
    /// Paths of the members that are wanted; all if there are none.
    pub(super) response_fields: Vec<String>,
    pub(super) lines: Option<LineLimits>,
    /// For the settings that are shown.
    pub(super) grammar: Option<String>,
    /// For the settings that are shown.
    pub(super) breakers: Option<Vec<String>>,
    gap: Option<Arc<Gap>>,
}

impl Asked {
    /// Parts of the request that were not followed.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.gap.as_ref().and_then(|gap| gap.left_out()).map(str::to_owned).into_iter().collect()
    }
}

/// One of the two routes.
pub(crate) trait Route: Send + Sync + 'static {
    const PATH: &'static str;

    /// Reads the prompts; those of `/infill` are one [`Gap`].
    ///
    /// # Errors
    /// 400: they are malformed. 501: the vocabulary has no tokens for a gap.
    fn prompts(fields: &mut Fields, app: &App, takes_empty: bool) -> Result<Vec<Prompt>, ApiError>;
}

/// `/completion`.
#[derive(Debug)]
pub(crate) struct Plain;

/// `/infill`.
#[derive(Debug)]
pub(crate) struct Infills;

impl Route for Plain {
    const PATH: &'static str = "/completion";

    fn prompts(fields: &mut Fields, app: &App, takes_empty: bool) -> Result<Vec<Prompt>, ApiError> {
        prompts(fields, &app.settings, app.text.tokenizer.vocab_size(), takes_empty)
    }
}

impl Route for Infills {
    const PATH: &'static str = "/infill";

    fn prompts(fields: &mut Fields, app: &App, _takes_empty: bool) -> Result<Vec<Prompt>, ApiError> {
        let gap = Gap::read(fields, &app.text.tokenizer, app.settings.body_bytes)?;
        Ok(vec![Prompt::Gap(Arc::new(gap))])
    }
}

/// Reads a request.
pub(super) fn read<R: Route>(body: Map<String, Value>, app: &App) -> Result<(Completion, Asked), ApiError> {
    let mut fields = Fields::new(body);
    let settings = &*app.settings;
    let mut limit = |name| Ok((name, fields.integer(name, -1..=i64::from(u32::MAX))?));
    let names = [limit("n_predict")?, limit("max_tokens")?, limit("max_completion_tokens")?];
    let default = settings.max_tokens.map_or(-1, |n| n as i64);
    let n_predict = agreed(names)?.unwrap_or(default);
    let n_slots = app.engine.max_sequences() as i64;
    let mut asked = Asked {
        n_probs: fields.count("n_probs", 0..=MAX_TOP_LOGPROBS)?.unwrap_or(0),
        post_sampling: fields.boolean("post_sampling_probs")?.unwrap_or(false),
        return_tokens: fields.boolean("return_tokens")?.unwrap_or(false),
        id_slot: fields.integer("id_slot", -1..=n_slots - 1)?.unwrap_or(-1),
        response_fields: response_fields(&mut fields)?,
        lines: lines(&mut fields)?,
        ..Asked::default()
    };
    fields.boolean("cache_prompt")?;
    fields.set("n_predict", n_predict.into());
    if fields.boolean("echo")?.unwrap_or(false) {
        let message = "`echo` is not a parameter of this route: the answer has the prompt in `prompt`";
        return Err(ApiError::unsupported("echo", message));
    }
    if fields.peek("seed").and_then(Value::as_u64) == Some(RANDOM_SEED) {
        fields.set("seed", (-1).into());
    }
    if fields.peek("stream") != Some(&Value::Bool(true)) {
        // They change nothing of a whole answer, as there.
        fields.boolean("return_progress")?;
        fields.object("stream_options")?;
    }
    asked.grammar = fields.peek("grammar").and_then(Value::as_str).map(str::to_owned);
    asked.breakers = fields.peek("dry_sequence_breakers").and_then(strings);
    drop_empty_stops(&mut fields);
    let biases = logit_bias(&mut fields, settings, &app.text.tokenizer)?;
    let mut completion =
        Completion::from_fields(fields, app, |fields, takes_empty| R::prompts(fields, app, takes_empty))?;
    let options = &mut completion.options;
    options.is_unlimited = n_predict == -1;
    options.ends_with_context = true;
    options.lines = asked.lines;
    options.sampling.logit_bias.extend(biases.0);
    options.sampling.banned.extend(biases.1);
    let of = if asked.post_sampling { Distribution::Filtered } else { Distribution::Raw };
    match options.sampling.logprobs {
        Some(Logprobs { top, .. }) if asked.n_probs == 0 => asked.n_probs = top,
        _ => {}
    }
    options.sampling.logprobs = (asked.n_probs > 0).then_some(Logprobs { top: asked.n_probs, of });
    asked.gap = match &*completion.prompts {
        [Prompt::Gap(gap)] => Some(Arc::clone(gap)),
        _ => None,
    };
    Ok((completion, asked))
}

/// A text, token ids, both in turn, an object with one of these, or several of all that.
fn prompts(
    fields: &mut Fields,
    settings: &Settings,
    vocab_size: usize,
    takes_empty: bool,
) -> Result<Vec<Prompt>, ApiError> {
    const NAME: &str = "prompt";
    const EXPECTED: &str =
        "a string, an array of strings and token ids, an object with `prompt_string`, or an array of those";
    let Some(value) = fields.take(NAME) else {
        return Err(ApiError::missing(NAME, format!("`{NAME}` is missing: {EXPECTED}")));
    };
    let prompt = |path: &str, value: &Value| -> Result<Prompt, ApiError> {
        let value = match value {
            Value::Object(object) => {
                if object.get("multimodal_data").is_some_and(|data| !data.is_null()) {
                    let path = format!("{path}.multimodal_data");
                    let message = format!("`{path}` is not supported: the model reads text only");
                    return Err(ApiError::unsupported(path, message));
                }
                object.get("prompt_string").unwrap_or(&Value::Null)
            }
            value => value,
        };
        let pieces = pieces(path, value, vocab_size)?.ok_or_else(|| expected_at(path, value, EXPECTED))?;
        let is_empty = pieces.iter().all(|piece| matches!(piece, Piece::Text(text) if text.is_empty()));
        if is_empty && (pieces.is_empty() || !takes_empty) {
            let message =
                format!("`{path}` is empty, expected at least one token: there is nothing to go on from");
            return Err(ApiError::invalid(path, message));
        }
        Ok(Prompt::Mixed(pieces))
    };
    // An array with a number is one prompt.
    let items = match &value {
        Value::Array(items) if !items.iter().any(Value::is_number) => items,
        value => return Ok(vec![prompt(NAME, value)?]),
    };
    if !(1..=settings.prompts).contains(&items.len()) {
        let (n, most) = (items.len(), settings.prompts);
        return Err(ApiError::invalid(
            NAME,
            format!("`{NAME}` is an array of {n}, expected 1 to {most} prompts"),
        ));
    }
    items.iter().enumerate().map(|(i, item)| prompt(&format!("{NAME}[{i}]"), item)).collect()
}

fn response_fields(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    const NAME: &str = "response_fields";
    let Some(value) = fields.take(NAME) else { return Ok(Vec::new()) };
    match strings(&value) {
        Some(paths) if paths.len() <= RESPONSE_FIELDS => Ok(paths),
        _ => Err(fields.expected(NAME, &value, &format!("an array of at most {RESPONSE_FIELDS} strings"))),
    }
}

fn strings(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn lines(fields: &mut Fields) -> Result<Option<LineLimits>, ApiError> {
    let n_indent = fields.count("n_indent", 0..=4096)?.unwrap_or(0);
    // llama-server takes it and does nothing with it.
    fields.integer("t_max_prompt_ms", -1..=i64::from(u32::MAX))?;
    let time = fields.integer("t_max_predict_ms", -1..=i64::from(u32::MAX))?.filter(|&ms| ms > 0);
    let time = time.map(|ms| Duration::from_millis(ms as u64));
    Ok((n_indent > 0 || time.is_some()).then_some(LineLimits { n_indent, time }))
}

/// Empty stop strings are none, as there.
fn drop_empty_stops(fields: &mut Fields) {
    if let Some(Value::Array(items)) = fields.peek("stop")
        && items.iter().any(|item| item == "")
    {
        let rest = items.iter().filter(|item| *item != "").cloned().collect();
        fields.set("stop", rest);
    }
}

/// Biases by token id and by text, of which each token gets the bias; tokens with `false` are banned.
#[allow(clippy::type_complexity, reason = "two lists")]
fn logit_bias(
    fields: &mut Fields,
    settings: &Settings,
    tokenizer: &Tokenizer,
) -> Result<(Vec<(u32, f32)>, Vec<u32>), ApiError> {
    const NAME: &str = "logit_bias";
    let (mut biases, mut banned) = (Vec::new(), Vec::new());
    let Some(value) = fields.take(NAME) else { return Ok((biases, banned)) };
    let expected = "an object from token ids or texts to numbers, or an array of such pairs";
    let pairs: Vec<(Value, &Value)> = match &value {
        Value::Object(map) => {
            let key = |name: &String| name.parse::<u64>().map_or_else(|_| name.as_str().into(), Value::from);
            map.iter().map(|(name, bias)| (key(name), bias)).collect()
        }
        Value::Array(items) => {
            let pair = |(i, item): (usize, &'_ Value)| match item.as_array().map(Vec::as_slice) {
                Some([_, _]) => Ok(i),
                _ => Err(expected_at(&format!("{NAME}[{i}]"), item, "a pair of token id or text and bias")),
            };
            items.iter().enumerate().map(pair).collect::<Result<Vec<usize>, _>>()?;
            items.iter().map(|item| (item[0].clone(), &item[1])).collect()
        }
        other => return Err(fields.expected(NAME, other, expected)),
    };
    if pairs.len() > settings.logit_bias {
        let (n, most) = (pairs.len(), settings.logit_bias);
        return Err(ApiError::invalid(NAME, format!("`{NAME}` has {n} entries, expected at most {most}")));
    }
    let vocab_size = tokenizer.vocab_size();
    for (key, bias) in pairs {
        let ids = match &key {
            Value::String(text) if text.len() <= settings.stop_bytes => {
                tokenizer.encode(text, Special::Recognise)
            }
            key => {
                let id = key.as_u64().filter(|&id| id < vocab_size as u64).map(|id| id as u32);
                let expected = || {
                    format!(
                        "token ids from 0 to {} and texts of at most {} bytes",
                        vocab_size - 1,
                        settings.stop_bytes
                    )
                };
                vec![id.ok_or_else(|| expected_at(NAME, key, &expected()))?]
            }
        };
        match bias.as_f64().filter(|bias| (-100.0..=100.0).contains(bias)) {
            Some(bias) => biases.extend(ids.into_iter().map(|id| (id, bias as f32))),
            None if *bias == Value::Bool(false) => banned.extend(ids),
            None => return Err(expected_at(NAME, bias, "numbers from -100 to 100, or false, as biases")),
        }
    }
    Ok((biases, banned))
}
