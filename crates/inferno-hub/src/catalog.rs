//! Models with short names: `models.toml`, compiled in.

use std::sync::LazyLock;

use serde::Deserialize;

use crate::error::HubError;
use crate::name::RepoId;

/// Models that have short names.
#[derive(Debug, Deserialize)]
pub struct Catalog {
    /// In the order of the file: by family, small ones first.
    #[serde(rename = "model")]
    pub models: Vec<CatalogModel>,
}

/// A model that has a short name. Sizes and context are hints: the hub and the file decide.
#[derive(Debug, Deserialize)]
pub struct CatalogModel {
    /// Short names; the first one is the usual one.
    pub alias: Vec<String>,
    /// The family's bare name means this model.
    #[serde(default)]
    pub latest: bool,
    /// `owner/name` on the hub.
    pub repo: String,
    /// `general.architecture` of the file.
    pub arch: String,
    /// Positions the model was trained on.
    pub context: Option<usize>,
    /// `apache-2.0` and so on.
    pub license: String,
    /// `embedding` for a model that does not chat.
    pub kind: Option<String>,
    /// The quant that a bare name means where it fits.
    pub default_quant: String,
    /// Files of the repository, as far as they are known.
    pub files: Vec<CatalogFile>,
    /// The same model in other repositories.
    #[serde(default)]
    pub alt: Vec<CatalogFile>,
}

/// One quant of a model.
#[derive(Debug, Deserialize)]
pub struct CatalogFile {
    /// Where the file is; `None`: in the model's own repository.
    pub repo: Option<String>,
    /// `Q4_K_M` and so on.
    pub quant: String,
    /// Name in the repository.
    #[serde(default)]
    pub file: String,
    /// Bytes, all parts together.
    pub size: Option<u64>,
}

static CATALOG: LazyLock<Catalog> =
    LazyLock::new(|| toml::from_str(include_str!("models.toml")).expect("the catalog was read by a test"));

impl Catalog {
    /// The catalog of this version.
    pub fn get() -> &'static Catalog {
        &CATALOG
    }

    /// The model called `name`, and the quant that the name has at its end: `qwen3:4b-q8_0` is `qwen3:4b` in `q8_0`.
    ///
    /// # Errors
    /// No model has that name; the error has those that are near it.
    pub fn find<'n>(&self, name: &'n str) -> Result<(&CatalogModel, Option<&'n str>), HubError> {
        if let Some(model) = self.named(name) {
            return Ok((model, None));
        }
        let cuts = name.match_indices('-').map(|(at, _)| at);
        let mut with_quant = cuts.filter_map(|at| Some((self.named(&name[..at])?, Some(&name[at + 1..]))));
        with_quant
            .next_back()
            .ok_or_else(|| HubError::UnknownAlias { name: name.to_owned(), near: self.near(name) })
    }

    fn named(&self, name: &str) -> Option<&CatalogModel> {
        let name = name.strip_suffix(":latest").unwrap_or(name);
        let is = |alias: &String| alias.eq_ignore_ascii_case(name);
        let family = |model: &&CatalogModel| model.latest && model.family().eq_ignore_ascii_case(name);
        let mut models = self.models.iter();
        models.find(|model| model.alias.iter().any(is)).or_else(|| self.models.iter().find(family))
    }

    /// Up to four names that a slip of the finger could have meant.
    fn near(&self, name: &str) -> Vec<String> {
        let family = |name: &str| name.split(':').next().unwrap_or(name).to_ascii_lowercase();
        let wanted = name.to_ascii_lowercase();
        let distance = |alias: &str| {
            let (whole, of_family) =
                (edits(&wanted, &alias.to_ascii_lowercase()), edits(&family(name), &family(alias)));
            (of_family, whole)
        };
        let mut near: Vec<(usize, usize, &str)> = self
            .models
            .iter()
            .map(|model| model.alias[0].as_str())
            .map(|alias| (distance(alias).0, distance(alias).1, alias))
            .filter(|&(of_family, whole, _)| of_family <= 2 || whole <= 3)
            .collect();
        near.sort();
        near.into_iter().take(4).map(|(_, _, alias)| alias.to_owned()).collect()
    }
}

impl CatalogModel {
    /// The file of the default quant.
    pub fn default_file(&self) -> Option<&CatalogFile> {
        self.files.iter().find(|file| file.quant == self.default_quant)
    }

    /// The name before `:`.
    pub fn family(&self) -> &str {
        let alias = &self.alias[0];
        alias.split(':').next().unwrap_or(alias)
    }

    /// The repository that has `quant`, the model's own first.
    pub fn repo_of(&self, quant: Option<&str>) -> Option<RepoId> {
        let has = |file: &&CatalogFile| quant.is_some_and(|quant| file.quant.eq_ignore_ascii_case(quant));
        let own = self.files.iter().find(has);
        let other = self.alt.iter().find(has).filter(|_| own.is_none());
        RepoId::parse(other.and_then(|file| file.repo.as_deref()).unwrap_or(&self.repo))
    }
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(x != y)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_can_be_downloaded_by_its_name() {
        let catalog = Catalog::get();
        assert_eq!(catalog.models.len(), 60);
        for model in &catalog.models {
            for alias in &model.alias {
                let (found, quant) = catalog.find(alias).unwrap();
                assert_eq!((found.alias[0].as_str(), quant), (model.alias[0].as_str(), None));
            }
            assert!(RepoId::parse(&model.repo).is_some(), "{}", model.repo);
            for file in model.files.iter().chain(&model.alt) {
                assert!(file.repo.as_deref().is_none_or(|repo| RepoId::parse(repo).is_some()), "{file:?}");
            }
            let default = model.files.iter().any(|file| file.quant == model.default_quant);
            assert!(default, "{} has no {}", model.alias[0], model.default_quant);
        }
    }

    #[test]
    fn names_are_found_by_family_quant_and_in_any_case() {
        let catalog = Catalog::get();
        let found = |name| catalog.find(name).map(|(model, quant)| (model.alias[0].as_str(), quant)).unwrap();
        assert_eq!(found("QWEN3:0.6B"), ("qwen3:0.6b", None));
        assert_eq!(found("qwen3:4b-q8_0"), ("qwen3:4b", Some("q8_0")));
        assert_eq!(found("gpt-oss"), ("gpt-oss:20b", None));
        assert_eq!(found("gpt-oss:latest"), ("gpt-oss:20b", None));
        assert_eq!(found("phi4-mini"), ("phi4-mini:3.8b", None));
        let (model, _) = catalog.find("qwen3:0.6b").unwrap();
        assert_eq!(model.repo_of(None).unwrap().as_str(), "Qwen/Qwen3-0.6B-GGUF");
        assert_eq!(model.repo_of(Some("q4_k_m")).unwrap().as_str(), "unsloth/Qwen3-0.6B-GGUF");
    }

    #[test]
    fn a_slip_of_the_finger_gets_names_that_are_near() {
        let near = |name| match Catalog::get().find(name) {
            Err(HubError::UnknownAlias { near, .. }) => near,
            other => panic!("{other:?}"),
        };
        assert!(near("qwen3:06b").contains(&"qwen3:0.6b".to_owned()), "{:?}", near("qwen3:06b"));
        assert!(near("gpt-os:20b").contains(&"gpt-oss:20b".to_owned()));
        assert_eq!(near("completely-different"), [""; 0]);
    }
}
