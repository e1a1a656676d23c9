//! Families whose files exist and which this version does not run, by the part that is missing.

/// (names in `general.architecture`, description of the missing part). Source of the names: llama.cpp, `src/llama-arch.cpp`.
const REFUSED: &[(&[&str], &str)] = &[
    (
        &["arwkv7", "jamba", "mamba", "plamo2", "rwkv6", "rwkv6qwen2", "rwkv7"],
        "recurrent layers (delta-net, Mamba, RWKV or short convolutions) are not implemented",
    ),
    (
        &[
            "bert",
            "eurobert",
            "gemma-embedding",
            "jina-bert-v2",
            "jina-bert-v3",
            "llama-embed",
            "modern-bert",
            "neo-bert",
            "nomic-bert",
            "nomic-bert-moe",
            "t5encoder",
        ],
        "an encoder computes embeddings and cannot generate text",
    ),
    (&["t5"], "models of an encoder and a decoder are not implemented"),
    (
        &[
            "bloom",
            "codeshell",
            "cohere2",
            "cohere2moe",
            "command-r",
            "dbrx",
            "falcon",
            "gpt2",
            "gptj",
            "gptneox",
            "jais",
            "jais2",
            "mpt",
            "nemotron",
            "olmo",
            "orion",
            "persimmon",
            "phi2",
            "phimoe",
            "stablelm",
            "starcoder",
            "starcoder2",
        ],
        "LayerNorm is not implemented, only RMS norm",
    ),
    (
        &["clip", "mmproj"],
        "a projector of images or sound (mmproj) is the companion of a language model, whose file is the one to load",
    ),
    (&["dream", "llada", "llada-moe", "rnd1"], "diffusion models are not implemented"),
    (
        &["deepseek32", "deepseek4", "glm-dsa", "minimax-m3", "qwen4exp"],
        "sparse attention with an indexer is not implemented",
    ),
    (&["dflash", "eagle3", "gemma4-assistant"], "a draft model cannot run without the model it drafts for"),
    (&["gemma3n"], "its four residual streams (AltUp) are not implemented"),
    (&["llama4"], "its chunked attention is not implemented"),
    (&["wavtokenizer-dec"], "a decoder of sound cannot generate text"),
];

/// The part that this version lacks to run the family of that name; `None`: the name is not known.
pub(in crate::architecture) fn missing_part(name: &str) -> Option<&'static str> {
    REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|&(_, part)| part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_family_is_both_run_and_refused() {
        for family in super::super::FAMILIES {
            assert_eq!(missing_part(family.name), None, "{}", family.name);
        }
    }
}
