//! Names of models as other programs take them, which are easily given in place of a file or a prompt.

use std::path::Path;

/// Kind of a model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Named {
    /// A file on this machine, or a name that only files have.
    File,
    /// `OWNER/NAME` of a hub, with or without the hub before it.
    Repository,
    /// A name from a registry, like `qwen3:0.6b`.
    Alias,
}

/// Families whose names, with or without a version, are hardly ever a prompt.
const FAMILIES: &[&str] = &[
    "all-minilm",
    "bge",
    "codegemma",
    "codellama",
    "codeqwen",
    "codestral",
    "deepseek",
    "devstral",
    "dolphin-mistral",
    "dolphin-llama",
    "embeddinggemma",
    "exaone",
    "functiongemma",
    "gemma",
    "gpt-oss",
    "internlm",
    "lfm",
    "llava",
    "magistral",
    "medgemma",
    "minicpm",
    "ministral",
    "mistral",
    "mixtral",
    "mxbai-embed",
    "moondream",
    "nemotron",
    "neural-chat",
    "nomic-embed-text",
    "olmo",
    "olmoe",
    "openchat",
    "orca-mini",
    "paligemma",
    "phi",
    "pixtral",
    "qwen",
    "qwq",
    "shieldgemma",
    "smollm",
    "smolvlm",
    "stablelm",
    "starcoder",
    "tinydolphin",
    "tinyllama",
    "wizardlm",
    "xlam",
];

/// Families whose names are words: a version or a size has to follow.
const WORDS: &[&str] = &[
    "aya",
    "command-r",
    "dolphin",
    "falcon",
    "glm",
    "granite",
    "hermes",
    "hunyuan",
    "kimi",
    "llama",
    "meta-llama",
    "nous-hermes",
    "orca",
    "solar",
    "vicuna",
    "yi",
    "zephyr",
];

/// Owners of repositories with many models.
const OWNERS: &[&str] = &[
    "bartowski",
    "deepseek-ai",
    "ggml-org",
    "google",
    "huggingfacetb",
    "ibm-granite",
    "lmstudio-community",
    "maziyarpanahi",
    "meta-llama",
    "microsoft",
    "mistralai",
    "mradermacher",
    "nousresearch",
    "openai",
    "qwen",
    "thebloke",
    "unsloth",
];

/// Prefixes of names on model hubs and registries.
const HUBS: &[&str] = &[
    "https://huggingface.co/",
    "http://huggingface.co/",
    "huggingface.co/",
    "https://hf.co/",
    "hf.co/",
    "hf://",
    "hf:",
    "ollama.com/library/",
    "https://ollama.com/library/",
    "ollama://",
    "registry.ollama.ai/",
    "https://modelscope.cn/models/",
    "modelscope.cn/",
];

/// Kind of name that `word` is; `None` if it is more likely a prompt.
pub(crate) fn named(word: &str) -> Option<Named> {
    let word = word.trim();
    if word.is_empty() || word.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return None;
    }
    let lower = word.to_ascii_lowercase();
    if let Some(rest) = HUBS.iter().find_map(|hub| lower.strip_prefix(hub)) {
        return Some(if rest.contains('/') { Named::Repository } else { Named::Alias });
    }
    let is_model_file = [".gguf", ".ggml", ".safetensors"].iter().any(|ending| lower.ends_with(ending));
    if is_model_file || is_path_to_file(word) {
        return Some(Named::File);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    if !lower.starts_with(|c: char| c.is_ascii_alphabetic()) || !lower.chars().all(is_name) {
        return None;
    }
    let (path, tag) = lower.split_once(':').map_or((&*lower, None), |(path, tag)| (path, Some(tag)));
    if tag.is_some_and(|tag| tag.is_empty() || tag.contains([':', '/'])) {
        return None;
    }
    match path.split_once('/') {
        Some((owner, name)) if !owner.is_empty() && !name.is_empty() && !name.contains('/') => {
            let is_model =
                is_family(name) || has_size(name) || name.contains("gguf") || tag.is_some_and(is_tag);
            let is_owned = OWNERS.contains(&owner) && name.contains(|c: char| c.is_ascii_digit());
            (is_model || is_owned).then_some(Named::Repository)
        }
        Some(_) => None,
        None => (is_family(path) || has_size(path) || tag.is_some_and(is_tag)).then_some(Named::Alias),
    }
}

/// Tells whether `word` is written like a path and leads to a file: a word alone may be a file's name by chance.
fn is_path_to_file(word: &str) -> bool {
    (word.contains(['/', '\\']) || Path::new(word).extension().is_some()) && Path::new(word).is_file()
}

/// `qwen`, `qwen3`, `qwen2.5-coder`, `phi-4`; not `philosophy`.
fn is_family(name: &str) -> bool {
    let has_version = |rest: &str| rest.trim_start_matches('-').starts_with(|c: char| c.is_ascii_digit());
    let behind =
        |families: &'static [&'static str]| families.iter().filter_map(|family| name.strip_prefix(family));
    behind(FAMILIES).any(|rest| rest.is_empty() || rest.starts_with('-') || has_version(rest))
        || behind(WORDS).any(has_version)
}

/// A part like `7b`, `0.6b`, `8x7b`, `a3b`, `e4b` or `270m`, or a quantization like `q4_k_m`, behind something else.
fn has_size(name: &str) -> bool {
    name.split(['-', '_']).skip(1).any(is_size) || name.split('-').skip(1).any(is_quantization)
}

fn is_size(part: &str) -> bool {
    let Some(number) = part.strip_suffix(['b', 'm']) else { return false };
    let number = number.strip_prefix(['a', 'e']).unwrap_or(number);
    let number = number.split_once('x').map_or(number, |(_, each)| each);
    number.starts_with(|c: char| c.is_ascii_digit()) && number.parse::<f32>().is_ok()
}

fn is_quantization(part: &str) -> bool {
    let digit = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    ["q", "iq"].iter().any(|q| part.strip_prefix(q).is_some_and(digit))
        || ["fp16", "bf16", "f16"].contains(&part)
}

/// A tag of a registry.
fn is_tag(tag: &str) -> bool {
    let mut parts = tag.split(['-', '_']);
    let words = ["latest", "instruct", "chat", "cloud"];
    let first = parts.next().unwrap_or_default();
    let is_version = first.strip_prefix('v').is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit()));
    is_size(first) || is_quantization(tag) || is_version || words.contains(&first) || parts.any(is_size)
}

#[cfg(test)]
mod tests;
