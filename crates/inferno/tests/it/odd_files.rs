//! Models that are well-formed and odd: the program says what is wrong, or does what can be done.

use std::path::Path;

use inferno_format::{Array, Gguf, GgufWriter, Metadata, NewTensor, Value};

use crate::{inferno, pipe};

/// Ember with other metadata.
pub(crate) fn ember(folder: &Path, change: impl FnOnce(&mut Metadata)) -> String {
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
fn tokens_that_a_file_suppresses_are_not_generated() {
    let folder = tempfile::tempdir().unwrap();
    let answer = |suppressed: &[u32]| {
        let path = ember(folder.path(), |m| {
            m.set("tokenizer.ggml.suppress_tokens", Value::Array(Array::U32(suppressed.to_vec())));
        });
        inferno(&["run", "-m", &path, "-t", "0", "-n", "8", "Hello!"]).ok()
    };
    let usual = answer(&[]);
    let first =
        pipe(usual.trim_end(), &["tokenize"]).ok().split_whitespace().next().unwrap().parse().unwrap();
    assert_ne!(answer(&[first]), usual);
    let error = inferno(&[
        "run",
        "-m",
        &ember(folder.path(), |m| {
            m.set("tokenizer.ggml.suppress_tokens", Value::Array(Array::U32(vec![1 << 20])));
        }),
        "Hello!",
    ])
    .error();
    assert!(
        error.contains("`tokenizer.ggml.suppress_tokens` is 1048576, expected a token id below"),
        "{error}"
    );
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
    assert!(error("song.gguf", b"ID3\x04\0\0\0\0\0\x01\xff").contains("it is not a GGUF file"));
    assert!(error("old.gguf", b"GGUF\x01\0\0\0\0\0\0\0\0\0\0\0").contains("before October 2023"));
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

fn sampling(pairs: &'static [(&'static str, Value)]) -> impl FnOnce(&mut Metadata) {
    move |m| pairs.iter().for_each(|(key, value)| m.set(format!("general.sampling.{key}"), value.clone()))
}

#[test]
fn a_file_has_sampling_defaults_which_flags_replace() {
    let folder = tempfile::tempdir().unwrap();
    let path = ember(folder.path(), sampling(&[("temp", Value::F32(0.0)), ("top_k", Value::U32(7))]));
    let tell = |args: &[&str]| {
        inferno(&[&["run", "-v", "-n", "30", "--seed", "3", "-m", &path, "Tell me a story."], args].concat())
    };
    let greedy = tell(&["-t", "0"]).ok();
    let ran = tell(&[]);
    assert!(ran.stderr.contains("sampling defaults of the model: temperature 0, top-k 7"), "{}", ran.stderr);
    assert_eq!(ran.ok(), greedy);
    let ran = tell(&["--temperature", "3"]);
    assert!(!ran.stderr.contains("temperature 0") && ran.stderr.contains("top-k 7"), "{}", ran.stderr);
    assert_ne!(ran.ok(), greedy);
    let ran = tell(&["--no-model-defaults", "-t", "3"]);
    assert!(!ran.stderr.contains("sampling defaults"), "{}", ran.stderr);
    ran.ok();
}

#[test]
fn bad_sampling_defaults_are_warned_of_and_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let bad = &[("temp", Value::F32(f32::NAN)), ("top_p", Value::F32(7.0)), ("mirostat", Value::U32(3))];
    let path = ember(folder.path(), sampling(bad));
    let ran = inferno(&["run", "-n", "2", "-m", &path, "Hello!"]);
    for key in ["temp", "top_p", "mirostat"] {
        assert!(
            ran.stderr.contains(&format!("warning: `general.sampling.{key}` of the model is ")),
            "{}",
            ran.stderr
        );
    }
    ran.ok();
}

#[test]
fn overridden_metadata_is_that_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let logits = |args: &[&str]| inferno(&[&["logits", "--tokens", "5,6,7,8,9,10"], args].concat());
    let changed = ember(folder.path(), |m| m.set("qwen3.rope.freq_base", Value::F32(123.0)));
    let expected = logits(&["-m", &changed]).ok();
    assert_ne!(logits(&[]).ok(), expected);
    assert_eq!(logits(&["--override-kv", "qwen3.rope.freq_base=float:123"]).ok(), expected);
    assert_eq!(logits(&["--rope-freq-base", "123"]).ok(), expected);
    let changed = ember(folder.path(), |m| {
        let original = m.u32("qwen3.context_length").unwrap();
        m.set("qwen3.rope.scaling.type", Value::String("yarn".into()));
        m.set("qwen3.rope.scaling.factor", Value::F32(4.0));
        m.set("qwen3.rope.scaling.original_context_length", Value::U32(original));
        m.set("qwen3.context_length", Value::U32(2 * original));
    });
    let expected = logits(&["-m", &changed]).ok();
    assert_eq!(logits(&["--rope-scaling", "yarn", "--rope-scale", "4"]).ok(), expected);
    let error = logits(&["--override-kv", "general.alignment=int:8"]).error();
    assert!(error.contains("where the file's tensors are"), "{error}");
}

/// Ember, which says a control sequence in place of ` time`.
#[cfg(target_os = "linux")]
fn coloured(folder: &Path) -> String {
    ember(folder, |m| {
        let tokens = m.opt_strings("tokenizer.ggml.tokens").unwrap().unwrap();
        // `\u{11b}` is the byte-level form of the escape character.
        let tokens = tokens.iter().map(|t| if t == "\u{120}time" { "\u{120}\u{11b}[31mtime" } else { t });
        let tokens = inferno_format::Array::String(tokens.collect());
        // No merge makes the token that is gone.
        let merges = m.opt_strings("tokenizer.ggml.merges").unwrap().unwrap();
        let has = |merge: &str| {
            merge.replace(' ', "") == "\u{120}time" || merge.split(' ').any(|part| part == "\u{120}time")
        };
        let merges = inferno_format::Array::String(merges.iter().filter(|merge| !has(merge)).collect());
        m.set("tokenizer.ggml.tokens", Value::Array(tokens));
        m.set("tokenizer.ggml.merges", Value::Array(merges));
    })
}

#[cfg(target_os = "linux")]
#[test]
fn control_characters_of_a_model_do_not_reach_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let path = coloured(folder.path());
    let args = ["run", "-m", &path, "-t", "0", "--max-tokens", "200", "Tell me a story about a dragon."];
    let piped = inferno(&args).ok();
    assert!(piped.contains(" \u{1b}[31mtime"), "{piped}");
    let mut command = std::process::Command::new("script");
    let words: Vec<String> = args.iter().map(|arg| format!("'{arg}'")).collect();
    let line = format!("'{}' {}", env!("CARGO_BIN_EXE_inferno"), words.join(" "));
    command.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
    let Ok(output) = command.output() else { return xtask::testing::skip("script", "there is no `script`") };
    let screen = String::from_utf8_lossy(&output.stdout);
    assert!(screen.contains(" ␛[31mtime") && !screen.contains("\u{1b}[31m"), "{screen:?}");
}

#[test]
fn a_file_without_a_pre_tokenizer_is_used_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let changed = ember(folder.path(), |metadata| {
        let named = metadata.clone();
        *metadata = Metadata::default();
        for (key, value) in named.iter().filter(|(key, _)| *key != "tokenizer.ggml.pre") {
            metadata.set(key, value.clone());
        }
    });
    let run =
        |more: &[&str]| inferno(&[&["run", "-m", &changed, "-n", "1", "--raw", "Hello"], more].concat());
    let ran = run(&[]);
    let warning = "does not name its pre-tokenizer (`tokenizer.ggml.pre`)";
    assert!(ran.stderr.contains(warning), "{}", ran.stderr);
    assert!(!run(&["--override-kv", "tokenizer.ggml.pre=str:qwen2"]).stderr.contains(warning));
}
