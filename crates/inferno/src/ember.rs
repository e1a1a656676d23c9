//! The model inside the program. To swap it, replace the file and its name here.

use inferno_format::{FormatError, Gguf};

/// What the model is called.
pub(crate) const NAME: &str = "Ember (built in)";

/// Tensors in a GGUF file are aligned relative to its start: so must be the start.
#[repr(align(64))]
struct Aligned<T: ?Sized>(T);

static FILE: &Aligned<[u8]> = &Aligned(*include_bytes!("../models/ember/ember-q8_0.gguf"));

/// Opens it: it reads like any other file.
pub(crate) fn open() -> Result<Gguf, FormatError> {
    Gguf::from_static(&FILE.0)
}
