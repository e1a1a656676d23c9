//! `inferno paths`: where models, tokens and settings are.

use anyhow::Result;
use inferno_hub::{Cache, CachedModel};
use serde_json::json;

use crate::commands::{bytes, print};
use crate::hub::settings;
use crate::{cli, config_file, terminal};

/// Variables that say where the cache is, in the order in which they count.
const OF_CACHE: [&str; 4] = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"];

pub(crate) fn paths(args: &cli::Paths) -> Result<()> {
    let settings = settings(false);
    let models = Cache::new(settings.cache.clone()).list()?;
    let size: u64 = models.iter().map(CachedModel::size).sum();
    let is_set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.trim().is_empty());
    let of_cache = OF_CACHE.into_iter().find(|name| is_set(name));
    let program = std::env::current_exe().ok().map(|path| path.display().to_string());
    let file = config_file::default_path();
    let has_file = file.as_ref().is_some_and(|file| file.is_file());
    let text = if args.json {
        let object = json!({
            "program": program,
            "settings": file,
            "models": settings.cache,
            "models_bytes": size,
            "models_count": models.len(),
            "hub": settings.endpoint,
            "token": settings.token_source,
            "is_offline": settings.offline,
        });
        terminal::json(&format!("{object:#}")) + "\n"
    } else {
        let count = if models.len() == 1 { "1 model".into() } else { format!("{} models", models.len()) };
        let rows: [(&str, String, String); 5] = [
            ("program", program.unwrap_or_default(), String::new()),
            (
                "settings",
                file.map_or_else(|| "none".into(), |file| file.display().to_string()),
                if has_file {
                    "read by every command".into()
                } else {
                    "not there; `--config` names another".into()
                },
            ),
            (
                "models",
                settings.cache.display().to_string(),
                format!(
                    "{count}, {}; {}",
                    bytes(size),
                    of_cache.map_or_else(|| "HF_HOME moves it".into(), of)
                ),
            ),
            (
                "hub",
                settings.endpoint.clone(),
                match settings.offline {
                    true => "not used: HF_HUB_OFFLINE is set".into(),
                    false if is_set(&"HF_ENDPOINT") => of("HF_ENDPOINT"),
                    false => "HF_ENDPOINT sets a mirror".into(),
                },
            ),
            (
                "token",
                settings.token_source.clone().unwrap_or_else(|| "none".into()),
                match settings.token_source {
                    Some(_) => "for repositories that need it".into(),
                    None => "HF_TOKEN sets one, for repositories that need it".into(),
                },
            ),
        ];
        let lines = rows.map(|(name, value, about)| {
            let about = if about.is_empty() { about } else { format!("  ({about})") };
            format!("{name:8} {}{about}\n", terminal::visible(&value))
        });
        lines.concat()
    };
    print(text.as_bytes())
}

fn of(variable: &str) -> String {
    format!("by {variable}")
}
