//! Models with random weights: a file of them in memory, and their logits on a backend beside those of the reference.

use inferno_format::{Gguf, GgufWriter, Metadata, NewTensor};

use super::{Noise, Precision, Promise, Results, Sequence, compare};
use crate::backend::Backend;
use crate::reference::Reference;

/// A file of random weights; decays of states are negative.
pub(super) fn file(metadata: &Metadata, tensors: &[NewTensor], mut noise: Noise) -> Gguf {
    let mut writer = GgufWriter::new(Vec::new(), metadata, tensors).expect("a small header");
    for tensor in tensors {
        let n = tensor.dims.iter().product();
        let bytes = match tensor.name.ends_with("ssm_a") {
            true => noise.numbers(n).iter().flat_map(|x| (-0.1 - x.abs()).to_le_bytes()).collect(),
            false => noise.bytes(tensor.dtype, n),
        };
        writer.append(&tensor.name, &bytes).expect("the tensor has its size");
    }
    Gguf::from_bytes(writer.finish().expect("all tensors are there")).expect("a file that was just written")
}

/// Compares logits of 37 rows of a model on a backend and on the reference: near each other, as bits if that is the promise.
pub(super) fn compare_model<B: Backend<Weight: Send, Buffer: Send, KvPool: Send> + Send>(
    (name, file, vocab_size): (&str, &Gguf, usize),
    backend: B,
    promise: Promise,
) {
    let precision = match (promise.operations, promise.attention) {
        (Precision::Bits, Precision::Bits) => Precision::Bits,
        _ => Precision::Close(1e-3),
    };
    let tokens: Vec<u32> = (0..37).map(|i| i * 7 % vocab_size as u32).collect();
    let named = |logits: Vec<Vec<f32>>| -> Results { vec![(name.into(), vocab_size, logits.concat())] };
    let expected = Sequence::new(file, Reference::default(), 64).expect("a model that loads").append(&tokens);
    let found = Sequence::new(file, backend, 64).expect("a model that loads").append(&tokens);
    compare(&named(found), &named(expected), precision);
}
