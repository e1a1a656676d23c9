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
    assert_eq!(error, "stdin has more than 16777216 bytes");
}
