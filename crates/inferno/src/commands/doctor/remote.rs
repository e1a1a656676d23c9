//! The quants of a repository of the hub, before any is downloaded: sizes from its list of files, the shape from the header of one.

use std::io::Read;

use anyhow::{Context, Result, bail};
use inferno_format::{DType, Gguf, Metadata, NewTensor, TensorEntry, Value, outline};
use inferno_hub::{CachedModel, Catalog, Hub, HubError, Listing, ModelName, RemoteModel};

use super::known::{Candidate, encoding};
use crate::cli::Encoding;
use crate::commands::synth::q4_k_m;
use crate::commands::{bytes, note};
use crate::hub::{room, settings};
use crate::load::{self, Opened};

/// Bytes that are read of a header at first, and at most. Vocabularies of 260,000 tokens take 16 MB.
const FIRST: u64 = 1 << 20;
const MOST: u64 = 64 << 20;

/// The models that `name` means, which is a repository or a short name, with or without a quant.
///
/// # Errors
/// The repository cannot be read, or has no such quant.
pub(super) fn candidates(name: &ModelName) -> Result<Vec<Candidate>> {
    let (found, notes) = look_up(&Hub::new(settings(false))?, name)?;
    notes.iter().for_each(|text| note(text));
    Ok(found)
}

/// The candidates, and notes on where their shapes are from.
fn look_up(hub: &Hub, name: &ModelName) -> Result<(Vec<Candidate>, Vec<String>)> {
    let (repo, tag) = Hub::repository(name)?;
    let here = hub.cache().models(&repo);
    let listing = match hub.listing(name) {
        Ok(listing) => listing,
        Err(HubError::Offline { .. }) if !here.is_empty() => {
            return Ok((of_cache(&hub.in_cache(name)?.1)?, Vec::new()));
        }
        Err(e) => return Err(e.into()),
    };
    let quants = || listing.models.iter().map(RemoteModel::quant).collect::<Vec<_>>().join(", ");
    if listing.models.is_empty() {
        bail!("{repo} has no GGUF file");
    }
    let main = match &tag {
        Some(tag) => Hub::tagged(&listing.models, tag)
            .with_context(|| format!("{repo} has no quant `{tag}`: it has {}", quants()))?,
        None => Hub::default_of(name, &listing.models, room()).unwrap_or(&listing.models[0]),
    };
    let shape = match here.iter().find(|model| model.files[0].name == main.name()) {
        Some(cached) => load::open_file(&cached.files[0].path).map(|opened| (opened.file, None)),
        None => header(hub, &listing, main).map(|(file, n_read)| (file, Some(n_read))),
    };
    let (shape, source) = match shape {
        Ok((file, n_read)) => {
            let n_read = n_read.map_or("in the cache".into(), |n| format!("{} of it read", bytes(n)));
            (Some(file), format!("{repo}: the shape is that of `{}`, {n_read}", main.name()))
        }
        Err(why) => (
            None,
            format!("{repo}: forecast from the sizes of its files alone, as no header can be read: {why:#}"),
        ),
    };
    let wanted: Vec<&RemoteModel> = match tag {
        Some(_) => vec![main],
        None => listing.models.iter().collect(),
    };
    let short = match name {
        ModelName::Alias { name, .. } => Catalog::get().find(name).ok().map(|(model, _)| &model.alias[0]),
        _ => None,
    };
    let named = |quant: &str| match short {
        Some(short) => format!("{short}-{}", quant.to_ascii_lowercase()),
        None => format!("{repo}:{quant}"),
    };
    let (found, left_out) = of_models(named, &wanted, main, shape.as_ref())?;
    let left_out = (!left_out.is_empty())
        .then(|| format!("{repo}: left out are {}, whose types are not supported", left_out.join(", ")));
    if found.is_empty() {
        bail!("{repo} has no quant of a supported type: it has {}", quants());
    }
    Ok((found, [source].into_iter().chain(left_out).collect()))
}

/// Models that are here.
fn of_cache(models: &[CachedModel]) -> Result<Vec<Candidate>> {
    let one = |model: &CachedModel| {
        let opened = load::open_file(&model.files[0].path)?;
        let (name, quant) = (model.name().to_string(), model.remote().quant());
        Ok(Candidate { name, quant, file_bytes: model.size(), shape: Some(opened) })
    };
    models.iter().map(one).collect()
}

/// The model of a header, and the bytes that were read for it.
fn header(hub: &Hub, listing: &Listing, model: &RemoteModel) -> Result<(Gguf, u64)> {
    let mut headers: Vec<(Vec<u8>, u64)> = Vec::new();
    for part in &model.parts {
        let mut reader = hub.beginning(listing, part, MOST.min(part.size))?;
        headers.push((Vec::new(), part.size));
        let mut wanted = FIRST;
        loop {
            let (bytes, len) = headers.last_mut().context("a header was begun")?;
            reader.by_ref().take(wanted - bytes.len() as u64).read_to_end(bytes)?;
            match Gguf::check_header(bytes.clone(), *len) {
                Ok(()) => break,
                Err(_) if bytes.len() as u64 == wanted && wanted < MOST => wanted *= 2,
                Err(e) => return Err(e.into()),
            }
        }
    }
    let n_read = headers.iter().map(|(bytes, _)| bytes.len() as u64).sum();
    Ok((Gguf::from_headers(headers)?, n_read))
}

/// A candidate for each of `models`, whose shape is that of `main`; and the quants of types that are not supported.
fn of_models(
    named: impl Fn(&str) -> String,
    models: &[&RemoteModel],
    main: &RemoteModel,
    shape: Option<&Gguf>,
) -> Result<(Vec<Candidate>, Vec<String>)> {
    let main_quant = main.quant();
    let mut left_out = Vec::new();
    let mut found = Vec::new();
    for model in models {
        let quant = model.quant();
        let name = named(&quant);
        let encoding = encoding(&quant);
        if encoding.is_none() && is_type(&quant) {
            left_out.push(quant);
            continue;
        }
        let opened = match shape {
            Some(file) if quant == main_quant => Some(retyped(file, None)?),
            Some(file) if encoding.is_some() => Some(retyped(file, encoding)?),
            _ => None,
        };
        let shape = opened.map(|file| Opened::without_path(name.clone(), file));
        found.push(Candidate { name, quant, file_bytes: model.size(), shape });
    }
    Ok((found, left_out))
}

/// Whether a quant is the name of a type, and not only of a file.
fn is_type(quant: &str) -> bool {
    let upper = quant.to_ascii_uppercase();
    let name = upper.strip_prefix("UD-").unwrap_or(&upper).trim_start_matches(['I', 'T']);
    name.strip_prefix('Q').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// `file` without its texts, its matrices in the types of `encoding`, or in their own.
fn retyped(file: &Gguf, encoding: Option<Encoding>) -> Result<Gguf> {
    let mut metadata = Metadata::default();
    for (key, value) in file.metadata().iter() {
        // Texts are not needed, and nothing of the file's division is true of an outline.
        if !["tokenizer.", "split.", "general.alignment"].iter().any(|prefix| key.starts_with(prefix)) {
            metadata.set(key, value.clone());
        }
    }
    let embedding = file.tensor("token_embd.weight").map(TensorEntry::n_rows);
    if let (Ok(Some(family)), Some(n)) = (file.metadata().opt_str("general.architecture"), embedding) {
        metadata.set(format!("{family}.vocab_size"), Value::U32(u32::try_from(n)?));
    }
    let is_tied = file.tensor("output.weight").is_none();
    let layers =
        file.tensors().iter().filter_map(|t| t.name.strip_prefix("blk.")?.split('.').next()?.parse().ok());
    let n_layers = layers.max().map_or(0, |last: usize| last + 1);
    let tensors = file.tensors().iter().map(|t| {
        let asked = match encoding {
            // What a quantizer leaves alone: vectors, routers and other small tables in F32, experts in MXFP4.
            _ if t.n_rows() < 2 || matches!(t.dtype, DType::F32 | DType::MXFP4) => t.dtype,
            None => t.dtype,
            Some(Encoding::One(dtype)) => dtype,
            Some(Encoding::Q4KM) => q4_k_m(&t.name, is_tied, n_layers),
        };
        let fits = |dtype: &DType| t.row_len().is_multiple_of(dtype.block_len());
        let dtype = [asked, DType::Q8_0].into_iter().find(fits).unwrap_or(DType::F16);
        NewTensor { name: t.name.clone(), dtype, dims: t.dims.clone() }
    });
    Ok(outline(&metadata, &tensors.collect::<Vec<_>>(), &[])?)
}

#[cfg(test)]
mod tests;
