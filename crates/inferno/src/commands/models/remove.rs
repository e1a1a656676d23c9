//! `inferno rm`: models out of the cache.

use anyhow::{Result, bail, ensure};
use inferno_hub::{CachedModel, Hub, ModelName};
use serde_json::json;

use crate::commands::{bytes, note, print};
use crate::hub::settings;
use crate::{cli, terminal};

pub(crate) fn remove(args: &cli::Remove) -> Result<()> {
    let settings = settings(true);
    let hub = Hub::new(settings.clone())?;
    // All names are looked at before anything is removed.
    let names = args.models.iter().map(|text| settings.name(text)).collect::<Result<Vec<_>, _>>()?;
    let found = names.iter().map(|name| found(&hub, name, args.all)).collect::<Result<Vec<_>>>()?;
    for (name, models) in names.iter().zip(found) {
        let (repo, _) = Hub::repository(name)?;
        let freed = hub.cache().remove(&repo, &models)?;
        let removed: Vec<String> = models.iter().map(|model| model.name().to_string()).collect();
        if args.json {
            let object = json!({ "removed": removed, "bytes": freed });
            print(format!("{}\n", terminal::json(&object.to_string())).as_bytes())?;
            continue;
        }
        let what = if removed.is_empty() { format!("what there was of {repo}") } else { removed.join(", ") };
        note(&format!("removed {what}: {} freed", bytes(freed)));
    }
    Ok(())
}

/// The models that a name means.
pub(super) fn found(hub: &Hub, name: &ModelName, is_all: bool) -> Result<Vec<CachedModel>> {
    if let ModelName::File(path) = name {
        bail!("`{}` is a file of yours: `rm` removes models from the cache", path.display());
    }
    let (repo, mut models) = hub.in_cache(name)?;
    let (_, tag) = Hub::repository(name)?;
    let is_unfinished = hub.cache().unfinished()?.iter().any(|(other, _)| *other == repo);
    if is_all {
        models = hub.cache().models(&repo);
    }
    let known = || -> Vec<String> {
        hub.cache().models(&repo).iter().map(|model| format!("`{}`", model.name())).collect()
    };
    ensure!(
        !models.is_empty() || is_unfinished && (is_all || tag.is_none()),
        "`{name}` is not in the cache{}",
        match &known()[..] {
            [] => "; `inferno list` lists what is".to_owned(),
            others => format!(", which has {}", others.join(", ")),
        }
    );
    ensure!(
        is_all || models.len() < 2,
        "the cache has {} models of {repo}: name one of {}, or remove them with `--all`",
        models.len(),
        known().join(", ")
    );
    Ok(models)
}
