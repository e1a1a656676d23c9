//! `inferno list`: models in the cache, and those that have short names.

use std::time::{Duration, SystemTime};

use anyhow::Result;
use inferno_hub::{Cache, CachedModel, Catalog, CatalogModel};
use inferno_model::architecture::Architecture;
use serde_json::{Value, json};

use super::{in_catalog, modified, names, short_name, table, to_json};
use crate::commands::{bytes, note, print};
use crate::hub::{room, settings};
use crate::{cli, terminal};

pub(crate) fn list(args: &cli::List) -> Result<()> {
    if args.names {
        return print(names().iter().map(|name| format!("{name}\n")).collect::<String>().as_bytes());
    }
    let cache = Cache::new(settings(true).cache);
    let models = cache.list()?;
    match (args.available, args.json) {
        (false, true) => print_json(models.iter().map(to_json).collect()),
        (true, true) => {
            print_json(Catalog::get().models.iter().map(|m| available_json(m, &models)).collect())
        }
        (true, false) => available(&models),
        (false, false) => here(&cache, &models),
    }
}

fn print_json(all: Vec<Value>) -> Result<()> {
    let text = format!("{:#}", Value::from(all));
    print(format!("{}\n", terminal::json(&text)).as_bytes())
}

fn here(cache: &Cache, models: &[CachedModel]) -> Result<()> {
    let row = |model: &CachedModel| {
        let age = modified(model).and_then(|time| SystemTime::now().duration_since(time).ok());
        vec![
            terminal::visible(&model.name().to_string()),
            bytes(model.size()),
            age.map_or_else(String::new, ago),
            short_name(model).unwrap_or_default(),
        ]
    };
    let rows: Vec<Vec<String>> = models.iter().map(row).collect();
    let root = cache.root().display();
    match rows.is_empty() {
        true => note(&format!(
            "no models in {root}; `inferno list --available` lists names, `inferno pull NAME` downloads one"
        )),
        false => {
            print(table(&["NAME", " SIZE", "DOWNLOADED", "SHORT NAME"], &rows).as_bytes())?;
            let total = models.iter().map(CachedModel::size).sum();
            note(&format!("{} in {root}", bytes(total)));
        }
    }
    for (repo, size) in cache.unfinished()? {
        note(&format!(
            "{repo}: {} of an unfinished download; pulling it again goes on there, `inferno rm --all {repo}` removes it",
            bytes(size)
        ));
    }
    Ok(())
}

fn available(here: &[CachedModel]) -> Result<()> {
    let room = room();
    let row = |model: &CatalogModel| {
        let size = model.default_file().and_then(|file| file.size);
        let state = match size {
            _ if is_here(model, here) => "here",
            _ if model.kind.as_deref() == Some("embedding") => "embeddings",
            _ if !Architecture::knows(&model.arch) => "not run yet",
            Some(size) if room.is_some_and(|room| size > room) => "too large",
            _ => "",
        };
        vec![
            model.alias[0].clone(),
            model.default_quant.clone(),
            size.map_or_else(String::new, bytes),
            model.context.map_or_else(String::new, |context| context.to_string()),
            state.to_owned(),
        ]
    };
    let rows: Vec<Vec<String>> = Catalog::get().models.iter().map(row).collect();
    print(table(&["NAME", "QUANT", " SIZE", " CONTEXT", ""], &rows).as_bytes())?;
    note("another quant by NAME-QUANT; any other repository of the hub by OWNER/REPOSITORY:QUANT");
    Ok(())
}

fn is_here(model: &CatalogModel, here: &[CachedModel]) -> bool {
    here.iter()
        .any(|cached| in_catalog(cached.repo.as_str()).is_some_and(|known| known.alias[0] == model.alias[0]))
}

fn available_json(model: &CatalogModel, here: &[CachedModel]) -> Value {
    let files = model.files.iter().chain(&model.alt).map(|file| {
        let repository = file.repo.as_ref().unwrap_or(&model.repo);
        json!({ "repository": repository, "quant": file.quant, "file": file.file, "size": file.size })
    });
    json!({
        "name": model.alias[0],
        "names": model.alias,
        "repository": model.repo,
        "architecture": model.arch,
        "context": model.context,
        "license": model.license,
        "default_quant": model.default_quant,
        "is_here": is_here(model, here),
        "is_supported": Architecture::knows(&model.arch) && model.kind.is_none(),
        "files": files.collect::<Vec<_>>(),
    })
}

/// A time in the past.
fn ago(time: Duration) -> String {
    let (n, unit) = match time.as_secs() {
        0..60 => return "now".into(),
        s @ 60..3600 => (s / 60, "minute"),
        s @ 3600..86_400 => (s / 3600, "hour"),
        s => (s / 86_400, "day"),
    };
    format!("{n} {unit}{} ago", if n == 1 { "" } else { "s" })
}
