//! From a path to a model on a device. The one place that chooses a backend, and the one that knows of features.

use std::path::Path;

use anyhow::{Context, Result};
use inferno_format::Gguf;
use inferno_model::architecture::Architecture;
use inferno_model::backend::KvType;
use inferno_model::batch::PAGE_LEN;
use inferno_model::reference::Reference;
use inferno_model::transformer::{KvRoom, Model, Transformer};
use inferno_text::Tokenizer;

/// What keys and values are stored as.
pub(crate) const KV_TYPE: KvType = KvType::F32;

/// A file with what messages call it.
pub(crate) struct Opened {
    pub(crate) name: String,
    pub(crate) file: Gguf,
}

/// Opens the file at `path`, or the model inside the program.
pub(crate) fn open(path: Option<&Path>) -> Result<Opened> {
    match path {
        // The errors of a file name it themselves.
        Some(path) => Ok(Opened { name: path.display().to_string(), file: Gguf::open(path)? }),
        None => built_in(),
    }
}

#[cfg(feature = "ember")]
fn built_in() -> Result<Opened> {
    Ok(Opened { name: crate::ember::NAME.into(), file: crate::ember::open()? })
}

#[cfg(not(feature = "ember"))]
fn built_in() -> Result<Opened> {
    anyhow::bail!("this build has no model inside, name a GGUF file (`-m FILE`)")
}

impl Opened {
    pub(crate) fn tokenizer(&self) -> Result<Tokenizer> {
        Tokenizer::from_metadata(self.file.metadata())
            .with_context(|| format!("cannot use the vocabulary of `{}`", self.name))
    }

    pub(crate) fn architecture(&self, context_len: Option<usize>) -> Result<Architecture> {
        Architecture::read(&self.file, context_len)
            .with_context(|| format!("cannot use `{}` as a model", self.name))
    }

    /// Loads the weights, with room for one sequence of `n_positions`.
    pub(crate) fn model(&self, arch: Architecture, n_positions: usize) -> Result<Box<dyn Model>> {
        let n_pages = vec![n_positions.div_ceil(PAGE_LEN); arch.cache_groups.len()];
        let room = KvRoom { n_pages, kv_type: KV_TYPE };
        let model = Transformer::load(&self.file, arch, Reference::default(), &room)
            .with_context(|| format!("cannot load `{}`", self.name))?;
        Ok(Box::new(model))
    }
}
