//! `inferno pull`: models from the hub into the cache.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use inferno_hub::{Hub, ModelName};
use serde_json::json;

use crate::commands::{bytes, note, print};
use crate::hub::{CtrlC, Wish, fetch, settings, unusable};
use crate::{cli, terminal};

/// Downloads each model, and prints its path on stdout.
pub(crate) fn pull(args: &cli::Pull) -> Result<ExitCode> {
    let settings = settings(false);
    for text in &args.models {
        let name = settings.name(text)?;
        if let ModelName::File(path) = &name {
            anyhow::ensure!(
                path.exists(),
                "`{}` is not a file here, and no name of the hub: expected a name like qwen3:0.6b or \
                 OWNER/REPOSITORY:QUANT",
                path.display()
            );
            note(&format!("`{}` is a file on this machine: there is nothing to download", path.display()));
            continue;
        }
        if let Some(why) = unusable(&name) {
            note(&format!("warning: {why}"));
        }
        let fetched = fetch(Hub::new(settings.clone())?, &name, Wish::Newest, CtrlC::Stops)
            .with_context(|| format!("cannot pull `{}`", text.escape_debug()))?;
        if fetched.downloaded == 0 {
            let (repo, file, size) = (&fetched.repo, &fetched.file, bytes(fetched.size));
            note(&format!("{repo} has nothing newer: `{file}` ({size}) is here"));
        }
        print(line(args.json, &name, &fetched).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(is_json: bool, name: &ModelName, fetched: &inferno_hub::Fetched) -> String {
    if !is_json {
        return format!("{}\n", terminal::visible(&shown(&fetched.path)));
    }
    let object = json!({
        "name": name.to_string(),
        "repository": fetched.repo.as_str(),
        "file": fetched.file,
        "path": fetched.path,
        "size": fetched.size,
        "downloaded": fetched.downloaded,
    });
    format!("{}\n", terminal::json(&object.to_string()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}
