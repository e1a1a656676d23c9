//! What can be wrong with a file (at load) or with a device (in a step).

use inferno_format::{FormatError, MetadataError};

/// Why a file cannot be loaded as a model. Each message names the thing, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file itself.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A metadata key is missing or has an unfit value.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A family that is not in the table.
    #[error(
        "architecture `{found}` is not supported{}, expected one of: {known}",
        missing.map(|part| format!(": {part}")).unwrap_or_default()
    )]
    Family {
        /// `general.architecture`.
        found: String,
        /// The part that this version lacks, for families that are known by name.
        missing: Option<&'static str>,
        /// The names in the table.
        known: String,
    },
    /// A number out of the range that makes sense.
    #[error("metadata key `{key}` is {found}, expected {least} to {most}")]
    Range {
        /// The key.
        key: String,
        /// Its value.
        found: usize,
        /// Smallest allowed.
        least: usize,
        /// Largest allowed.
        most: usize,
    },
    /// A context length the model does not have.
    #[error("context length {asked} is out of range, this model takes 1 to {most}")]
    Context {
        /// What was asked for.
        asked: usize,
        /// What the file allows.
        most: usize,
    },
    /// A tensor is absent.
    #[error("tensor `{name}` is missing, expected shape {expected:?}")]
    MissingTensor {
        /// GGUF name.
        name: String,
        /// Dimensions in GGUF order, row length first.
        expected: Vec<usize>,
    },
    /// A tensor has other dimensions than its place needs.
    #[error("tensor `{name}` has shape {found:?}, expected {expected:?}")]
    Shape {
        /// GGUF name.
        name: String,
        /// Dimensions in GGUF order, row length first.
        found: Vec<usize>,
        /// The same, as the metadata has it.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type we cannot compute with.
    #[error(
        "tensor `{name}` has type {found}, which this build cannot compute with, expected one of: {known}"
    )]
    TensorType {
        /// GGUF name.
        name: String,
        /// Its type.
        found: &'static str,
        /// The types that work.
        known: String,
    },
    /// A tensor holds numbers that make no sense in its place.
    #[error("tensor `{name}` holds unfit numbers, expected {expected}")]
    Values {
        /// GGUF name.
        name: String,
        /// What they would have to be.
        expected: &'static str,
    },
    /// Layers that share keys and values would be on two devices.
    #[error(
        "layer {layer} reads the keys and values of layer {source_layer}, so both are on the same device: layer {at} cannot be the first \
         one of another"
    )]
    Cut {
        /// The first layer of a stage.
        at: usize,
        /// A layer of the stage.
        layer: usize,
        /// The layer before the stage whose keys and values it reads.
        source_layer: usize,
    },
    /// A tensor nobody asked for: the model would compute something else than it was trained to.
    #[error("tensor `{}` has no place in a `{family}` model, the file may be of a newer kind", name.escape_debug())]
    UnusedTensor {
        /// GGUF name.
        name: String,
        /// The file's architecture.
        family: &'static str,
    },
    /// The backend cannot take the weights or the cache.
    #[error(transparent)]
    Backend(#[from] BackendError),
}

/// A device could not give what was asked of it at load.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct BackendError {
    /// What failed, and what it would have needed.
    pub what: String,
}

/// A step was lost: a device or a rank died. Nothing else makes a step fail.
#[derive(Debug, thiserror::Error)]
#[error("the device failed during a step: {what}")]
pub struct StepError {
    /// The device's own words.
    pub what: String,
}
