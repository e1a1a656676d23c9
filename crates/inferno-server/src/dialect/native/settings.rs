//! `generation_settings`: the parameters of an answer under llama-server's names.

use inferno_engine::{SamplerKind, Samplers};
use inferno_model::sample::MirostatVersion;
use serde_json::{Map, Value, json};

use super::Asked;
use crate::app::App;
use crate::options::Options;
use crate::settings::Settings;

/// Settings of an answer to a request with these `options`.
pub(crate) fn generation_settings(app: &App, options: &Options, asked: &Asked) -> Value {
    let sampling = &options.sampling;
    let spec = &sampling.spec;
    let mut all = sampled(&options.samplers);
    let n_predict = options.max_tokens.map_or(-1, |n| n as i64);
    // Tokens that cannot come have no number: JSON has no infinity.
    let ends = sampling.eos_tokens.iter().filter(|_| sampling.ignore_eos);
    let never = sampling.banned.iter().chain(ends).map(|token| json!({ "token": token, "bias": null }));
    let biases = sampling.logit_bias.iter().map(|(token, bias)| json!({ "token": token, "bias": bias }));
    let breakers = (options.samplers.has_dry()).then(|| app.settings.defaults.dry_sequence_breakers.clone());
    let more = json!({
        "seed": spec.seed,
        "temperature": short(spec.temperature),
        "top_k": spec.top_k,
        "top_p": short(spec.top_p),
        "min_p": short(spec.min_p),
        "repeat_penalty": short(sampling.repeat_penalty),
        "repeat_last_n": last_n(sampling.repeat_last_n),
        "presence_penalty": short(sampling.presence_penalty),
        "frequency_penalty": short(sampling.frequency_penalty),
        "dry_sequence_breakers": asked.breakers.clone().or(breakers).unwrap_or_default(),
        "stop": &*options.stop_strings,
        "max_tokens": n_predict,
        "n_predict": n_predict,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": sampling.ignore_eos,
        "stream": options.stream.is_some(),
        "logit_bias": biases.chain(never).collect::<Vec<Value>>(),
        "n_probs": asked.n_probs,
        "grammar": asked.grammar.as_deref().unwrap_or_default(),
        "grammar_lazy": false,
        "grammar_triggers": [],
        "preserved_tokens": [],
        "chat_format": "Content-only",
        "reasoning_format": "none",
        "reasoning_in_content": false,
        "generation_prompt": "",
        "timings_per_token": options.stream.is_some_and(|stream| stream.timings_per_token),
        "post_sampling_probs": asked.post_sampling,
        "n_indent": asked.lines.map_or(0, |lines| lines.n_indent),
        "t_max_predict_ms": asked.lines.and_then(|lines| lines.time).map_or(0, |time| time.as_millis() as u64),
    });
    if let Value::Object(more) = more {
        all.extend(more);
    }
    Value::Object(all)
}

/// `params` of `/props`: the settings of a request that has none.
pub(crate) fn defaults(settings: &Settings) -> Value {
    let defaults = &settings.defaults;
    let n_predict = settings.max_tokens.map_or(-1, |n| n as i64);
    let mut all = sampled(&defaults.samplers);
    let more = json!({
        // The greatest of 32 bits is a new one for each request.
        "seed": settings.seed.unwrap_or(u32::MAX.into()),
        "temperature": short(defaults.temperature),
        "top_k": defaults.top_k,
        "top_p": short(defaults.top_p),
        "min_p": short(defaults.min_p),
        "repeat_penalty": short(defaults.repeat_penalty),
        "repeat_last_n": last_n(defaults.repeat_last_n),
        "presence_penalty": short(defaults.presence_penalty),
        "frequency_penalty": short(defaults.frequency_penalty),
        "dry_sequence_breakers": defaults.dry_sequence_breakers,
        "stop": [],
        "max_tokens": n_predict,
        "n_predict": n_predict,
        "n_keep": 0,
        "n_discard": 0,
        "ignore_eos": false,
        "stream": false,
        "n_probs": 0,
        "chat_format": "Content-only",
        "reasoning_format": "none",
        "reasoning_in_content": false,
        "generation_prompt": "",
        "timings_per_token": false,
        "post_sampling_probs": false,
    });
    if let Value::Object(more) = more {
        all.extend(more);
    }
    Value::Object(all)
}

fn sampled(samplers: &Samplers) -> Map<String, Value> {
    let (version, tau, eta) = match samplers.mirostat {
        Some(on) => (if on.version == MirostatVersion::One { 1 } else { 2 }, on.tau, on.eta),
        None => (0, 5.0, 0.1),
    };
    let order = samplers.order.as_deref().unwrap_or(&SamplerKind::DEFAULT_ORDER);
    let all = json!({
        "dynatemp_range": short(samplers.dynatemp_range),
        "dynatemp_exponent": short(samplers.dynatemp_exponent),
        "top_n_sigma": short(samplers.top_n_sigma),
        "xtc_probability": short(samplers.xtc_probability),
        "xtc_threshold": short(samplers.xtc_threshold),
        "typical_p": short(samplers.typical_p),
        "dry_multiplier": short(samplers.dry_multiplier),
        "dry_base": short(samplers.dry_base),
        "dry_allowed_length": samplers.dry_allowed_length,
        "dry_penalty_last_n": last_n(samplers.dry_last_n),
        "mirostat": version,
        "mirostat_tau": short(tau),
        "mirostat_eta": short(eta),
        "adaptive_target": -1.0,
        "adaptive_decay": 0.9,
        "min_keep": samplers.min_keep,
        "samplers": order.iter().map(|kind| kind.name()).collect::<Vec<&str>>(),
        "speculative.types": "none",
        "backend_sampling": false,
        "lora": [],
    });
    match all {
        Value::Object(all) => all,
        _ => Map::new(),
    }
}

/// -1 is all.
fn last_n(n: Option<usize>) -> i64 {
    n.map_or(-1, |n| n as i64)
}

/// The number that prints as `x` does: 0.6, not 0.6000000238418579.
fn short(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}
