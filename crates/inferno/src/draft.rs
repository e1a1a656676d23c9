//! A draft model beside the model: `--draft`.

use anyhow::{Context, Result, bail, ensure};
use inferno_model::architecture::Architecture;
use inferno_model::drafted::{Drafted, group_of};
use inferno_model::model::Model;

use crate::cli::{DraftModel, ModelFile};
use crate::hub::CtrlC;
use crate::kv_memory::{DraftPages, KvSpace};
use crate::load::{self, Compute, Opened, Target};

/// A draft model that goes with a model, before its weights are loaded.
pub(crate) struct Draft {
    opened: Opened,
    arch: Architecture,
    target: Target,
    /// The cache group of the model by whose pages it stores keys and values.
    group: usize,
}

/// The value of `--draft` that means a model's own draft layers.
const OWN_LAYERS: &str = "mtp";

impl Draft {
    /// Opens the draft model for a model; `None` if none is asked for. `file` says where models may come from.
    ///
    /// # Errors
    /// There is no such model, or the two do not go together.
    pub(crate) fn open(
        asked: &DraftModel,
        file: &ModelFile,
        compute: &Compute,
        ctrl_c: CtrlC,
        (model, arch): (&Opened, &Architecture),
    ) -> Result<Option<Draft>> {
        let Some(name) = &asked.draft else { return Ok(None) };
        if name.as_os_str() == OWN_LAYERS && !name.exists() {
            bail!(
                "`--draft {OWN_LAYERS}` is not supported: the draft layers of a file are not computed yet. Name a small model with the \
                 same vocabulary"
            );
        }
        let opened = load::open_with(&ModelFile { model: Some(name.clone()), ..file.clone() }, ctrl_c)?;
        let own = opened.architecture(None)?;
        let draft_arch = opened.architecture(Some(own.context_len.min(arch.context_len)))?;
        let pair = || format!("`{}` cannot draft for `{}` (`--draft`)", opened.name, model.name);
        let group = group_of(arch, &draft_arch).with_context(pair)?;
        have_one_vocabulary(model, &opened).with_context(pair)?;
        let target = compute.target()?;
        Ok(Some(Draft { opened, arch: draft_arch, target, group }))
    }

    fn pages(&self) -> DraftPages {
        let kv_type = self.target.kv_type(&self.opened);
        let bytes: usize = self.arch.cache_groups.iter().map(|group| group.page_bytes(kv_type)).sum();
        DraftPages { group: self.group, bytes: bytes as u64 }
    }
}

/// Memory for keys and values where a draft model takes a part of it.
pub(crate) fn room(draft: Option<&Draft>, space: Option<KvSpace>) -> (Option<KvSpace>, Option<DraftPages>) {
    let Some(draft) = draft else { return (space, None) };
    let weight_bytes = draft.opened.tensor_bytes(&draft.arch);
    (space.map(|space| space.beside(weight_bytes)), Some(draft.pages()))
}

/// Loads the draft model beside `model`, whose pool has `n_pages` pages in each cache group. Without one this is the model.
pub(crate) fn beside(
    draft: Option<Draft>,
    model: Box<dyn Model>,
    n_pages: &[usize],
) -> Result<Box<dyn Model>> {
    let Some(Draft { opened, arch, target, group }) = draft else { return Ok(model) };
    let n_pages = n_pages[group];
    let n_groups = arch.cache_groups.len();
    let draft = opened.model(arch, vec![n_pages; n_groups], target, None)?;
    Ok(Box::new(Drafted::new(model, draft, n_pages)?))
}

/// Checks that tokens mean the same to both. Either may have more of them at the end, which files are filled up with.
fn have_one_vocabulary(model: &Opened, draft: &Opened) -> Result<()> {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    let (of_model, of_draft) =
        (model.file.metadata().opt_strings(TOKENS)?, draft.file.metadata().opt_strings(TOKENS)?);
    let (Some(of_model), Some(of_draft)) = (of_model, of_draft) else {
        bail!("one of the files has no vocabulary: a draft model needs that of its model");
    };
    let mut pairs = of_model.iter().zip(of_draft.iter()).enumerate();
    if let Some((i, (a, b))) = pairs.find(|(_, (a, b))| a != b) {
        bail!(
            "token {i} is `{}` to the model and `{}` to the draft model: choose one with the same vocabulary, which most often is a \
             small model of the same family",
            a.escape_debug(),
            b.escape_debug()
        );
    }
    ensure!(!of_draft.is_empty(), "the vocabulary of the draft model is empty");
    Ok(())
}
