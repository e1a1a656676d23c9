//! Names of models as users type them.
#![deny(clippy::indexing_slicing)]

use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::HubError;

/// A model, as `-m` and `pull` take it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelName {
    /// A file on this machine.
    File(PathBuf),
    /// A short name of the catalog, like `qwen3:0.6b`, perhaps with a quant.
    Alias {
        /// Without the quant.
        name: String,
        /// `q4_k_m` of `qwen3:0.6b-q4_k_m`, where the whole is no name of the catalog.
        quant: Option<String>,
    },
    /// A repository of the hub.
    Repo {
        /// Owner and name.
        repo: RepoId,
        /// A quant or a file.
        tag: Option<String>,
    },
}

/// A repository of the hub, `owner/name`. It holds no characters that could lead out of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoId(String);

/// Bytes of a repository's name, as the hub limits it.
const REPO_BYTES: usize = 256;

impl RepoId {
    /// Checks `owner/name`: letters, digits and `_`, with single `-` and `.` between them.
    pub fn parse(text: &str) -> Option<RepoId> {
        let (owner, name) = text.split_once('/')?;
        let is_part = |part: &str| {
            let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            !part.is_empty()
                && part.split(['-', '.']).all(|word| !word.is_empty() && word.chars().all(is_word))
        };
        (text.len() <= REPO_BYTES && is_part(owner) && is_part(name)).then(|| RepoId(text.to_owned()))
    }

    /// `owner/name`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder in the cache: `models--owner--name`.
    pub(crate) fn folder(&self) -> String {
        format!("models--{}", self.0.replace('/', "--"))
    }

    /// The repository whose folder in the cache has that name.
    pub(crate) fn of_folder(folder: &str) -> Option<RepoId> {
        RepoId::parse(&folder.strip_prefix("models--")?.replacen("--", "/", 1))
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl ModelName {
    /// Reads a name: a path that exists or looks like one, `owner/repository`, `owner/repository:QUANT`,
    /// `owner/repository/file.gguf`, the same after `hf.co/`, `hf:` or as a page's address, or a short name, which may stand
    /// after `ollama.com/library/`. `folder/file.gguf` is a path, and so is `folder/…/file.gguf` if there is such a folder.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn parse(text: &str) -> Result<ModelName, HubError> {
        let refuse = |expected| HubError::Name { name: text.escape_debug().take(200).collect(), expected };
        let path = PathBuf::from(text);
        if path.exists() || text.starts_with(['/', '.', '~']) {
            return Ok(ModelName::File(path));
        }
        let mut name = text;
        while let Some(rest) = PREFIXES.iter().find_map(|prefix| strip_prefix(name, prefix)) {
            name = rest;
        }
        let is_address = name.len() != text.len();
        let mut parts = name.splitn(3, '/');
        let (Some(owner), Some(second)) = (parts.next(), parts.next()) else {
            if text.ends_with(".gguf") {
                return Ok(ModelName::File(path));
            }
            return alias(name)
                .ok_or_else(|| refuse("expected a file, `owner/repository` or a name like `qwen3:0.6b`"));
        };
        const EXPECTED: &str = "expected `owner/repository`, perhaps with `:QUANT` or `/file.gguf` behind it";
        if is_address && text.starts_with("http") && owner.contains('.') {
            return Err(refuse(
                "only addresses of the hub are taken; `curl -L -O ADDRESS` downloads other files, and `-m FILE` takes them",
            ));
        }
        let is_in_folder = parts.clone().next().is_none() || Path::new(owner).is_dir();
        if text.ends_with(".gguf") && !is_address && is_in_folder && !second.contains(':') {
            return Ok(ModelName::File(path));
        }
        let (name, tag) = match (second.split_once(':'), parts.next()) {
            (Some((name, tag)), None) => (name, Some(tag)),
            (None, None) => (second, None),
            (None, Some(file)) => {
                let file = file.split(['?', '#']).next().unwrap_or(file);
                // An address has the revision before the file.
                let of_page = ["resolve/", "blob/", "raw/"].iter().find_map(|page| file.strip_prefix(page));
                let file = match of_page {
                    Some(rest) => {
                        rest.split_once('/').map(|(_, file)| file).ok_or_else(|| refuse(EXPECTED))?
                    }
                    None => file.strip_prefix("tree/main").unwrap_or(file),
                };
                (second, Some(file).filter(|file| !file.is_empty()))
            }
            (Some(_), Some(_)) => return Err(refuse(EXPECTED)),
        };
        let repo = RepoId::parse(&format!("{owner}/{name}"));
        match repo {
            Some(repo) if tag.is_none_or(|tag| !tag.is_empty() && is_plain(tag)) => {
                Ok(ModelName::Repo { repo, tag: tag.map(str::to_owned) })
            }
            // `models/qwen.gguf` that does not exist is a file that does not exist.
            _ if text.ends_with(".gguf") && !is_address => Ok(ModelName::File(path)),
            _ => Err(refuse(EXPECTED)),
        }
    }
}

/// Prefixes that say where a model is, any of which may stand before another.
const PREFIXES: [&str; 11] = [
    "https://",
    "http://",
    "www.huggingface.co/",
    "huggingface.co/",
    "hf.co/",
    "hf://",
    "hf:",
    "ollama.com/library/",
    "registry.ollama.ai/library/",
    "ollama://",
    "ollama:",
];

/// `text` without `prefix`, in any case.
fn strip_prefix<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let head = text.get(..prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then(|| &text[prefix.len()..])
}

impl fmt::Display for ModelName {
    /// The name as a user would type it again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelName::File(path) => path.display().fmt(f),
            ModelName::Alias { name, quant: None } => f.write_str(name),
            ModelName::Alias { name, quant: Some(quant) } => write!(f, "{name}:{quant}"),
            ModelName::Repo { repo, tag: None } => repo.fmt(f),
            ModelName::Repo { repo, tag: Some(tag) } if tag.ends_with(".gguf") => write!(f, "{repo}/{tag}"),
            ModelName::Repo { repo, tag: Some(tag) } => write!(f, "{repo}:{tag}"),
        }
    }
}

/// A short name: letters, digits and `. _ -`, and at most one `:`.
fn alias(text: &str) -> Option<ModelName> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-', ':'].contains(&c);
    let fits = text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_alphanumeric());
    (fits && text.chars().all(is_word) && text.matches(':').count() <= 2).then(|| {
        match text.match_indices(':').nth(1) {
            Some((at, _)) => {
                ModelName::Alias { name: text[..at].to_owned(), quant: Some(text[at + 1..].to_owned()) }
            }
            None => ModelName::Alias { name: text.to_owned(), quant: None },
        }
    })
}

/// Whether `path` is a relative path of plain names: none is `..`, and none has characters that some file system takes for
/// more than a name.
pub(crate) fn is_plain(path: &str) -> bool {
    let is_name = |name: &str| {
        let is_odd = |c: char| c.is_control() || ['\\', ':', '*', '?', '"', '<', '>', '|'].contains(&c);
        !name.is_empty() && name != "." && name != ".." && name.len() <= 255 && !name.contains(is_odd)
    };
    path.len() <= 1024 && path.split('/').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repo(text: &str, tag: Option<&str>) -> ModelName {
        ModelName::Repo { repo: RepoId::parse(text).unwrap(), tag: tag.map(str::to_owned) }
    }

    #[test]
    fn every_way_to_write_a_name_is_read() {
        let alias = |name: &str, quant: Option<&str>| ModelName::Alias {
            name: name.into(),
            quant: quant.map(str::to_owned),
        };
        for (text, expected) in [
            ("qwen3", alias("qwen3", None)),
            ("qwen3:0.6b", alias("qwen3:0.6b", None)),
            ("qwen3:0.6b:Q4_K_M", alias("qwen3:0.6b", Some("Q4_K_M"))),
            ("Qwen/Qwen3-0.6B-GGUF", repo("Qwen/Qwen3-0.6B-GGUF", None)),
            ("Qwen/Qwen3-0.6B-GGUF:Q8_0", repo("Qwen/Qwen3-0.6B-GGUF", Some("Q8_0"))),
            ("hf.co/Qwen/Qwen3-0.6B-GGUF:q8_0", repo("Qwen/Qwen3-0.6B-GGUF", Some("q8_0"))),
            ("Qwen/Qwen3-0.6B-GGUF/a/b.gguf", repo("Qwen/Qwen3-0.6B-GGUF", Some("a/b.gguf"))),
            ("https://huggingface.co/Qwen/Qwen3-0.6B-GGUF", repo("Qwen/Qwen3-0.6B-GGUF", None)),
            ("https://huggingface.co/Qwen/Qwen3-0.6B-GGUF/tree/main", repo("Qwen/Qwen3-0.6B-GGUF", None)),
            (
                "https://huggingface.co/Qwen/Qwen3-0.6B-GGUF/resolve/main/Qwen3-0.6B-Q8_0.gguf?download=true",
                repo("Qwen/Qwen3-0.6B-GGUF", Some("Qwen3-0.6B-Q8_0.gguf")),
            ),
            ("https://hf.co/a/b/blob/0123abc/q/c.gguf", repo("a/b", Some("q/c.gguf"))),
            ("./x", ModelName::File("./x".into())),
            ("no-such.gguf", ModelName::File("no-such.gguf".into())),
            ("/no/such/file", ModelName::File("/no/such/file".into())),
            ("some folder/no-such.gguf", ModelName::File("some folder/no-such.gguf".into())),
            ("models/no-such.gguf", ModelName::File("models/no-such.gguf".into())),
            ("src/deeper/no-such.gguf", ModelName::File("src/deeper/no-such.gguf".into())),
            ("hf:a/b", repo("a/b", None)),
            ("hf://a/b:Q4_0", repo("a/b", Some("Q4_0"))),
            ("HF.co/a/b", repo("a/b", None)),
            ("https://ollama.com/library/qwen3:0.6b", alias("qwen3:0.6b", None)),
            ("ollama://qwen3", alias("qwen3", None)),
        ] {
            assert_eq!(ModelName::parse(text).unwrap(), expected, "{text}");
            let again = expected.to_string();
            assert_eq!(ModelName::parse(&again).unwrap(), expected, "{again}");
        }
    }

    #[test]
    fn what_could_lead_elsewhere_is_no_name() {
        for text in [
            "",
            "a b",
            "a//b",
            "a/..",
            "a/b:",
            "a/b:../../x",
            "a/b/../../etc/passwd",
            "a/b:c/d:e",
            "a/b/c\\d",
            "-m",
            "https://example.org/a/b.gguf",
            "a/b--c",
            "a/.b",
            "a/b\0",
            "q\u{202e}wen",
        ] {
            assert!(ModelName::parse(text).is_err(), "{text:?}: {:?}", ModelName::parse(text));
        }
        let long = format!("a/{}", "b".repeat(300));
        assert!(ModelName::parse(&long).is_err());
    }
}
