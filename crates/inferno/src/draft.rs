//! Sources of drafts beside a model's text: a smaller model, or a draft layer in the model's file (`--draft`).

use anyhow::{Context, Result, bail, ensure};
use inferno_model::architecture::{Architecture, CacheGroup};
use inferno_model::backend::KvType;
use inferno_model::drafted::{Drafted, group_of, hidden_page_bytes};
use inferno_model::model::Model;

use crate::cli::{DraftModel, ModelFile};
use crate::hub::CtrlC;
use crate::kv_memory::{DraftPages, KvSpace};
use crate::load::{self, Compute, Opened, Target};

/// The source of a model's drafts, before its weights are loaded.
pub(crate) enum Draft {
    /// Another model.
    Model(Box<Pair>),
    /// The draft layer of the model's own file.
    OwnLayer,
}

/// A draft model that goes with a model.
pub(crate) struct Pair {
    opened: Opened,
    arch: Architecture,
    target: Target,
    /// The cache group of the model by whose pages it stores keys and values.
    group: usize,
}

/// The value of `--draft` that means the model's own draft layer.
const OWN_LAYER: &str = "mtp";

impl Draft {
    /// Opens the draft model for a model; `None` if none is asked for. `file` says where models may come from. If the model is to draft
    /// by a layer of its own, that becomes a part of `arch`.
    ///
    /// # Errors
    /// There is no such model or layer, or the two do not go together.
    pub(crate) fn open(
        asked: &DraftModel,
        file: &ModelFile,
        compute: &Compute,
        ctrl_c: CtrlC,
        (model, arch): (&Opened, &mut Architecture),
    ) -> Result<Option<Draft>> {
        let Some(name) = &asked.draft else { return Ok(None) };
        if name.as_os_str() == OWN_LAYER && !name.exists() {
            let cannot = || format!("`{}` cannot draft for itself (`--draft {OWN_LAYER}`)", model.name);
            *arch = arch.clone().with_draft_block().with_context(cannot)?;
            return Ok(Some(Draft::OwnLayer));
        }
        let mut opened = load::open_with(&ModelFile { model: Some(name.clone()), ..file.clone() }, ctrl_c)?;
        opened.only_drafts = true;
        let own = opened.architecture(None)?;
        let draft_arch = opened.architecture(Some(own.context_len.min(arch.context_len)))?;
        let pair = || format!("`{}` cannot draft for `{}` (`--draft`)", opened.name, model.name);
        let group = group_of(arch, &draft_arch).with_context(pair)?;
        have_one_vocabulary(model, &opened).with_context(pair)?;
        let target = compute.target()?;
        Ok(Some(Draft::Model(Box::new(Pair { opened, arch: draft_arch, target, group }))))
    }

    /// Its part of the pages of a model with keys and values of `kv_type`.
    fn pages(&self, arch: &Architecture, kv_type: KvType) -> Option<DraftPages> {
        match self {
            Draft::Model(pair) => {
                let kv_type = pair.target.kv_type(&pair.opened);
                let groups = pair.arch.cache_groups.iter();
                let bytes = groups.map(|group| group.page_bytes(kv_type)).sum::<usize>() as u64;
                Some(DraftPages { group: pair.group, bytes })
            }
            Draft::OwnLayer => arch.draft_block.as_ref().map(|block| {
                let layer = CacheGroup { layers: vec![block.layer_idx], kind: block.kind };
                let bytes = layer.page_bytes(kv_type) + hidden_page_bytes(arch.dim);
                DraftPages { group: block.group, bytes: bytes as u64 }
            }),
        }
    }
}

/// Memory for keys and values of `kv_type` where what drafts takes a part of it.
pub(crate) fn room(
    draft: Option<&Draft>,
    arch: &Architecture,
    kv_type: KvType,
    space: Option<KvSpace>,
) -> (Option<KvSpace>, Option<DraftPages>) {
    let Some(draft) = draft else { return (space, None) };
    let space = match draft {
        Draft::Model(pair) => {
            let weight_bytes = pair.opened.tensor_bytes(&pair.arch);
            space.map(|space| space.beside(weight_bytes))
        }
        Draft::OwnLayer => space,
    };
    (space, draft.pages(arch, kv_type))
}

/// Loads what drafts for `model`, whose pool has `n_pages` pages in each cache group. Without a draft this is the model.
pub(crate) fn beside(
    draft: Option<Draft>,
    model: Box<dyn Model>,
    n_pages: &[usize],
) -> Result<Box<dyn Model>> {
    match draft {
        None => Ok(model),
        Some(Draft::Model(pair)) => {
            let Pair { opened, arch, target, group } = *pair;
            let n_pages = n_pages[group];
            let n_groups = arch.cache_groups.len();
            let draft = opened.model(arch, vec![n_pages; n_groups], target, None)?;
            Ok(Box::new(Drafted::new(model, draft, n_pages)?))
        }
        Some(Draft::OwnLayer) => {
            let group = model.architecture().draft_block.as_ref().map_or(0, |block| block.group);
            let drafted = Drafted::with_own_layer(model, n_pages[group]);
            let why = "`--draft mtp` does not go with a model on several devices (`--gpu-layers`, `--tensor-split`)";
            Ok(Box::new(drafted.context(why)?))
        }
    }
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
