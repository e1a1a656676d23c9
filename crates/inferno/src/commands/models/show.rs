//! `inferno show`: a model by its name: where it is, which quants there are, what it takes.

use anyhow::Result;
use inferno_hub::{Hub, HubError, ModelName, RemoteModel};
use serde_json::{Value, json};

use super::{in_catalog, short_name};
use crate::cli::{self, ModelFile};
use crate::commands::{bytes, inspect, note, print};
use crate::hub::{room, settings};
use crate::{load, terminal};

/// A quant of a repository.
struct Quant {
    name: String,
    size: Option<u64>,
    /// Whether the cache has it.
    is_here: bool,
    /// The name without a quant means it.
    is_default: bool,
}

pub(crate) fn show(args: &cli::Show) -> Result<()> {
    let settings = settings(args.offline);
    let is_built_in = args.model.eq_ignore_ascii_case("ember");
    let name = match settings.name(&args.model)? {
        ModelName::File(_) => return show_file(args),
        _ if is_built_in => return show_file(args),
        name => name,
    };
    let hub = Hub::new(settings)?;
    let found = hub.find(&name, room())?;
    let (repo, tag) = Hub::repository(&name)?;
    let (quants, source) = quants(&hub, &name)?;
    let known = in_catalog(repo.as_str());
    let cached = hub.cache().models(&repo);
    let short = match &name {
        ModelName::Alias { .. } => None,
        _ => found
            .as_ref()
            .and_then(|found| short_name(cached.iter().find(|model| model.files[0].path == found.path)?)),
    };
    let page = format!("{}/{repo}", hub.settings().endpoint);
    if args.json {
        let quant = |quant: &Quant| json!({ "quant": quant.name, "size": quant.size, "is_here": quant.is_here, "is_default": quant.is_default });
        let object = json!({
            "name": name.to_string(),
            "short_name": short,
            "repository": repo.as_str(),
            "page": page,
            "license": known.map(|model| &model.license),
            "context": known.and_then(|model| model.context),
            "architecture": known.map(|model| &model.arch),
            "path": found.as_ref().map(|found| &found.path),
            "size": found.as_ref().map(|found| found.size),
            "quants": quants.iter().map(quant).collect::<Value>(),
        });
        return print(format!("{}\n", terminal::json(&format!("{object:#}"))).as_bytes());
    }
    let mut lines = vec![terminal::visible(&name.to_string())];
    let mut row =
        |name: &str, value: String| lines.push(format!("  {name:19}  {}", terminal::visible(&value)));
    if let Some(short) = short {
        row("short name", short);
    }
    row("repository", page);
    match &found {
        Some(found) => row("file", found.path.display().to_string()),
        None => row("file", format!("not here: `inferno pull {name}` downloads it")),
    }
    if let (Some(known), None) = (known, &found) {
        row("license", known.license.clone());
        known.context.into_iter().for_each(|context| row("context", format!("{context} positions")));
    }
    for (i, quant) in quants.iter().enumerate() {
        let size = quant.size.map_or_else(|| "size unknown".into(), bytes);
        let mut marks = Vec::new();
        if quant.is_here {
            marks.push("here");
        }
        if quant.is_default && tag.is_none() {
            marks.push("taken without a quant");
        }
        let marks = if marks.is_empty() { String::new() } else { format!("  {}", marks.join(", ")) };
        row(if i == 0 { source } else { "" }, format!("{:12} {size:>9}{marks}", quant.name));
    }
    if let Some(found) = &found {
        lines.push(String::new());
        lines.extend(inspect::brief(&load::open_file(&found.path)?));
    }
    print((lines.join("\n") + "\n").as_bytes())
}

/// The quants of a repository, and where that is known from: the hub, or else the cache and the catalog.
fn quants(hub: &Hub, name: &ModelName) -> Result<(Vec<Quant>, &'static str)> {
    let (repo, _) = Hub::repository(name)?;
    let here = hub.cache().models(&repo);
    let is_here = |quant: &str| here.iter().any(|model| model.remote().quant().eq_ignore_ascii_case(quant));
    // The whole repository, whatever quant the name has.
    let whole = match name {
        ModelName::Repo { .. } => ModelName::Repo { repo: repo.clone(), tag: None },
        name => name.clone(),
    };
    let default_of = |models: &[RemoteModel]| {
        Hub::default_of(&whole, models, room()).map(RemoteModel::quant).unwrap_or_default()
    };
    match hub.models(&whole) {
        Ok(models) => {
            let default = default_of(&models);
            let quant = |model: &RemoteModel| {
                let name = model.quant();
                let (is_here, is_default) = (is_here(&name), name == default);
                Quant { size: Some(model.size()), is_here, is_default, name }
            };
            return Ok((models.iter().map(quant).collect(), "on the hub"));
        }
        Err(HubError::Offline { .. }) => {}
        Err(e) if here.is_empty() => return Err(e.into()),
        Err(e) => note(&format!("the quants are those known here: {e}")),
    }
    let mut all: Vec<Quant> = here
        .iter()
        .map(|model| Quant {
            name: model.remote().quant(),
            size: Some(model.size()),
            is_here: true,
            is_default: false,
        })
        .collect();
    let known = in_catalog(repo.as_str());
    for file in known.filter(|known| known.repo == repo.as_str()).into_iter().flat_map(|known| &known.files) {
        if !is_here(&file.quant) {
            all.push(Quant { name: file.quant.clone(), size: file.size, is_here: false, is_default: false });
        }
    }
    let default = match here.is_empty() {
        true => known.map(|known| known.default_quant.clone()).unwrap_or_default(),
        false => default_of(&here.iter().map(inferno_hub::CachedModel::remote).collect::<Vec<_>>()),
    };
    all.iter_mut().for_each(|quant| quant.is_default = quant.name.eq_ignore_ascii_case(&default));
    Ok((all, "known here"))
}

/// A file of the user's, or the model inside the program.
fn show_file(args: &cli::Show) -> Result<()> {
    let model = ModelFile { model: Some(args.model.clone().into()), offline: args.offline };
    let opened = load::open(&model)?;
    if args.json {
        let object = json!({
            "name": opened.names.first().unwrap_or(&opened.name),
            "path": opened.path(),
            "size": opened.file.file_bytes(),
        });
        return print(format!("{}\n", terminal::json(&format!("{object:#}"))).as_bytes());
    }
    let head = vec![
        terminal::visible(&opened.name),
        format!("  {:19}  {}", "size", bytes(opened.file.file_bytes())),
    ];
    let lines: Vec<String> = head.into_iter().chain([String::new()]).chain(inspect::brief(&opened)).collect();
    print((lines.join("\n") + "\n").as_bytes())
}
