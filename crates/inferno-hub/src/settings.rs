//! Settings of the hub in the environment: its address, the cache, the token.

use std::path::{Path, PathBuf};

use crate::error::HubError;
use crate::name::ModelName;

/// The hub's address, the cache and the token.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `https://huggingface.co`, or a mirror (`HF_ENDPOINT`); no `/` at its end.
    pub endpoint: String,
    /// The access token.
    pub token: Option<String>,
    /// Where the token is from: `HF_TOKEN`, or the file that `hf auth login` writes.
    pub token_source: Option<String>,
    /// The cache's folder.
    pub cache: PathBuf,
    /// No request is made (`HF_HUB_OFFLINE`).
    pub offline: bool,
    /// Hosts beside the hub's own that may send files (`INFERNO_HUB_HOSTS`, separated by commas).
    pub hosts: Vec<String>,
}

impl Settings {
    /// Reads the variables that the hub's own tools read, by `variable`.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Settings {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| get(name).map(|value| expand(&value, get("HOME").as_deref()));
        let home =
            get("HOME").or_else(|| get("USERPROFILE")).map_or_else(|| PathBuf::from("."), PathBuf::from);
        let caches = path("XDG_CACHE_HOME").unwrap_or_else(|| home.join(".cache"));
        let hf_home = path("HF_HOME").unwrap_or_else(|| caches.join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| hf_home.join("token"));
        let of_variable = |name: &str| Some((get(name)?.trim().to_owned(), name.to_owned()));
        let of_file = || {
            let text = std::fs::read_to_string(&token_file).ok()?;
            Some((text.trim().to_owned(), token_file.display().to_string()))
        };
        let token =
            of_variable("HF_TOKEN").or_else(|| of_variable("HUGGING_FACE_HUB_TOKEN")).or_else(of_file);
        let (token, token_source) = token.filter(|(token, _)| !token.is_empty()).unzip();
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned());
        let is_on =
            |value: String| ["1", "on", "yes", "true"].contains(&value.trim().to_lowercase().as_str());
        Settings {
            endpoint: endpoint.trim().trim_end_matches('/').to_owned(),
            token,
            token_source,
            cache: cache.unwrap_or_else(|| hf_home.join("hub")),
            offline: get("HF_HUB_OFFLINE").is_some_and(is_on),
            hosts: get("INFERNO_HUB_HOSTS").map_or_else(Vec::new, |hosts| {
                hosts
                    .split(',')
                    .map(|host| host.trim().to_lowercase())
                    .filter(|host| !host.is_empty())
                    .collect()
            }),
        }
    }
}

impl Settings {
    /// Reads a name as [`ModelName::parse`] does, and addresses of the endpoint too.
    ///
    /// # Errors
    /// The text is no name.
    pub fn name(&self, text: &str) -> Result<ModelName, HubError> {
        let rest = text.strip_prefix(&*self.endpoint).and_then(|rest| rest.strip_prefix('/'));
        match rest {
            Some(rest) => ModelName::parse(&format!("hf:{rest}")),
            None => ModelName::parse(text),
        }
    }
}

/// `~/x` in the home folder.
fn expand(path: &str, home: Option<&str>) -> PathBuf {
    match (path.strip_prefix("~/"), home) {
        (Some(rest), Some(home)) => Path::new(home).join(rest),
        _ => PathBuf::from(path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_cache_is_where_other_tools_look() {
        let cache = |variables: &[(&str, &str)]| read(variables).cache.to_str().unwrap().to_owned();
        assert_eq!(cache(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "~/models")]), "/h/models/hub");
        let both =
            [("HOME", "/h"), ("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/c"), ("HF_HUB_CACHE", "/b")];
        assert_eq!(cache(&both), "/b");
        assert_eq!(cache(&[("HOME", "/h"), ("HF_HOME", "")]), "/h/.cache/huggingface/hub");
    }

    #[test]
    fn endpoint_token_and_hosts_are_trimmed() {
        let settings = read(&[
            ("HF_ENDPOINT", "https://mirror.example/ "),
            ("HF_TOKEN", " hf_x\n"),
            ("HF_HUB_OFFLINE", "ON"),
            ("INFERNO_HUB_HOSTS", "cdn.example, ,Other.example"),
        ]);
        assert_eq!(settings.endpoint, "https://mirror.example");
        assert_eq!((settings.token.as_deref(), settings.offline), (Some("hf_x"), true));
        assert_eq!(settings.token_source.as_deref(), Some("HF_TOKEN"));
        let name = settings.name("https://mirror.example/a/b/resolve/main/c.gguf").unwrap();
        assert_eq!(name.to_string(), "a/b/c.gguf");
        assert!(settings.name("https://other.example/a/b/resolve/main/c.gguf").is_err());
        assert_eq!(settings.hosts, ["cdn.example", "other.example"]);
        assert!(!read(&[("HF_HUB_OFFLINE", "0"), ("HF_TOKEN_PATH", "/none")]).offline);
    }
}
