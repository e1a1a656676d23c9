//! `inferno synth`: models of true shape with random weights.
//!
//! Weights are N(0, 1/fan_in) for projections, N(0, 0.02²) for the embedding, 1 + N(0, 0.1²) for norms. Each is a
//! function of (seed, tensor name, index), so that files of different types hold the same weights up to rounding. Models of more
//! than 10⁹ weights are random blocks of their type instead, which are made as fast as a disk takes them.

mod blocks;
mod encoding;
mod presets;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail, ensure};
use blocks::Blocks;
pub(super) use encoding::q4_k_m;
use inferno_format::{Array, DType, Gguf, GgufWriter, Metadata, NewTensor, Strings, Value, quantize};
use presets::{Init, Preset, Weight};

use crate::cli::{self, Encoding, ModelFile};
use crate::commands::note;
use crate::{interrupt, load};

/// Numbers made at a time.
const SLAB: usize = 1 << 22;

/// Numbers of a [`filler`], about.
const FILLER: usize = 1 << 18;

/// What decides a file, down to the last byte.
pub(crate) struct Recipe<'a> {
    /// Name of a preset.
    pub(crate) preset: &'a str,
    /// Layers, where they are not all.
    pub(crate) n_layers: Option<usize>,
    pub(crate) encoding: Encoding,
    pub(crate) vocab_from: Option<&'a Path>,
    pub(crate) seed: u64,
    pub(crate) drafting: Option<Drafting>,
}

/// A model for which a part of it can draft, as its other layers hardly change what it says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drafting {
    pub(crate) by: Drafter,
    /// Factor of what the other layers add to the residual stream.
    pub(crate) difference: f32,
}

/// The part of a model that drafts for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Drafter {
    /// Its first layers, as a model of their own.
    FirstLayers(usize),
    /// A draft layer in the same file, which is the last layer with full attention once more.
    OwnLayer,
}

pub(crate) fn synth(args: &cli::Synth) -> Result<ExitCode> {
    let recipe = Recipe {
        preset: &args.preset,
        n_layers: args.layers,
        encoding: args.dtype,
        vocab_from: args.vocab_from.as_deref(),
        seed: args.seed,
        drafting: match (args.draft_layers, args.mtp) {
            (Some(n), _) => Some(Drafter::FirstLayers(n)),
            (None, true) => Some(Drafter::OwnLayer),
            (None, false) => None,
        }
        .map(|by| Drafting { by, difference: args.draft_difference }),
    };
    recipe.check()?;
    ensure!(args.dtype.can_be_written(), "cannot write {}, the types are {}", args.dtype, Encoding::known());
    match std::fs::symlink_metadata(&args.out) {
        Ok(there) if !there.is_file() => bail!("`{}` exists and is not a regular file", args.out.display()),
        Ok(_) if !args.force => bail!("`{}` exists, `--force` replaces it", args.out.display()),
        _ => {}
    }
    interrupt::listen()?;
    let written = recipe.write_to(&args.out);
    if interrupt::requested() && written.is_err() {
        note("stopped, nothing is written");
        return Ok(ExitCode::from(interrupt::EXIT_CODE));
    }
    let n_tensors = written?;
    let n_bytes = std::fs::metadata(&args.out)?.len();
    note(&format!("wrote `{}`: {n_tensors} tensors, {:.1} MB", args.out.display(), n_bytes as f64 / 1e6));
    Ok(ExitCode::SUCCESS)
}

impl Recipe<'_> {
    fn preset(&self) -> Result<Preset> {
        let names = || presets::all().map(|p| p.name).collect::<Vec<_>>().join(", ");
        let preset = *presets::find(self.preset)
            .with_context(|| format!("there is no preset `{}`, the presets are {}", self.preset, names()))?;
        let Some(n) = self.n_layers else { return Ok(preset) };
        let most = preset.n_layers;
        ensure!((1..=most).contains(&n), "`{}` has {most} layers, `--layers` takes 1 to {most}", preset.name);
        Ok(preset.cut(n))
    }

    fn check(&self) -> Result<()> {
        let preset = self.preset()?;
        let Some(Drafting { by, difference }) = self.drafting else { return Ok(()) };
        ensure!(
            difference.is_finite() && difference >= 0.0,
            "`--draft-difference` is a factor of 0 or more, not {difference}"
        );
        ensure!(
            preset.outputs().is_some(),
            "layers of `{}` scale the residual stream: `--draft-layers` and `--mtp` take another preset",
            preset.name
        );
        let most = preset.n_layers - 1;
        match by {
            Drafter::FirstLayers(n) => {
                let range = 1..=most;
                ensure!(
                    range.contains(&n),
                    "of `{}` 1 to {most} layers draft (`--draft-layers`)",
                    preset.name
                );
            }
            Drafter::OwnLayer => ensure!(
                preset.draft_like().is_some(),
                "no layer of `{}` is plain attention to all positions: `--mtp` takes another preset",
                preset.name
            ),
        }
        Ok(())
    }

    /// The factor of a tensor's numbers.
    fn scale(&self, preset: &Preset, name: &str) -> f32 {
        let (Some(drafting), Some(outputs)) = (self.drafting, preset.outputs()) else { return 1.0 };
        let Some((layer, name)) = name.strip_prefix("blk.").and_then(|rest| rest.split_once('.')) else {
            return 1.0;
        };
        let Some(layer) = layer.parse::<usize>().ok().filter(|_| outputs.contains(&name)) else { return 1.0 };
        let drafts = match drafting.by {
            Drafter::FirstLayers(n) => 0..n,
            Drafter::OwnLayer => preset.draft_like().map_or(0..0, |like| like..like + 1),
        };
        match layer {
            _ if drafts.contains(&layer) => 1.0,
            // There the residual stream is an embedding and little else.
            _ if layer < drafts.start => drafting.difference * Init::Embedding.moments().1,
            _ => drafting.difference,
        }
    }

    /// The tensors of the draft layer, if it is asked for.
    fn draft_layer(&self, preset: &Preset) -> Vec<Weight> {
        match self.drafting {
            Some(Drafting { by: Drafter::OwnLayer, .. }) => preset.draft_layer(),
            _ => Vec::new(),
        }
    }

    /// Writes the file, or nothing: until it is whole it has a name that nobody else uses. Gives the number of
    /// tensors; an error if Ctrl-C was pressed.
    pub(crate) fn write_to(&self, out: &Path) -> Result<usize> {
        let preset = self.preset()?;
        let vocabulary = vocabulary(&preset, self.vocab_from)?;
        let vocab_size = vocabulary.opt_strings(TOKENS)?.map_or(0, Strings::len);
        let mut metadata = preset.metadata(vocab_size);
        let draft_layer = self.draft_layer(&preset);
        if !draft_layer.is_empty() {
            preset.add_draft_layer(&mut metadata);
        }
        let cut = self.n_layers.map(|n| format!(" cut to {n} layers")).unwrap_or_default();
        let name = format!("{}{cut} with random weights, seed {}", preset.name, self.seed);
        metadata.set("general.name", Value::String(name));
        metadata.set("general.file_type", Value::U32(self.encoding.file_type()));
        vocabulary.iter().for_each(|(key, value)| metadata.set(key, value.clone()));
        let weights: Vec<(Weight, DType)> = preset
            .weights(vocab_size)
            .into_iter()
            .map(|mut w| {
                w.scale = self.scale(&preset, &w.name);
                w
            })
            .chain(draft_layer)
            .map(|w| {
                let dtype = self.encoding.of(&w, &preset);
                (w, dtype)
            })
            .collect();

        let part = PathBuf::from(format!("{}.{}.part", out.display(), std::process::id()));
        let file = File::create_new(&part).with_context(|| format!("cannot write `{}`", part.display()))?;
        let how = How { seed: self.seed, blocks: presets::find(self.preset).is_some_and(Preset::is_large) };
        let written = write(file, &metadata, &weights, how)
            .and_then(|()| std::fs::rename(&part, out).context("cannot rename it"));
        if written.is_err() {
            // What is left of it is of no use; that it cannot be removed is the lesser trouble.
            let _ = std::fs::remove_file(&part);
        }
        written.with_context(|| format!("cannot write `{}`", out.display()))?;
        Ok(weights.len())
    }
}

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// The `tokenizer.` keys of another file. Those of the model inside the program are filled up with unused tokens to
/// the preset's size.
fn vocabulary(preset: &Preset, from: Option<&Path>) -> Result<Metadata> {
    let model = ModelFile { model: from.map(Path::to_owned), ..ModelFile::default() };
    let source =
        load::open(&model).context("a vocabulary is needed, `--vocab-from` names a model that has one")?;
    let mut vocabulary = Metadata::default();
    let keys = source.file.metadata().iter().filter(|(key, _)| key.starts_with("tokenizer."));
    keys.for_each(|(key, value)| vocabulary.set(key, value.clone()));
    let Some(tokens) = vocabulary.opt_strings(TOKENS)? else { bail!("`{}` has no vocabulary", source.name) };
    let missing = preset.vocab_size.saturating_sub(tokens.len());
    if from.is_some() || missing == 0 {
        return Ok(vocabulary);
    }
    const UNUSED: i32 = 5;
    let mut tokens = tokens.clone();
    (tokens.len()..preset.vocab_size).for_each(|i| tokens.push(&format!("[PAD{i}]")));
    vocabulary.set(TOKENS, Value::Array(Array::String(tokens)));
    if let Some(Value::Array(Array::I32(types))) = vocabulary.get(TYPES) {
        let types = types.iter().copied().chain(std::iter::repeat_n(UNUSED, missing)).collect();
        vocabulary.set(TYPES, Value::Array(Array::I32(types)));
    }
    if let Some(scores) = vocabulary.opt_f32s(SCORES)? {
        let scores = scores.iter().copied().chain(std::iter::repeat_n(f32::MIN, missing)).collect();
        vocabulary.set(SCORES, Value::Array(Array::F32(scores)));
    }
    Ok(vocabulary)
}

/// Source of the numbers.
#[derive(Clone, Copy)]
struct How {
    seed: u64,
    /// Matrices are random blocks.
    blocks: bool,
}

fn write(file: File, metadata: &Metadata, weights: &[(Weight, DType)], how: How) -> Result<()> {
    let tensors: Vec<NewTensor> = weights
        .iter()
        .map(|(w, dtype)| NewTensor { name: w.name.clone(), dtype: *dtype, dims: w.dims.clone() })
        .collect();
    let mut writer = GgufWriter::new(BufWriter::with_capacity(1 << 20, file), metadata, &tensors)?;
    for (w, dtype) in weights {
        let n: usize = w.dims.iter().product();
        // Whole rows, so that no block is cut.
        let slab = SLAB.next_multiple_of(w.dims[0]);
        for start in (0..n).step_by(slab) {
            ensure!(!interrupt::requested(), "interrupted");
            for bytes in encode(w, how, *dtype, start..n.min(start + slab))? {
                writer.append(&w.name, &bytes)?;
            }
        }
    }
    writer.finish()?.flush()?;
    Ok(())
}

/// The numbers `range` of a tensor, made and encoded on all cores.
fn encode(w: &Weight, how: How, dtype: DType, range: std::ops::Range<usize>) -> Result<Vec<Vec<u8>>> {
    let n_threads = std::thread::available_parallelism().map_or(1, usize::from);
    let rows = range.len() / w.dims[0];
    let part = rows.div_ceil(n_threads) * w.dims[0];
    // No floats are encoded as MXFP4.
    let as_blocks = w.init.is_random_matrix() && (how.blocks || dtype == DType::MXFP4);
    let (mean, deviation) = w.init.moments();
    let (mean, deviation) = (mean * w.scale, deviation * w.scale);
    let blocks = Blocks { dtype, mean, deviation, key: presets::key(how.seed, w.like()) };
    let numbers = |range, n| {
        let mut numbers = w.init.numbers(how.seed, w.like(), range, n);
        numbers.iter_mut().for_each(|x| *x *= w.scale);
        numbers
    };
    let numbers = &numbers;
    let n: usize = w.dims.iter().product();
    std::thread::scope(|scope| {
        let workers = range.clone().step_by(part).map(|from| {
            let to = range.end.min(from + part);
            scope.spawn(move || match as_blocks {
                true => blocks.bytes(from / dtype.block_len()..to / dtype.block_len()),
                false => Ok(quantize(dtype, &numbers(from..to, n))?),
            })
        });
        let workers: Vec<_> = workers.collect();
        workers.into_iter().map(|w| w.join().expect("quantizing does not panic")).collect()
    })
}

/// A preset's model without its weights; `None` if no preset has that name.
pub(in crate::commands) fn outline(preset: &str, encoding: Encoding) -> Result<Option<Gguf>> {
    let Some(preset) = presets::find(preset) else { return Ok(None) };
    // Divisors of frequencies are a part of the shape.
    let is_read = |w: &Weight| w.name.starts_with("rope_");
    let mut weights = preset.weights(preset.vocab_size);
    weights.sort_by_key(|w| !is_read(w));
    let numbers = |w: &Weight| w.init.numbers(1, &w.name, 0..w.dims[0], w.dims[0]);
    let first = weights.iter().take_while(|w| is_read(w)).map(|w| quantize(DType::F32, &numbers(w)));
    let first = first.collect::<Result<Vec<_>, _>>()?;
    let tensors: Vec<NewTensor> = weights
        .into_iter()
        .map(|w| NewTensor { dtype: encoding.of(&w, preset), name: w.name, dims: w.dims })
        .collect();
    Ok(Some(inferno_format::outline(&preset.metadata(preset.vocab_size), &tensors, &first)?))
}

/// Bytes of random weights for a tensor, whole rows to be repeated as often as it takes: steps take as long with them as with
/// any others, and nothing overflows.
pub(in crate::commands) fn filler(tensor: &NewTensor) -> Result<Vec<u8>> {
    let [width, ref rest @ ..] = tensor.dims[..] else { bail!("tensor `{}` has no dimensions", tensor.name) };
    let n_rows: usize = rest.iter().product();
    // Experts whose rows of the router are equal would be chosen together.
    let is_router = tensor.name.contains("ffn_gate_inp");
    let n = width * if is_router { n_rows } else { n_rows.min((FILLER / width).max(1)) };
    let dtype = tensor.dtype;
    if tensor.name.ends_with("ssm_a") {
        // A state decays.
        return Ok(quantize(dtype, &vec![-1.0; n])?);
    }
    if n_rows == 1 || tensor.name.ends_with(".scale") {
        let number = if tensor.name.ends_with(".bias") { 0.0 } else { 1.0 };
        return Ok(quantize(dtype, &vec![number; n])?);
    }
    let deviation = (width as f32).sqrt().recip();
    let blocks = Blocks { dtype, mean: 0.0, deviation, key: presets::key(1, &tensor.name) };
    blocks.any(n / dtype.block_len())
}
