//! A model's first layers alone, for tests that need a real vocabulary and trained weights more than good text.

use inferno_format::{Gguf, GgufWriter, NewTensor, TensorEntry, Value};

/// The model of `file` cut after its first `n_layers` layers; embedding, output, vocabulary and template stay.
///
/// # Panics
/// A file that cannot be read, or has no architecture.
pub fn first_layers(file: &Gguf, n_layers: u32) -> Gguf {
    let mut metadata = file.metadata().clone();
    let architecture = metadata.str("general.architecture").expect("an architecture").to_owned();
    metadata.set(format!("{architecture}.block_count"), Value::U32(n_layers));
    let is_kept = |tensor: &&TensorEntry| {
        let layer =
            tensor.name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
        layer.is_none_or(|layer| layer < n_layers)
    };
    let kept: Vec<&TensorEntry> = file.tensors().iter().filter(is_kept).collect();
    let shapes =
        kept.iter().map(|t| NewTensor { name: t.name.clone(), dtype: t.dtype, dims: t.dims.clone() });
    let shapes: Vec<NewTensor> = shapes.collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &shapes).expect("the header is that of a file");
    for tensor in kept {
        let bytes = file.read(tensor).expect("the tensor is read");
        writer.append(&tensor.name, &bytes).expect("the tensor has its size");
    }
    Gguf::from_bytes(writer.finish().expect("all tensors are there")).expect("a file that was just written")
}
