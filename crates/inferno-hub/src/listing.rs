//! The files of a repository, and which of them a name means.

use serde::Deserialize;

use crate::client::Client;
use crate::error::HubError;
use crate::name::{RepoId, is_plain};

/// A file in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name, with folders.
    pub path: String,
    /// Bytes.
    pub size: u64,
}

/// A model in a repository: one file, or the parts of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteModel {
    /// In order; the first one is what is opened.
    pub parts: Vec<RemoteFile>,
}

#[derive(Debug, Deserialize)]
struct Entry {
    r#type: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Refs {
    branches: Vec<Branch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Branch {
    name: String,
    target_commit: String,
}

/// Most pages of a list.
const PAGES: usize = 100;

impl RemoteModel {
    /// Bytes of all parts.
    pub fn size(&self) -> u64 {
        self.parts.iter().map(|part| part.size).sum()
    }

    /// The name of the first part.
    pub fn name(&self) -> &str {
        &self.parts[0].path
    }

    /// The quant in its name, like `Q4_K_M` or `UD-Q4_K_XL`, or the whole name without `.gguf`.
    pub fn quant(&self) -> String {
        let name = self.name();
        let name = name.rsplit('/').next().unwrap_or(name);
        let name = split_number(name).map_or(&name[..name.len() - ".gguf".len()], |(stem, ..)| stem);
        let words = || name.match_indices(['-', '.']).map(|(at, _)| &name[at + 1..]);
        let is_quant = |word: &&str| {
            let word = word.to_ascii_uppercase();
            let word = word.strip_prefix("UD-").unwrap_or(&word);
            let first = word.split(['-', '.']).next().unwrap_or_default();
            first == word
                && (["F32", "F16", "BF16", "FP16", "MXFP4"].contains(&word)
                    || word
                        .trim_start_matches(['I', 'T'])
                        .strip_prefix('Q')
                        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())))
        };
        words().find(is_quant).unwrap_or(name).to_owned()
    }
}

/// The commit that `main` is.
pub(crate) fn commit(client: &Client, repo: &RepoId) -> Result<String, HubError> {
    let (refs, _): (Refs, _) =
        client.json(&client.address(&format!("/api/models/{repo}/refs")), repo.as_str())?;
    let main = refs.branches.into_iter().find(|branch| branch.name == "main");
    let commit = main.map(|branch| branch.target_commit).filter(|commit| crate::cache::is_hex(commit, 40));
    commit.ok_or_else(|| HubError::NoRevision { repo: repo.to_string(), revision: "main".into() })
}

/// The files of a commit.
pub(crate) fn files(client: &Client, repo: &RepoId, commit: &str) -> Result<Vec<RemoteFile>, HubError> {
    let mut page = Some(client.address(&format!("/api/models/{repo}/tree/{commit}?recursive=true")));
    let mut files = Vec::new();
    for _ in 0..PAGES {
        let Some(address) = page else { break };
        let (entries, next): (Vec<Entry>, _) = client.json(&address, repo.as_str())?;
        for entry in entries.into_iter().filter(|entry| entry.r#type == "file") {
            if !is_plain(&entry.path) {
                let what =
                    format!("a file called `{}`", entry.path.escape_debug().take(100).collect::<String>());
                return Err(HubError::Protocol { host: client.host().into(), what });
            }
            files.push(RemoteFile { size: entry.lfs.map_or(entry.size, |lfs| lfs.size), path: entry.path });
        }
        page = next;
    }
    Ok(files)
}

/// The models among `files`, in the order of their names: GGUF files that are no projector, draft or importance matrix.
pub(crate) fn models(files: &[RemoteFile]) -> Vec<RemoteModel> {
    const OTHERS: [&str; 6] = ["mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-"];
    let mut models: Vec<RemoteModel> = Vec::new();
    let mut sorted: Vec<&RemoteFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    for file in sorted {
        let path = file.path.to_ascii_lowercase();
        let name = path.rsplit('/').next().unwrap_or(&path);
        if !name.ends_with(".gguf") || OTHERS.iter().any(|other| name.contains(other)) {
            continue;
        }
        let Some((stem, number, count)) = split_number(&file.path) else {
            models.push(RemoteModel { parts: vec![file.clone()] });
            continue;
        };
        let belongs = |model: &&mut RemoteModel| {
            split_number(model.name()).is_some_and(|(first, _, n)| (first, n) == (stem, count))
        };
        match models.iter_mut().find(belongs) {
            Some(model) => model.parts.push(file.clone()),
            None if number == 1 => models.push(RemoteModel { parts: vec![file.clone()] }),
            None => {}
        }
    }
    // A model that lacks parts is no model.
    models.retain(|model| split_number(model.name()).is_none_or(|(_, _, count)| model.parts.len() == count));
    models
}

/// The model that `tag` means: a quant or a file name, in any case.
pub(crate) fn tagged<'m>(models: &'m [RemoteModel], tag: &str) -> Option<&'m RemoteModel> {
    let is_file = |model: &&RemoteModel| {
        let file_name = model.name().rsplit('/').next().unwrap_or_default();
        let stem = file_name.strip_suffix(".gguf").unwrap_or(file_name);
        model.name().eq_ignore_ascii_case(tag)
            || file_name.eq_ignore_ascii_case(tag)
            || stem.eq_ignore_ascii_case(tag)
    };
    let is_quant = |model: &&RemoteModel| model.quant().eq_ignore_ascii_case(tag);
    let tag = tag.to_ascii_lowercase();
    // As llama.cpp has it: the tag, with `.` or `-` behind it.
    let contains = |model: &&RemoteModel| {
        let name = model.name().to_ascii_lowercase();
        name.match_indices(&tag).any(|(at, _)| {
            let (before, after) = (name[..at].chars().next_back(), name[at + tag.len()..].chars().next());
            !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') && matches!(after, Some('.' | '-'))
        })
    };
    models
        .iter()
        .find(is_file)
        .or_else(|| models.iter().find(is_quant))
        .or_else(|| models.iter().find(contains))
}

/// The model that a name without a tag means: `preferred` if it is there, Q4_K_M, Q8_0 or the first one, and where that takes
/// more than `room` bytes, the largest that does not; `None` if all do.
pub(crate) fn default<'m>(
    models: &'m [RemoteModel],
    preferred: Option<&str>,
    room: Option<u64>,
) -> Option<&'m RemoteModel> {
    let usual = preferred.into_iter().chain(["Q4_K_M", "Q8_0", "MXFP4"]).find_map(|tag| tagged(models, tag));
    let usual = usual.or_else(|| models.first())?;
    let fits = |model: &&RemoteModel| room.is_none_or(|room| model.size() <= room);
    if fits(&usual) {
        return Some(usual);
    }
    models.iter().filter(fits).max_by_key(|model| model.size())
}

/// `x-00002-of-00003.gguf`: what is before, the number and the count.
fn split_number(name: &str) -> Option<(&str, usize, usize)> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let read = |digits: &str| (digits.len() == 5).then(|| digits.parse().ok()).flatten();
    Some((stem, read(number)?, read(count)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[(&str, u64)]) -> Vec<RemoteModel> {
        let files: Vec<RemoteFile> =
            names.iter().map(|&(path, size)| RemoteFile { path: path.into(), size }).collect();
        models(&files)
    }

    #[test]
    fn parts_are_one_model_and_other_files_none() {
        let models = list(&[
            ("README.md", 1),
            ("Q8_0/m-Q8_0-00002-of-00002.gguf", 5),
            ("Q8_0/m-Q8_0-00001-of-00002.gguf", 4),
            ("m-Q4_K_M.gguf", 3),
            ("mmproj-F16.gguf", 9),
            ("m-mmproj.gguf", 9),
            ("lost-00002-of-00002.gguf", 9),
            ("half-00001-of-00002.gguf", 9),
        ]);
        let found: Vec<(&str, usize, u64)> =
            models.iter().map(|m| (m.name(), m.parts.len(), m.size())).collect();
        assert_eq!(found, [("Q8_0/m-Q8_0-00001-of-00002.gguf", 2, 9), ("m-Q4_K_M.gguf", 1, 3)]);
    }

    #[test]
    fn tags_mean_quants_and_files_in_any_case() {
        let models = list(&[
            ("Model-3B-IQ4_XS.gguf", 1),
            ("Model-3B-Q4_K_M.gguf", 2),
            ("Model-3B-Q4_K_S.gguf", 3),
            ("Model-3B-UD-Q4_K_XL.gguf", 4),
            ("model.v1.5.Q8_0.gguf", 5),
            ("BF16/Model-3B-BF16-00001-of-00001.gguf", 9),
        ]);
        let found = |tag: &str| tagged(&models, tag).map(RemoteModel::name);
        assert_eq!(found("q4_k_m"), Some("Model-3B-Q4_K_M.gguf"));
        assert_eq!(found("Q4_K_XL"), Some("Model-3B-UD-Q4_K_XL.gguf"));
        assert_eq!(found("ud-q4_k_xl"), Some("Model-3B-UD-Q4_K_XL.gguf"));
        assert_eq!(found("Q8_0"), Some("model.v1.5.Q8_0.gguf"));
        assert_eq!(found("bf16"), Some("BF16/Model-3B-BF16-00001-of-00001.gguf"));
        assert_eq!(found("model-3b-q4_k_s.GGUF"), Some("Model-3B-Q4_K_S.gguf"));
        assert_eq!(found("Q4"), None);
        assert_eq!(found("K_M"), None);
        let quants: Vec<String> = models.iter().map(RemoteModel::quant).collect();
        assert_eq!(quants, ["BF16", "IQ4_XS", "Q4_K_M", "Q4_K_S", "UD-Q4_K_XL", "Q8_0"]);
    }

    #[test]
    fn without_a_tag_it_is_the_usual_one_or_what_fits() {
        let models =
            list(&[("m-Q2_K.gguf", 2), ("m-Q3_K_M.gguf", 3), ("m-Q4_K_M.gguf", 4), ("m-Q8_0.gguf", 8)]);
        let chosen =
            |preferred, room| default(&models, preferred, room).map_or("none".into(), RemoteModel::quant);
        assert_eq!(chosen(None, None), "Q4_K_M");
        assert_eq!(chosen(Some("Q8_0"), None), "Q8_0");
        assert_eq!(chosen(Some("Q8_0"), Some(5)), "Q4_K_M");
        assert_eq!(chosen(None, Some(3)), "Q3_K_M");
        assert_eq!(chosen(None, Some(1)), "none");
        assert_eq!(default(&[], None, None), None);
    }
}
