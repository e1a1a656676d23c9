//! Models by name: `pull`, `list`, `show`, `rm`, `ps` and `paths`.

mod list;
mod names;
mod paths;
mod ps;
mod pull;
mod remove;
mod show;

use std::time::SystemTime;

use anyhow::Result;
use inferno_hub::{CachedModel, Catalog, CatalogModel, Hub, ModelName};
use serde_json::{Value, json};

pub(super) use list::list;
pub(super) use names::names;
pub(super) use paths::paths;
pub(super) use ps::ps;
pub(super) use pull::pull;
pub(super) use remove::remove;
pub(super) use show::show;

/// The model of the cache that a name means.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn in_cache(hub: &Hub, name: &ModelName) -> Result<Vec<CachedModel>> {
    remove::found(hub, name, false)
}

/// The model of the catalog that a repository is one of.
fn in_catalog(repo: &str) -> Option<&'static CatalogModel> {
    let is_own = |model: &&CatalogModel| model.repo.eq_ignore_ascii_case(repo);
    let is_other = |model: &&CatalogModel| {
        model
            .alt
            .iter()
            .any(|file| file.repo.as_deref().is_some_and(|other| other.eq_ignore_ascii_case(repo)))
    };
    let models = &Catalog::get().models;
    models.iter().find(is_own).or_else(|| models.iter().find(is_other))
}

/// The short name of a model in the cache, with its quant where the name alone means another.
fn short_name(model: &CachedModel) -> Option<String> {
    let known = in_catalog(model.repo.as_str())?;
    let (alias, quant) = (&known.alias[0], model.remote().quant());
    let is_default = quant.eq_ignore_ascii_case(&known.default_quant);
    let is_own = known.repo.eq_ignore_ascii_case(model.repo.as_str());
    Some(match is_default && is_own {
        true => alias.clone(),
        false => format!("{alias}-{}", quant.to_ascii_lowercase()),
    })
    // A name that means the same model, and no other.
    .filter(|name| {
        let found = Catalog::get().find(name).ok();
        found.and_then(|(found, quant)| found.repo_of(quant)).is_some_and(|repo| repo == model.repo)
    })
}

/// A model in the cache as JSON.
fn to_json(model: &CachedModel) -> Value {
    let file =
        |file: &inferno_hub::CachedFile| json!({ "file": file.name, "path": file.path, "size": file.size });
    json!({
        "name": model.name().to_string(),
        "short_name": short_name(model),
        "repository": model.repo.as_str(),
        "quant": model.remote().quant(),
        "size": model.size(),
        "modified": modified(model).and_then(|time| Some(time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs())),
        "path": model.files[0].path,
        "files": model.files.iter().map(file).collect::<Vec<_>>(),
    })
}

fn modified(model: &CachedModel) -> Option<SystemTime> {
    model.files.iter().filter_map(|file| file.modified).max()
}

/// Rows as text: every column as wide as its widest cell, the last one as it is. Columns whose heading begins with a space are
/// aligned right.
fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let width = |i: usize| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([headings[i].trim().len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let mut text = String::new();
    let first: Vec<String> = headings.iter().map(|heading| heading.trim().to_owned()).collect();
    for row in std::iter::once(&first).chain(rows) {
        let cells = row.iter().zip(&widths).zip(headings).map(|((cell, width), heading)| {
            match heading.starts_with(' ') {
                true => format!("{cell:>width$}"),
                false => format!("{cell:<width$}"),
            }
        });
        text += cells.collect::<Vec<_>>().join("  ").trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows =
            [["qwen3:0.6b", "639.4 MB", "x"], ["é", "1 B", ""]].map(|row| row.map(String::from).to_vec());
        assert_eq!(
            table(&["NAME", " SIZE", "FILE"], &rows),
            "NAME            SIZE  FILE\nqwen3:0.6b  639.4 MB  x\né                1 B\n"
        );
    }
}
