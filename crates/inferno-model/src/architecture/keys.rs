//! The metadata of one family, read key by key and checked.

use inferno_format::{Array, Metadata, MetadataError, Value};

use crate::error::LoadError;

/// The metadata keys that start with the family's name.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) family: &'static str,
    /// Layers that run.
    pub(super) n_layers: usize,
    /// Layers after them that draft: arrays with one entry per layer have theirs, too.
    pub(super) n_draft_layers: usize,
}

impl Keys<'_> {
    pub(super) fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    /// An integer; a per-layer array serves too if all its elements are equal.
    pub(super) fn opt_u32(&self, key: &str) -> Result<Option<u32>, LoadError> {
        let full = self.key(key);
        if let Some(Value::Array(array)) = self.metadata.get(&full) {
            return match uniform(array) {
                Some(n) => Ok(Some(n)),
                None => Err(self.unfit_text(key, "one integer for all layers")),
            };
        }
        Ok(self.metadata.opt_u32(&full)?)
    }

    /// Whether the key has a zero, or an array of nothing else.
    pub(super) fn is_zero(&self, key: &str) -> Result<bool, LoadError> {
        match self.entries(key, Array::integer)? {
            Some(entries) => Ok(entries.iter().all(|&n| n == 0)),
            None => Ok(self.opt_u32(key)? == Some(0)),
        }
    }

    /// The elements of an array with one entry per layer; `None` if the key is absent or not an array.
    pub(super) fn entries<T>(
        &self,
        key: &str,
        element: impl Fn(&Array, usize) -> Option<T>,
    ) -> Result<Option<Vec<T>>, LoadError> {
        let Some(Value::Array(array)) = self.metadata.get(&self.key(key)) else { return Ok(None) };
        let entries = (0..array.len()).map(|i| element(array, i)).collect::<Option<Vec<T>>>();
        let n_layers = self.n_layers + self.n_draft_layers;
        match entries.filter(|entries| entries.len() == n_layers) {
            Some(mut entries) => {
                entries.truncate(self.n_layers);
                Ok(Some(entries))
            }
            None => Err(self.unfit_text(key, "one value, or an array with one per layer (`block_count`)")),
        }
    }

    /// An integer up to `most` for every layer, from one integer above zero or from an array with one per layer. A zero in an
    /// array means that the layer has none of it.
    pub(super) fn opt_each(&self, key: &str, most: usize) -> Result<Option<Vec<usize>>, LoadError> {
        let Some(entries) = self.entries(key, Array::integer)? else {
            return Ok(self.opt_count(key, most)?.map(|n| vec![n; self.n_layers]));
        };
        let checked = entries.into_iter().map(|n| match usize::try_from(n) {
            Ok(n) if n <= most => Ok(n),
            Ok(found) => Err(LoadError::Range { key: self.key(key), found, least: 0, most }),
            Err(_) => Err(self.unfit_text(key, "integers from zero on")),
        });
        checked.collect::<Result<_, _>>().map(Some)
    }

    /// As [`Keys::opt_each`], for a key that the file must have.
    pub(super) fn each(&self, key: &str, most: usize) -> Result<Vec<usize>, LoadError> {
        self.opt_each(key, most)?.ok_or_else(|| self.missing(key, "a positive integer"))
    }

    /// An integer from 1 to `most`.
    pub(super) fn opt_count(&self, key: &str, most: usize) -> Result<Option<usize>, LoadError> {
        match self.opt_u32(key)?.map(|n| n as usize) {
            Some(n) if n == 0 || n > most => {
                Err(LoadError::Range { key: self.key(key), found: n, least: 1, most })
            }
            n => Ok(n),
        }
    }

    pub(super) fn count(&self, key: &str, most: usize) -> Result<usize, LoadError> {
        self.opt_count(key, most)?.ok_or_else(|| self.missing(key, "a positive integer"))
    }

    pub(super) fn f32(&self, key: &str, fits: impl Fn(f32) -> bool) -> Result<Option<f32>, LoadError> {
        match self.metadata.opt_f32(&self.key(key))? {
            Some(x) if !fits(x) => Err(self.unfit_text(key, "a finite number in range")),
            x => Ok(x),
        }
    }

    /// A number above zero; zero in the file means that it is not set.
    pub(super) fn positive(&self, key: &str) -> Result<Option<f32>, LoadError> {
        Ok(self.f32(key, |x| x.is_finite() && x >= 0.0)?.filter(|&x| x > 0.0))
    }

    /// The file's softcap if it speaks of one (zero: none), else the family's.
    pub(super) fn softcap(&self, key: &str, default: Option<f32>) -> Result<Option<f32>, LoadError> {
        match self.f32(key, |x| x.is_finite() && x >= 0.0)? {
            Some(cap) => Ok((cap > 0.0).then_some(cap)),
            None => Ok(default),
        }
    }

    pub(super) fn opt_str(&self, key: &str) -> Result<Option<&str>, LoadError> {
        Ok(self.metadata.opt_str(&self.key(key))?)
    }

    pub(super) fn missing(&self, key: &str, expected: &'static str) -> LoadError {
        LoadError::Metadata(MetadataError::Missing { key: self.key(key), expected })
    }

    pub(super) fn unfit(&self, key: &str, found: usize, expected: &'static str) -> LoadError {
        LoadError::Metadata(MetadataError::Unfit { key: self.key(key), expected, found: found.to_string() })
    }

    pub(super) fn unfit_text(&self, key: &str, expected: &'static str) -> LoadError {
        let found = self.metadata.get(&self.key(key)).map_or("absent".into(), Value::to_string);
        LoadError::Metadata(MetadataError::Unfit { key: self.key(key), expected, found })
    }
}

fn uniform(array: &Array) -> Option<u32> {
    let first = array.integer(0)?;
    (0..array.len()).all(|i| array.integer(i) == Some(first)).then_some(first)?.try_into().ok()
}
