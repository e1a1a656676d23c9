//! What is in the file: GGUF, tensor types, quantization blocks and their scalar meaning.
#![forbid(unsafe_code)]

mod metadata;

pub use metadata::{Array, Metadata, MetadataError, Strings, Value};
