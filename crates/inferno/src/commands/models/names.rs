//! Names of models, for completion.

use inferno_hub::{Cache, Catalog};

use super::short_name;
use crate::hub::{settings, unusable};

/// Names that `-m` takes: those of the models in the cache, short ones first, then short names of models to download that can be
/// run, and the model inside the program. A cache that cannot be read has none.
pub(crate) fn names() -> Vec<String> {
    let settings = settings(true);
    let cached = Cache::new(settings.cache.clone()).list().unwrap_or_default();
    let short = cached.iter().filter_map(short_name);
    let whole = cached.iter().map(|model| model.name().to_string());
    let known = Catalog::get().models.iter().map(|model| model.alias[0].clone());
    let is_usable = |name: &String| settings.name(name).is_ok_and(|name| unusable(&name).is_none());
    let built_in = cfg!(feature = "ember").then(|| "ember".to_owned());
    let mut names = Vec::new();
    for name in short.chain(whole).chain(known.filter(is_usable)).chain(built_in) {
        // A name that a shell or a terminal would act on is none to complete.
        if !names.contains(&name) && !name.contains(|c: char| c.is_control() || c.is_whitespace()) {
            names.push(name);
        }
    }
    names
}
