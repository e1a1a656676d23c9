//! Models that are well-formed and odd: the program says what is wrong, or does what can be done.

use std::path::Path;

use inferno_format::{Gguf, GgufWriter, Metadata, NewTensor, Value};

use crate::{inferno, pipe};

/// Ember with other metadata.
fn ember(folder: &Path, change: impl FnOnce(&mut Metadata)) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ember/ember-q8_0.gguf");
    let file = Gguf::open(path.as_ref()).unwrap();
    let mut metadata = file.metadata().clone();
    change(&mut metadata);
    let tensor = |t: &inferno_format::TensorEntry| NewTensor {
        name: t.name.clone(),
        dtype: t.dtype,
        dims: t.dims.clone(),
    };
    let tensors: Vec<NewTensor> = file.tensors().iter().map(tensor).collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).unwrap();
    file.tensors().iter().for_each(|t| writer.append(&t.name, &file.read(t).unwrap()).unwrap());
    let path = folder.join("odd.gguf");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn template(text: &str) -> impl FnOnce(&mut Metadata) {
    let text = Value::String(text.into());
    move |m| m.set("tokenizer.chat_template", text)
}

#[test]
fn a_prompt_of_no_tokens_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = ember(folder.path(), template("{# nothing #}"));
    let error = inferno(&["run", "-m", &path, "Hello"]).error();
    assert!(error.starts_with("the prompt has no tokens"), "{error}");
}

#[test]
fn a_template_that_refuses_or_fails_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = ember(folder.path(), template("{{ raise_exception('only in pairs') }}"));
    let error = inferno(&["run", "-m", &path, "Hello"]).error();
    assert!(error.contains("chat template refuses the messages: only in pairs"), "{error}");
    let path = ember(folder.path(), template("{% for %}"));
    let error = inferno(&["run", "-m", &path, "Hello"]).error();
    assert!(error.contains("does not parse"), "{error}");
}

#[test]
fn a_context_of_sixteen_million_takes_no_memory_until_it_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = ember(folder.path(), |m| m.set("qwen3.context_length", Value::U32(1 << 24)));
    // 64 GiB of keys and values, were they allocated.
    inferno(&["run", "-m", &path, "-t", "0", "Hello!"]).ok();
}

#[test]
fn control_characters_of_a_file_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = ember(folder.path(), |m| {
        m.set("x\u{1b}[2Jy", Value::String("\u{1b}]0;title\u{7}".into()));
        m.set("k".repeat(60_000), Value::Bool(true));
    });
    let text = inferno(&["inspect", &path]).ok();
    assert!(!text.contains(['\u{1b}', '\u{7}']) && text.contains("x\\u{1b}[2Jy"));
    assert!(text.len() < 100_000);
}

#[test]
fn a_prompt_without_end_is_refused() {
    let error = pipe("y\n".repeat(9 << 20), &["run"]).error();
    assert!(error.starts_with("stdin has more than 16777216 bytes (16 MiB)"), "{error}");
}

#[test]
fn a_file_of_another_kind_is_named_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        inferno(&["run", "-m", path.to_str().unwrap(), "Hello"]).error()
    };
    for (bytes, what, advice) in [
        (&b"%PDF-1.4\n"[..], "a PDF document", "name the model's file"),
        (b"\x20\0\0\0\0\0\0\0{\"__metadata__\":{}}", "a safetensors file", "as GGUF"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
            "a Git LFS pointer",
            "git lfs pull",
        ),
        (b"<!doctype html><html>", "an HTML page", "/resolve/"),
        (b"Invalid username or password.", "a text file", "error message"),
        (b"tjgg\x03\0\0\0", "an old GGML file", "before GGUF"),
    ] {
        let error = error("model.gguf", bytes);
        assert!(
            error.contains(&format!(": {what}, not a GGUF model; ")) && error.contains(advice),
            "{error}"
        );
    }
    assert!(error("empty.gguf", b"").contains("the file is empty"));
    let ember = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/models/ember/ember-q8_0.gguf")).unwrap();
    for n_bytes in [3, 10, 100, 1000, ember.len() / 2, ember.len() - 1] {
        let error = error("cut.gguf", &ember[..n_bytes]);
        assert!(error.contains("unfinished download"), "{n_bytes}: {error}");
    }
    let big_endian = [b"GGUF".as_slice(), &3u32.to_be_bytes(), &[0; 64]].concat();
    assert!(error("be.gguf", &big_endian).contains("big-endian"));
    assert!(error("model.gguf.part", &[1, 2, 3, 4, 5]).contains("by its name it is an unfinished download"));
}

#[test]
fn a_folder_and_a_missing_file_say_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.gguf"), b"x").unwrap();
    let error = inferno(&["run", "-m", folder.path().to_str().unwrap(), "Hello"]).error();
    assert!(error.contains("found a directory") && error.contains("`a.gguf`"), "{error}");
    let error = inferno(&["run", "-m", folder.path().join("b.gguf").to_str().unwrap(), "Hello"]).error();
    assert!(error.contains("cannot open") && error.contains("the folder has `a.gguf`"), "{error}");
}

#[test]
fn files_that_go_with_a_model_are_told_from_models() {
    let folder = tempfile::tempdir().unwrap();
    for (kind, part) in [("adapter", "a LoRA adapter"), ("mmproj", "a multimodal projector")] {
        let path = ember(folder.path(), |m| m.set("general.type", Value::String(kind.into())));
        let error = inferno(&["run", "-m", &path, "Hello"]).error();
        assert!(error.contains(part), "{error}");
    }
    let vocabulary = golden_vocabulary(folder.path());
    let error = inferno(&["run", "-m", &vocabulary, "Hello"]).error();
    assert!(error.contains("has a vocabulary and no weights"), "{error}");
    assert!(inferno(&["inspect", &vocabulary]).ok().contains("a vocabulary and no weights"));
}

/// Ember without its tensors.
fn golden_vocabulary(folder: &Path) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/ember/ember-q8_0.gguf");
    let file = Gguf::open(path.as_ref()).unwrap();
    let writer = GgufWriter::new(Vec::new(), file.metadata(), &[]).unwrap();
    let path = folder.join("vocabulary.gguf");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}
