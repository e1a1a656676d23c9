//! Models that can be asked about by name, with shapes for a forecast: files, well-known models, repositories, presets of `synth`.

use std::path::Path;

use anyhow::{Result, bail};
use inferno_format::DType;
use inferno_hub::{Catalog, CatalogModel, HubError, ModelName};
use inferno_model::architecture::Architecture;

use super::remote;
use crate::cli::Encoding;
use crate::commands::{note, synth};
use crate::hub::settings;
use crate::load::{self, Opened};

/// A file that a forecast is about, on this machine or not.
pub(super) struct Candidate {
    /// As it is asked for.
    pub(super) name: String,
    /// `Q4_K_M` and so on; the types of matrices in a file.
    pub(super) quant: String,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
    /// The model without its weights; `None` if only its size is known.
    pub(super) shape: Option<Opened>,
}

/// A well-known model.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// `qwen3:4b` and so on.
    pub(super) name: &'static str,
    /// The quant of the bare name.
    pub(super) default_quant: &'static str,
    /// Quants that it is published in, the default one first, with the bytes of their files where they are known.
    pub(super) files: Vec<(&'static str, Option<u64>)>,
}

/// Presets of `synth` by the names of well-known models that have their shape.
const SHAPES: &[(&str, &str)] = &[
    ("qwen3:0.6b", "qwen3-0.6b"),
    ("qwen3:1.7b", "qwen3-1.7b"),
    ("qwen3:4b", "qwen3-4b"),
    ("qwen3:4b-instruct", "qwen3-4b"),
    ("qwen3:8b", "qwen3-8b"),
    ("qwen3:14b", "qwen3-14b"),
    ("qwen3:30b-a3b", "qwen3-30b-a3b"),
    ("qwen3:30b-a3b-instruct-2507-q4_K_M", "qwen3-30b-a3b"),
    ("qwen3-coder:30b", "qwen3-30b-a3b"),
    ("qwen3.5:4b", "qwen3.5-4b"),
    ("qwen3.5:35b-a3b", "qwen3.6-35b-a3b"),
    ("qwen3.6:35b-a3b", "qwen3.6-35b-a3b"),
    ("gpt-oss:20b", "gpt-oss-20b"),
    ("gpt-oss:120b", "gpt-oss-120b"),
    ("gemma3:270m", "gemma-3-270m"),
    ("gemma3:1b", "gemma-3-1b"),
    ("gemma3:4b", "gemma-3-4b"),
    ("gemma3:12b", "gemma-3-12b"),
    ("gemma3:27b", "gemma-3-27b"),
    ("gemma4:e2b", "gemma-4-e2b"),
    ("gemma4:e4b", "gemma-4-e4b"),
    ("gemma4:26b", "gemma-4-26b-a4b"),
    ("gemma4:31b", "gemma-4-31b"),
    ("llama3.2:1b", "llama-3.2-1b"),
    ("llama3.2:3b", "llama-3.2-3b"),
    ("llama3.1:8b", "llama-3.1-8b"),
    ("mistral:7b", "mistral-7b"),
    ("mistral-small3.2:24b", "mistral-small-3.2-24b"),
    ("ministral-3:3b", "ministral-3-3b"),
    ("ministral-3:8b", "ministral-3-8b"),
    ("ministral-3:14b", "ministral-3-14b"),
    ("phi4-mini:3.8b", "phi-4-mini"),
    ("phi4:14b", "phi-4"),
    ("deepseek-r1:1.5b", "deepseek-r1-1.5b"),
    ("deepseek-r1:7b", "qwen2.5-7b"),
    ("deepseek-r1:8b-llama-distill-q4_K_M", "llama-3.1-8b"),
    ("deepseek-r1:8b", "qwen3-8b"),
    ("glm-4.7-flash", "glm-4.7-flash"),
    ("smollm2:1.7b", "smollm2-1.7b"),
    ("smollm2:360m", "smollm2-360m"),
    ("smollm2:135m", "smollm2-135m"),
    ("smollm3:3b", "smollm3-3b"),
];

/// Well-known models that answer prompts and whose family is supported.
pub(super) fn known() -> Vec<Known> {
    let models = Catalog::get().models.iter();
    models.filter(|model| refusal(model).is_none()).map(Known::of).collect()
}

/// The reason why a model of the catalog cannot be run, if there is one.
fn refusal(model: &CatalogModel) -> Option<String> {
    if model.kind.is_some() {
        return Some("it makes embeddings and answers no prompts".into());
    }
    (!Architecture::knows(&model.arch)).then(|| format!("its family `{}` is not supported yet", model.arch))
}

/// The meaning of `model`: one file, or each quant of a well-known model, a repository or a preset.
///
/// # Errors
/// It is no file that can be read and no name that is known.
pub(super) fn candidates(model: &str) -> Result<Vec<Candidate>> {
    if Path::new(model).exists() {
        return Ok(vec![Candidate::of_file(model)?]);
    }
    match settings(false).name(model) {
        Ok(name @ ModelName::Repo { .. }) => return remote::candidates(&name),
        Err(e) if model.contains('/') => return Err(e.into()),
        _ if model.to_ascii_lowercase().ends_with(".gguf") => return Ok(vec![Candidate::of_file(model)?]),
        _ => {}
    }
    let (preset, quant) = match model.rsplit_once(':') {
        Some((preset, quant)) => (preset, Some(quant)),
        None => (model, None),
    };
    // The end of a preset's name may look like a quant: `qwen3-4b`.
    let is_preset = synth::outline(preset, Encoding::Q4KM)?.is_some();
    if let Ok((found, quant)) = Catalog::get().find(model)
        && (quant.is_none() || !is_preset)
    {
        if let Some(why) = refusal(found) {
            bail!("`{model}` cannot be run: {why}");
        }
        let known = Known::of(found);
        if known.preset().is_none() {
            match remote::candidates(&settings(false).name(model)?) {
                Ok(found) => return Ok(found),
                Err(e) if matches!(e.downcast_ref(), Some(HubError::Offline { .. })) => {}
                Err(e) => note(&format!("`{model}` is forecast from the sizes of its files alone: {e:#}")),
            }
        }
        return known.candidates(quant);
    }
    let mut found = Vec::new();
    for quant in quant.map_or(vec!["Q4_K_M", "Q8_0"], |quant| vec![quant]) {
        let Some(encoding) = encoding(quant) else { bail!("`{model}`: no quant `{quant}` is known") };
        let Some(file) = synth::outline(preset, encoding)? else {
            bail!(
                "`{model}` is not a GGUF file here and no name that is known; `inferno doctor` alone lists well-known models, \
                 and `inferno synth --help` shapes"
            );
        };
        found.push(Candidate::of_shape(model.into(), quant.to_ascii_uppercase(), None, file));
    }
    Ok(found)
}

impl Known {
    fn of(model: &'static CatalogModel) -> Known {
        let mut files: Vec<(&str, Option<u64>)> = Vec::new();
        let is_plain = |quant: &str| !quant.starts_with("UD-") || quant == model.default_quant;
        for file in model.files.iter().chain(&model.alt).filter(|file| is_plain(&file.quant)) {
            match files.iter_mut().find(|(quant, _)| *quant == file.quant) {
                Some((_, bytes)) => *bytes = bytes.or(file.size),
                None => files.push((&file.quant, file.size)),
            }
        }
        files.sort_by_key(|(quant, _)| *quant != model.default_quant);
        Known { name: &model.alias[0], default_quant: &model.default_quant, files }
    }

    /// The preset that has its shape.
    pub(super) fn preset(&self) -> Option<&'static str> {
        SHAPES.iter().find(|(name, _)| *name == self.name).map(|(_, preset)| *preset)
    }

    /// Its file in one quant.
    pub(super) fn candidate(&self, quant: &str, bytes: Option<u64>) -> Result<Option<Candidate>> {
        let shape = match (self.preset(), encoding(quant)) {
            (Some(preset), Some(encoding)) => synth::outline(preset, encoding)?,
            _ => None,
        };
        let name = match quant == self.default_quant {
            true => self.name.to_owned(),
            false => format!("{}-{}", self.name, quant.to_ascii_lowercase()),
        };
        Ok(match (shape, bytes) {
            (Some(file), bytes) => Some(Candidate::of_shape(name, quant.into(), bytes, file)),
            (None, Some(file_bytes)) => {
                Some(Candidate { name, quant: quant.into(), file_bytes, shape: None })
            }
            (None, None) => None,
        })
    }

    /// Its files, or those in one quant.
    fn candidates(&self, quant: Option<&str>) -> Result<Vec<Candidate>> {
        let mut found = Vec::new();
        for &(file, bytes) in &self.files {
            if quant.is_none_or(|quant| quant.eq_ignore_ascii_case(file)) {
                found.extend(self.candidate(file, bytes)?);
            }
        }
        if found.is_empty() {
            let quants: Vec<&str> = self.files.iter().map(|(quant, _)| *quant).collect();
            bail!(
                "`{}` has no known file in `{}`, but in {}",
                self.name,
                quant.unwrap_or("any quant"),
                quants.join(", ")
            );
        }
        Ok(found)
    }
}

impl Candidate {
    fn of_file(path: &str) -> Result<Candidate> {
        let opened = load::open_file(Path::new(path))?;
        let quant = opened.size().1.to_owned();
        Ok(Candidate { name: path.into(), quant, file_bytes: opened.file.file_bytes(), shape: Some(opened) })
    }

    fn of_shape(name: String, quant: String, bytes: Option<u64>, file: inferno_format::Gguf) -> Candidate {
        let file_bytes = bytes.unwrap_or(file.file_bytes());
        let shape = Some(Opened::without_path(name.clone(), file));
        Candidate { name, quant, file_bytes, shape }
    }
}

/// Types of matrices by the name of a quant; `None` if they are not supported. Mixtures that are not known in detail count as the
/// nearest one.
pub(super) fn encoding(quant: &str) -> Option<Encoding> {
    let quant = quant.to_ascii_uppercase();
    Some(match quant.strip_prefix("UD-").unwrap_or(&quant) {
        "Q4_K_M" | "Q4_K_XL" | "Q4_K_L" => Encoding::Q4KM,
        "Q4_K_S" => Encoding::One(DType::Q4_K),
        "Q5_K_M" | "Q5_K_S" | "Q5_K_XL" => Encoding::One(DType::Q5_K),
        // Mixtures, most of whose matrices are of these types.
        "IQ2_M" => Encoding::One(DType::IQ2_S),
        "IQ3_XS" | "IQ3_M" => Encoding::One(DType::IQ3_S),
        // Experts are MXFP4 whatever the others are, which files of that name have in Q8_0.
        "Q8_K_XL" | "MXFP4" => Encoding::One(DType::Q8_0),
        name => {
            let sizes = ["_S", "_M", "_L", "_XL"];
            let base = sizes.into_iter().find_map(|size| name.strip_suffix(size)).unwrap_or(name);
            let dtype: DType = name.parse().or_else(|_| base.parse()).ok()?;
            Encoding::One(Some(dtype).filter(|dtype| dtype.can_dequantize())?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shape_is_a_preset() {
        for (name, preset) in SHAPES {
            assert!(synth::outline(preset, Encoding::Q4KM).unwrap().is_some(), "{name}: {preset}");
        }
    }

    #[test]
    fn names_have_quants_and_shapes_near_the_sizes_of_published_files() {
        let named = |name| {
            let found = candidates(name).unwrap();
            found.into_iter().map(|c| (c.name, c.quant)).collect::<Vec<_>>()
        };
        let expected = [("qwen3:4b", "Q4_K_M"), ("qwen3:4b-q5_k_m", "Q5_K_M"), ("qwen3:4b-q8_0", "Q8_0")];
        assert_eq!(named("QWEN3:4b"), expected.map(|(name, quant)| (name.to_owned(), quant.to_owned())));
        assert_eq!(named("qwen3-4b:q6_k"), [("qwen3-4b:q6_k".to_owned(), "Q6_K".to_owned())]);
        assert_eq!(named("gpt-oss")[0], ("gpt-oss:20b".to_owned(), "MXFP4".to_owned()));
        assert_eq!(named("qwen3:4b-Q8_0"), [("qwen3:4b-q8_0".to_owned(), "Q8_0".to_owned())]);
        for known in known().into_iter().filter(|known| known.name.starts_with("qwen3")) {
            for &(quant, bytes) in &known.files {
                let candidate = known.candidate(quant, bytes).unwrap();
                let Some((shape, bytes)) = candidate.and_then(|c| Some((c.shape?, bytes?))) else { continue };
                let off = shape.file.file_bytes() as f64 / bytes as f64 - 1.0;
                assert!(off.abs() < 0.08, "{} {quant}: {:.1} % off", known.name, 100.0 * off);
            }
        }
    }

    #[test]
    fn what_is_no_model_is_refused_with_what_to_do() {
        let refused = |name| candidates(name).err().unwrap().to_string();
        assert!(refused("no-such-model").contains("`inferno doctor` alone lists"));
        assert!(refused("qwen3:4b-q2_k").contains("but in Q4_K_M"), "{}", refused("qwen3:4b-q2_k"));
        assert!(refused("bge-m3").contains("embeddings"), "{}", refused("bge-m3"));
    }
}
