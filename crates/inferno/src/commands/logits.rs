//! `inferno logits`: the numbers themselves.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use inferno_model::batch::{Batch, PageId, Want};

use crate::{cli, commands::print, load};

pub(crate) fn logits(args: &cli::Logits) -> Result<()> {
    let tokens = &args.tokens;
    let last = tokens.len() - 1;
    let at: BTreeSet<usize> =
        if args.at.is_empty() { [last].into() } else { args.at.iter().copied().collect() };
    if let Some(position) = at.iter().find(|&&p| p > last) {
        anyhow::bail!("--at {position} is past the last position, {last}");
    }
    let mut opened = load::open(&args.model)?;
    args.overrides.apply(&mut opened.file, args.context)?;
    let arch = opened.architecture(args.context.map(|n| n as usize))?;
    ensure!(
        tokens.len() <= arch.context_len,
        "{} tokens are more than the model's context of {}",
        tokens.len(),
        arch.context_len
    );
    if let Some(token) = tokens.iter().find(|&&t| t as usize >= arch.vocab_size) {
        anyhow::bail!("token {token} is not in the vocabulary of {} tokens", arch.vocab_size);
    }
    let pages: Vec<Vec<PageId>> =
        arch.cache_groups.iter().map(|group| group.table_for(0, tokens.len())).collect();
    let tables: Vec<&[PageId]> = pages.iter().map(Vec::as_slice).collect();
    let n_pages = arch.cache_groups.iter().map(|group| group.pages_for(tokens.len())).collect();
    let want = |p| if at.contains(&p) { Want::Logits } else { Want::Nothing };
    let mut batch = Batch::default();
    batch.push_each(tokens, 0, &tables, &(0..tokens.len()).map(want).collect::<Vec<_>>());
    let mut model = opened.model(arch, n_pages, args.compute.target()?, None)?;
    let output = model.step(&batch)?;
    let found: BTreeMap<usize, &[f32]> =
        at.iter().map(|&p| (p, output.logits(p).expect("every position in `at` wants logits"))).collect();
    print(format!("{}\n", serde_json::to_string(&found)?).as_bytes())
}
