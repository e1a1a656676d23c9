//! Files: the header, the metadata, the tensor table, and what is read from them.
//!
//! A file is refused, or each tensor has the bytes that its entry says, a copy that our writer makes of it reads the same, and
//! shape, vocabulary and template are read or refused.

use std::sync::Arc;

use inferno_format::{Gguf, GgufWriter, NewTensor};
use inferno_model::architecture::Architecture;
use inferno_text::{ChatTemplate, Special, Tokenizer, template_source};

use super::input::read;
use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "gguf",
    check,
    max_len: 16 << 10,
    seeds,
    words: &[
        "GGUF",
        "general.architecture",
        "general.alignment",
        "llama",
        "qwen3",
        "gemma3",
        ".block_count",
        ".context_length",
        ".embedding_length",
        ".attention.head_count",
        ".attention.head_count_kv",
        ".rope.freq_base",
        "tokenizer.ggml.model",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.tokens",
        "tokenizer.ggml.merges",
        "tokenizer.ggml.token_type",
        "tokenizer.ggml.scores",
        "tokenizer.chat_template",
        "gpt2",
        "<0xFF>",
        "blk.0.attn_q.weight",
        "token_embd.weight",
        "output_norm.weight",
    ],
};

/// Families whose headers are seeds.
pub(super) const SEEDS: [&str; 12] = [
    "llama",
    "qwen3",
    "gemma3",
    "mixtral",
    "phi3",
    "lfm2",
    "nemotron-h",
    "deepseek3",
    "kimi-linear",
    "gpt-oss-mxfp4",
    "gemma4-e2b",
    "arcee",
];

fn seeds() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = SEEDS.iter().map(|name| header(name)).collect();
    // A whole file, if a small one.
    all.extend([b"GGUF".to_vec(), Vec::new()]);
    all
}

/// The first bytes of a golden model: header and tensor table are within them.
pub(super) fn header(name: &str) -> Vec<u8> {
    let mut bytes = read(&format!("testdata/goldens/{name}.gguf"));
    bytes.truncate(16 << 10);
    bytes
}

fn check(data: &[u8]) {
    if let Ok(file) = Gguf::from_header(data.to_vec(), 1 << 40) {
        let _ = Architecture::read(&file, None);
    }
    let Ok(file) = Gguf::from_bytes(data.to_vec()) else { return };
    for tensor in file.tensors() {
        let bytes = file.read(tensor).expect("a tensor of a checked file is readable");
        assert_eq!(bytes.len() as u64, tensor.n_bytes);
    }
    assert_eq!(file.file_bytes(), data.len() as u64);
    let _ = Architecture::read(&file, None);
    if let Ok(tokenizer) = Tokenizer::from_metadata(file.metadata()) {
        let ids = tokenizer.encode("Hello, wörld <|im_start|>\n", Special::AsText);
        tokenizer.decode(&ids).expect("tokens of its own");
        if let Ok(Some(source)) = template_source(file.metadata()) {
            let _ = ChatTemplate::new(source, Arc::new(tokenizer.template_tokens()));
        }
    }
    copies_the_same(&file);
}

fn copies_the_same(file: &Gguf) {
    let tensors: Vec<NewTensor> = file
        .tensors()
        .iter()
        .map(|t| NewTensor { name: t.name.clone(), dtype: t.dtype, dims: t.dims.clone() })
        .collect();
    let mut writer =
        GgufWriter::new(Vec::new(), file.metadata(), &tensors).expect("what was read can be written");
    for tensor in file.tensors() {
        writer.append(&tensor.name, &file.read(tensor).expect("readable")).expect("as many bytes");
    }
    let copy = Gguf::from_bytes(writer.finish().expect("whole")).expect("what was written can be read");
    // As text, in which NaN is equal to itself.
    assert_eq!(format!("{:?}", copy.metadata()), format!("{:?}", file.metadata()));
    for (ours, theirs) in copy.tensors().iter().zip(file.tensors()) {
        assert_eq!(copy.read(ours).expect("readable"), file.read(theirs).expect("readable"));
    }
}
