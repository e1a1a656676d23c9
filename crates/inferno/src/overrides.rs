//! Metadata of a file replaced from the command line, before anything reads it: llama.cpp's `--override-kv`, `--rope-*` and
//! `--yarn-*`.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use inferno_format::{Gguf, Metadata, Value};

/// Keys and values in place of the file's.
#[derive(Debug, Clone, Default, PartialEq, Args)]
#[command(next_help_heading = "Model metadata")]
pub(crate) struct Overrides {
    /// Replace a value of the file's metadata: KEY=TYPE:VALUE with the types int, float, bool and str, as in
    /// `tokenizer.ggml.add_bos_token=bool:false`; may be repeated, or a list with commas
    #[arg(long, value_name = "KEY=TYPE:VALUE", env = "INFERNO_OVERRIDE_KV", hide_env = true, value_parser = pairs)]
    pub(crate) override_kv: Vec<Pairs>,

    /// RoPE scaling: none, linear or yarn. Default: the file's
    #[arg(long, value_name = "TYPE", env = "INFERNO_ROPE_SCALING", hide_env = true, value_parser = ["none", "linear", "yarn"])]
    pub(crate) rope_scaling: Option<String>,

    /// RoPE scaling factor: how many times longer the context is than the original one. With it `--context` may be that
    /// many times the file's. Default: the file's
    #[arg(long, value_name = "X", env = "INFERNO_ROPE_SCALE", hide_env = true, value_parser = positive, conflicts_with = "rope_freq_scale")]
    pub(crate) rope_scale: Option<f32>,

    /// Base frequency of RoPE. Default: the file's
    #[arg(long, value_name = "X", env = "INFERNO_ROPE_FREQ_BASE", hide_env = true, value_parser = positive)]
    pub(crate) rope_freq_base: Option<f32>,

    /// 1 / `--rope-scale`, as llama.cpp also has it
    #[arg(long, value_name = "X", env = "INFERNO_ROPE_FREQ_SCALE", hide_env = true, value_parser = positive)]
    pub(crate) rope_freq_scale: Option<f32>,

    /// YaRN: context length the model was first trained on. Default: the file's, or its context length
    #[arg(long, value_name = "N", env = "INFERNO_YARN_ORIG_CTX", hide_env = true, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) yarn_orig_ctx: Option<u32>,

    /// YaRN: factor of the attention's magnitude, beside the file's. Default: 1
    #[arg(long, value_name = "X", env = "INFERNO_YARN_ATTN_FACTOR", hide_env = true, value_parser = positive)]
    pub(crate) yarn_attn_factor: Option<f32>,

    /// YaRN: rotations over the original context from which on a frequency is kept. Default: the file's, or 32
    #[arg(long, value_name = "X", env = "INFERNO_YARN_BETA_FAST", hide_env = true, value_parser = positive)]
    pub(crate) yarn_beta_fast: Option<f32>,

    /// YaRN: rotations up to which a frequency is interpolated in full. Default: the file's, or 1
    #[arg(long, value_name = "X", env = "INFERNO_YARN_BETA_SLOW", hide_env = true, value_parser = positive)]
    pub(crate) yarn_beta_slow: Option<f32>,
}

/// Keys and values of one `--override-kv`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pairs(Vec<(String, Value)>);

impl Overrides {
    /// Puts the values into `file`. A `context` beyond the file's own is made its own, as far as the scaling factor given
    /// allows.
    ///
    /// # Errors
    /// A key decides where tensors are, or has a value of another type.
    pub(crate) fn apply(&self, file: &mut Gguf, context: Option<u32>) -> Result<()> {
        let metadata = file.metadata_mut();
        for (key, value) in self.override_kv.iter().flat_map(|pairs| &pairs.0) {
            set(metadata, key, value.clone())
                .with_context(|| format!("`--override-kv {}`", key.escape_debug()))?;
        }
        self.rope(metadata, context)
    }

    fn rope(&self, metadata: &mut Metadata, context: Option<u32>) -> Result<()> {
        let factor = self.rope_scale.or(self.rope_freq_scale.map(|scale| 1.0 / scale));
        let numbers = [
            ("rope.freq_base", self.rope_freq_base),
            ("rope.scaling.factor", factor),
            ("rope.scaling.yarn_beta_fast", self.yarn_beta_fast),
            ("rope.scaling.yarn_beta_slow", self.yarn_beta_slow),
            ("rope.scaling.attn_factor", self.yarn_attn_factor),
        ];
        let is_set = numbers.iter().any(|(_, x)| x.is_some());
        if !is_set && self.rope_scaling.is_none() && self.yarn_orig_ctx.is_none() {
            return Ok(());
        }
        let family = metadata.str("general.architecture").context("`--rope-…` and `--yarn-…`")?.to_owned();
        let key = |name: &str| format!("{family}.{name}");
        let own_context = metadata.opt_u32(&key("context_length"))?;
        let original_key = key("rope.scaling.original_context_length");
        let original = self.yarn_orig_ctx.or(metadata.opt_u32(&original_key)?).or(own_context);
        for (name, x) in numbers {
            let Some(mut x) = x else { continue };
            if name == "rope.scaling.attn_factor" {
                x *= metadata.opt_f32(&key(name))?.unwrap_or(1.0);
            }
            metadata.set(key(name), Value::F32(x));
        }
        if let Some(kind) = &self.rope_scaling {
            metadata.set(key("rope.scaling.type"), Value::String(kind.clone()));
        }
        let is_yarn = metadata.opt_str(&key("rope.scaling.type"))? == Some("yarn");
        if let Some(original) = original.filter(|_| is_yarn) {
            metadata.set(original_key, Value::U32(original));
        }
        let longest =
            factor.zip(own_context).map(|(factor, own)| (f64::from(own) * f64::from(factor)) as u32);
        if let Some(context) = context.filter(|&n| Some(n) > own_context && Some(n) <= longest) {
            metadata.set(key("context_length"), Value::U32(context));
        }
        Ok(())
    }

    /// Tells whether any override is given.
    pub(crate) fn are_given(&self) -> bool {
        *self != Overrides::default()
    }
}

/// Sets `key` to `value`, in the type that it has in the file.
fn set(metadata: &mut Metadata, key: &str, value: Value) -> Result<()> {
    let is_structure = key == "general.alignment" || key.starts_with("split.");
    ensure!(!is_structure, "it says where the file's tensors are, which cannot be changed");
    let value = match (metadata.get(key), value) {
        (None, Value::I64(x)) => u32::try_from(x).map_or(Value::I64(x), Value::U32),
        (None, value) => value,
        (Some(Value::Array(_)), _) => {
            bail!("it is an array in the file, and only single values can be replaced")
        }
        (Some(old), Value::I64(x)) if old.integer().is_some() || matches!(old, Value::U64(_)) => {
            integer_like(old, x)
                .with_context(|| format!("it is {old} in the file, which {x} does not fit"))?
        }
        (Some(old @ (Value::F32(_) | Value::F64(_))), Value::F32(x)) => match old {
            Value::F64(_) => Value::F64(x.into()),
            _ => Value::F32(x),
        },
        (Some(Value::Bool(_)), value @ Value::Bool(_))
        | (Some(Value::String(_)), value @ Value::String(_)) => value,
        (Some(old), _) => bail!("it is {old} in the file, and the type given is another"),
    };
    metadata.set(key, value);
    Ok(())
}

/// `x` in the integer type of `old`.
fn integer_like(old: &Value, x: i64) -> Option<Value> {
    Some(match old {
        Value::U8(_) => Value::U8(x.try_into().ok()?),
        Value::I8(_) => Value::I8(x.try_into().ok()?),
        Value::U16(_) => Value::U16(x.try_into().ok()?),
        Value::I16(_) => Value::I16(x.try_into().ok()?),
        Value::U32(_) => Value::U32(x.try_into().ok()?),
        Value::I32(_) => Value::I32(x.try_into().ok()?),
        Value::U64(_) => Value::U64(x.try_into().ok()?),
        Value::I64(_) => Value::I64(x),
        _ => return None,
    })
}

/// `KEY=TYPE:VALUE`, several of them with commas between. A comma that no such thing follows is part of a value.
fn pairs(text: &str) -> Result<Pairs, String> {
    let mut parts: Vec<String> = Vec::new();
    for part in text.split(',') {
        match parts.last_mut() {
            Some(last) if !begins_pair(part) => *last += &format!(",{part}"),
            _ => parts.push(part.to_owned()),
        }
    }
    parts.iter().map(|part| pair(part)).collect::<Result<_, _>>().map(Pairs)
}

fn begins_pair(text: &str) -> bool {
    let kind = text.split_once('=').and_then(|(_, typed)| typed.split_once(':'));
    kind.is_some_and(|(kind, _)| ["int", "float", "bool", "str"].contains(&kind))
}

fn pair(text: &str) -> Result<(String, Value), String> {
    let expected = "expected KEY=TYPE:VALUE with a TYPE of int, float, bool or str";
    let (key, typed) = text.split_once('=').ok_or(expected)?;
    let (kind, value) = typed.split_once(':').ok_or(expected)?;
    let key = key.trim();
    if key.is_empty() {
        return Err(expected.into());
    }
    let value = match kind {
        "int" => Value::I64(value.parse().map_err(|_| "expected an integer behind `int:`")?),
        "float" => {
            let x = value.parse::<f32>().ok().filter(|x| x.is_finite());
            Value::F32(x.ok_or("expected a finite number behind `float:`")?)
        }
        "bool" => Value::Bool(value.parse().map_err(|_| "expected true or false behind `bool:`")?),
        "str" => Value::String(value.to_owned()),
        _ => return Err(expected.into()),
    };
    Ok((key.to_owned(), value))
}

fn positive(text: &str) -> Result<f32, String> {
    let x = text.parse::<f32>().ok().filter(|x| x.is_finite() && *x > 0.0);
    x.ok_or_else(|| "expected a number above 0".into())
}

#[cfg(test)]
mod tests;
