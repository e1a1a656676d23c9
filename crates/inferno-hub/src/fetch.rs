//! From a name to a file: the cache first, then the hub.

mod parts;

use std::io::Read;
use std::path::PathBuf;

use crate::cache::{Cache, CachedModel};
use crate::catalog::Catalog;
use crate::client::Client;
use crate::error::{HubError, shown};
use crate::listing::{self, RemoteFile, RemoteModel};
use crate::name::{ModelName, RepoId};
use crate::settings::Settings;
use crate::watch::Watch;

/// The hub and the cache.
#[derive(Debug)]
pub struct Hub {
    settings: Settings,
    cache: Cache,
    client: Client,
}

/// A model on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file to open: the first part of a split model.
    pub path: PathBuf,
    /// `owner/name` and the file in it.
    pub repo: RepoId,
    /// The file's name in the repository.
    pub file: String,
    /// Bytes of all parts.
    pub size: u64,
    /// Bytes of the parts that were not there before; 0 if all were.
    pub downloaded: u64,
}

/// The models of a repository as it was at one moment.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The repository.
    pub repo: RepoId,
    /// 40 hexadecimal digits.
    commit: String,
    /// In the order of their names.
    pub models: Vec<RemoteModel>,
}

/// A name without its short form: a repository and what is wanted of it.
struct Wanted {
    repo: RepoId,
    tag: Option<String>,
    /// The quant that the catalog takes where nothing is asked for.
    preferred: Option<&'static str>,
}

impl Hub {
    /// A hub by its settings. Nothing is read or requested yet.
    ///
    /// # Errors
    /// The endpoint is no address.
    pub fn new(settings: Settings) -> Result<Hub, HubError> {
        let (cache, client) = (Cache::new(settings.cache.clone()), Client::new(&settings)?);
        Ok(Hub { settings, cache, client })
    }

    /// The cache.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The file of `name`, from the cache without a request if it is there, else downloaded. Without a quant in the name it is one
    /// that takes at most `room` bytes, if there is one.
    ///
    /// # Errors
    /// There is no such model, or it cannot be downloaded.
    pub fn get(&self, name: &ModelName, room: Option<u64>, watch: &dyn Watch) -> Result<Fetched, HubError> {
        let wanted = wanted(name)?;
        match self.cached(&wanted, room) {
            Some(found) => Ok(found),
            None => self.download(&wanted, room, watch),
        }
    }

    /// The file of `name` in the cache, without a request.
    ///
    /// # Errors
    /// The text is no name of a model.
    pub fn find(&self, name: &ModelName, room: Option<u64>) -> Result<Option<Fetched>, HubError> {
        Ok(self.cached(&wanted(name)?, room))
    }

    /// The repository that a name means, and the quant or file in it.
    ///
    /// # Errors
    /// The text is no name of a model.
    pub fn repository(name: &ModelName) -> Result<(RepoId, Option<String>), HubError> {
        wanted(name).map(|Wanted { repo, tag, .. }| (repo, tag))
    }

    /// As [`Hub::get`], but the hub is asked for the newest commit.
    ///
    /// # Errors
    /// There is no such model, or it cannot be downloaded.
    pub fn pull(&self, name: &ModelName, room: Option<u64>, watch: &dyn Watch) -> Result<Fetched, HubError> {
        self.download(&wanted(name)?, room, watch)
    }

    /// The models of a repository, or of the repository of a short name.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn models(&self, name: &ModelName) -> Result<Vec<RemoteModel>, HubError> {
        Ok(self.listing(name)?.models)
    }

    /// The same with the commit that has them.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn listing(&self, name: &ModelName) -> Result<Listing, HubError> {
        let Wanted { repo, .. } = wanted(name)?;
        self.online(repo.as_str())?;
        let commit = listing::commit(&self.client, &repo)?;
        let models = listing::models(&listing::files(&self.client, &repo, &commit)?);
        Ok(Listing { repo, commit, models })
    }

    /// A reader of the first `n` bytes of a file of `listing`: those of a model begin with its metadata and the shapes of its
    /// tensors. Nothing is kept.
    ///
    /// # Errors
    /// The hub does not send the file.
    pub fn beginning(
        &self,
        listing: &Listing,
        file: &RemoteFile,
        n: u64,
    ) -> Result<impl Read + use<>, HubError> {
        self.online(listing.repo.as_str())?;
        let body = self.client.beginning(listing.repo.as_str(), &listing.commit, &file.path, n)?;
        Ok(body.into_reader().take(n))
    }

    /// The model of `models` that a quant or file name means, in any case.
    pub fn tagged<'m>(models: &'m [RemoteModel], tag: &str) -> Option<&'m RemoteModel> {
        listing::tagged(models, tag)
    }

    /// The model among those of [`Hub::models`] that a name without a quant means; `None` if none takes at most `room` bytes.
    pub fn default_of<'m>(
        name: &ModelName,
        models: &'m [RemoteModel],
        room: Option<u64>,
    ) -> Option<&'m RemoteModel> {
        listing::default(models, wanted(name).ok()?.preferred, room)
    }

    /// The models in the cache that `name` means: all of a repository, or the one of a quant.
    ///
    /// # Errors
    /// The text is no name.
    pub fn in_cache(&self, name: &ModelName) -> Result<(RepoId, Vec<CachedModel>), HubError> {
        let Wanted { repo, tag, .. } = wanted(name)?;
        let mut models = self.cache.models(&repo);
        if let Some(tag) = tag {
            let remote: Vec<RemoteModel> = models.iter().map(CachedModel::remote).collect();
            let found = listing::tagged(&remote, &tag);
            models.retain(|model| found.is_some_and(|found| found.name() == model.files[0].name));
        }
        Ok((repo, models))
    }

    fn cached(&self, wanted: &Wanted, room: Option<u64>) -> Option<Fetched> {
        let models = self.cache.models(&wanted.repo);
        let remote: Vec<RemoteModel> = models.iter().map(CachedModel::remote).collect();
        let model = match &wanted.tag {
            Some(tag) => listing::tagged(&remote, tag)?,
            // Better one that is here and large than none.
            None => listing::default(&remote, wanted.preferred, room)
                .or_else(|| listing::default(&remote, wanted.preferred, None))?,
        };
        let found = models.iter().find(|cached| cached.files[0].name == model.name())?;
        Some(Fetched {
            path: found.files[0].path.clone(),
            repo: wanted.repo.clone(),
            file: model.name().to_owned(),
            size: model.size(),
            downloaded: 0,
        })
    }

    fn online(&self, what: &str) -> Result<(), HubError> {
        match self.settings.offline {
            true => Err(HubError::Offline { what: what.to_owned(), cache: self.settings.cache.clone() }),
            false => Ok(()),
        }
    }

    fn download(&self, wanted: &Wanted, room: Option<u64>, watch: &dyn Watch) -> Result<Fetched, HubError> {
        let Wanted { repo, tag, preferred } = wanted;
        self.online(&tag.as_ref().map_or(repo.to_string(), |tag| format!("{repo}:{tag}")))?;
        let commit = listing::commit(&self.client, repo)?;
        let files = listing::files(&self.client, repo, &commit)?;
        let models = listing::models(&files);
        if models.is_empty() {
            let found =
                files.iter().map(|file| file.path.clone()).filter(|path| path.ends_with(".safetensors"));
            return Err(HubError::NoModel { repo: repo.to_string(), found: found.take(1).collect() });
        }
        let model = match tag {
            Some(tag) => listing::tagged(&models, tag).ok_or_else(|| HubError::NoQuant {
                repo: repo.to_string(),
                tag: tag.clone(),
                known: models.iter().map(RemoteModel::quant).collect(),
            })?,
            None => listing::default(&models, *preferred, room)
                .ok_or_else(|| nothing_fits(repo, &models, room))?,
        };
        if tag.is_none() && models.len() > 1 {
            let usual = listing::default(&models, *preferred, None);
            watch.note(&choice(repo, model, &models, room.filter(|_| usual != Some(model))));
        }
        if let Some(projector) = files.iter().find(|file| file.path.to_ascii_lowercase().contains("mmproj")) {
            watch.note(&format!(
                "its projector for images (`{}`) is not downloaded: models read text only here",
                projector.path
            ));
        }
        let downloaded = self.parts(repo, &commit, &model.parts, watch)?;
        self.cache.set_commit(repo, &commit)?;
        let file = model.name().to_owned();
        let path = self.cache.find(repo, &commit, &file);
        let path = path.ok_or_else(|| HubError::Removed { file: file.clone() })?;
        Ok(Fetched { path, repo: repo.clone(), file, size: model.size(), downloaded })
    }
}

/// The repository behind a name.
fn wanted(name: &ModelName) -> Result<Wanted, HubError> {
    match name {
        ModelName::Repo { repo, tag } => Ok(Wanted { repo: repo.clone(), tag: tag.clone(), preferred: None }),
        ModelName::Alias { name, quant } => {
            let (model, of_name) = Catalog::get().find(name)?;
            let tag = quant.as_deref().or(of_name).map(str::to_owned);
            let repo = model.repo_of(tag.as_deref()).expect("a test has read every repository");
            Ok(Wanted { repo, tag, preferred: Some(&model.default_quant) })
        }
        ModelName::File(path) => Err(HubError::Name {
            name: path.display().to_string(),
            expected: "expected a name of the hub, like `owner/repository:QUANT` or `qwen3:0.6b`, not a file",
        }),
    }
}

/// Says which quant was taken, and why: as another one takes more than `room` bytes, if there is one.
fn choice(repo: &RepoId, model: &RemoteModel, models: &[RemoteModel], room: Option<u64>) -> String {
    const MOST: usize = 8;
    let all = models.iter().filter(|other| *other != model);
    let mut others: Vec<String> =
        all.map(|other| format!("{} ({})", other.quant(), shown(other.size()))).collect();
    let n_more = others.len().saturating_sub(MOST);
    others.truncate(MOST);
    if n_more > 0 {
        others.push(format!("{n_more} more"));
    }
    let why = room.map_or(String::new(), |room| {
        format!(", the largest that fits into the {} of memory that are free", shown(room))
    });
    format!(
        "{repo}: taking {} ({}){why}; `{repo}:QUANT` takes another: {}",
        model.quant(),
        shown(model.size()),
        others.join(", ")
    )
}

fn nothing_fits(repo: &RepoId, models: &[RemoteModel], room: Option<u64>) -> HubError {
    let smallest = models.iter().min_by_key(|model| model.size());
    HubError::NothingFits {
        repo: repo.to_string(),
        quant: smallest.map_or_else(String::new, RemoteModel::quant),
        size: smallest.map_or(0, RemoteModel::size),
        room: room.unwrap_or(0),
    }
}
