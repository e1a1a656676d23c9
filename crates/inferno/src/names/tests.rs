use super::*;

#[test]
fn names_of_models_are_told_from_prompts() {
    for word in [
        "qwen3:0.6b",
        "qwen3",
        "Qwen3-0.6B",
        "Qwen3-0.6B-Q8_0",
        "qwen2.5-coder:7b-instruct-q4_K_M",
        "llama3",
        "llama3.2",
        "llama3.2:1b",
        "Llama-3.2-1B-Instruct",
        "mistral",
        "mistral:latest",
        "mixtral:8x7b",
        "gemma3n:e4b",
        "gemma-3-4b-it",
        "phi4",
        "phi-4",
        "phi4-mini:3.8b",
        "gpt-oss:20b",
        "gpt-oss",
        "deepseek-r1",
        "deepseek-r1:8b-llama-distill",
        "glm-4.7-flash",
        "smollm2:360m",
        "granite4:tiny-h",
        "lfm2:8b-a1b",
        "nomic-embed-text:v1.5",
        "bge-m3",
        "tinyllama",
        "embeddinggemma:300m",
        "mymodel:latest",
        "codellama:13b-python",
        "command-r:35b",
        "falcon3:10b",
        "wizard-vicuna:13b",
    ] {
        assert_eq!(named(word), Some(Named::Alias), "{word}");
    }
    for word in [
        "Qwen/Qwen3-0.6B-GGUF",
        "TheBloke/Llama-2-7B-Chat-GGUF",
        "unsloth/gemma-3-4b-it-GGUF:Q4_K_M",
        "openai/gpt-oss-20b",
        "hf.co/Qwen/Qwen3-0.6B-GGUF",
        "hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0",
        "https://huggingface.co/Qwen/Qwen3-0.6B-GGUF",
        "microsoft/phi-4",
        "me/mymodel:7b",
        "ibm-granite/granite-4.0-h-tiny-GGUF",
        "hf://a/b",
    ] {
        assert_eq!(named(word), Some(Named::Repository), "{word}");
    }
    for word in ["x.gguf", "models/Qwen3-0.6B-Q8_0.GGUF", "./model.safetensors", "Cargo.toml", "src/main.rs"]
    {
        assert_eq!(named(word), Some(Named::File), "{word}");
    }
    for word in [
        "hi",
        "Hello",
        "Hello!",
        "fox/dog",
        "and/or",
        "he/she",
        "TCP/IP",
        "1/2",
        "12:30",
        "note:",
        "std::vec",
        "C:",
        "localhost:8080",
        "key:value",
        "size:small",
        "shirt:large",
        "a:b",
        "why?",
        "llama",
        "alpaca",
        "falcon",
        "yi",
        "dolphin",
        "philosophy",
        "gemmatology",
        "mistralian",
        "llamas",
        "http://example.com/x",
        "3.14",
        "e.g.",
        "Dr.Who",
        "README",
        "-5",
        "",
        "  ",
        "google/deepmind",
        "client/server",
        "i/o",
        "what:is",
        "no-one",
        "self-made",
        "x-ray",
        "24/7",
        "model",
        "one:two:three",
        "a/b/c",
        "qwen3 is what?",
        "Grüße",
        "你好",
    ] {
        assert_eq!(named(word), None, "{word}");
    }
}

#[test]
fn a_repository_is_part_of_the_command_that_gets_it() {
    let text = how_to_get("Qwen/Qwen3-0.6B-GGUF");
    assert!(
        text.contains("curl -L -O https://huggingface.co/Qwen/Qwen3-0.6B-GGUF/resolve/main/FILE.gguf"),
        "{text}"
    );
    assert_eq!(how_to_get("hf.co/Qwen/Qwen3-0.6B-GGUF:Q8_0"), text);
    assert_eq!(how_to_get("https://huggingface.co/Qwen/Qwen3-0.6B-GGUF"), text);
    for name in ["qwen3:0.6b", "a b/c$(d)", "hf.co/x"] {
        assert!(
            how_to_get(name).contains("https://huggingface.co/OWNER/NAME-GGUF/resolve/main/FILE.gguf"),
            "{name}"
        );
    }
    let page = "https://huggingface.co/Qwen/Qwen3-0.6B-GGUF/blob/main/Qwen3-0.6B-Q8_0.gguf";
    assert!(how_to_get(page).contains(&format!("curl -L -O {}\n", page.replace("blob", "resolve"))));
}
