//! Models in several files.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use inferno_format::{DType, FormatError, Gguf, GgufWriter, Metadata, NewTensor, Value};
use tempfile::TempDir;

/// What one file of a split model says of itself.
#[derive(Clone)]
struct Shard {
    metadata: Metadata,
    tensors: Vec<&'static str>,
}

/// Three files with four tensors; the first has none, and the general metadata.
fn shards() -> [Shard; 3] {
    let tensors = [vec![], vec!["a", "b", "c"], vec!["d"]];
    let mut no = 0;
    tensors.map(|tensors| {
        let mut metadata = Metadata::default();
        if no == 0 {
            metadata.set("general.architecture", Value::String("llama".into()));
        }
        metadata.set("split.no", Value::U16(no));
        metadata.set("split.count", Value::U16(3));
        metadata.set("split.tensors.count", Value::I32(4));
        no += 1;
        Shard { metadata, tensors }
    })
}

fn path(dir: &Path, no: usize) -> PathBuf {
    dir.join(format!("big-model-{:05}-of-00003.gguf", no + 1))
}

/// Writes the files; the bytes of tensor `x` are 128 times `x`.
fn write(shards: &[Shard]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (no, shard) in shards.iter().enumerate() {
        write_one(&path(dir.path(), no), shard);
    }
    dir
}

fn write_one(path: &Path, shard: &Shard) {
    let new = |name: &&str| NewTensor { name: name.to_string(), dtype: DType::F32, dims: vec![32] };
    let tensors: Vec<_> = shard.tensors.iter().map(new).collect();
    let mut writer = GgufWriter::new(File::create(path).unwrap(), &shard.metadata, &tensors).unwrap();
    for name in &shard.tensors {
        writer.append(name, &[name.as_bytes()[0]; 128]).unwrap();
    }
    writer.finish().unwrap();
}

/// The field, the expected and the found of the error that opening the first file gives, and which file is named.
fn mismatch(dir: &TempDir) -> (usize, String) {
    match Gguf::open(&path(dir.path(), 0)).unwrap_err() {
        FormatError::Split { file, field, expected, found } => {
            let no = (0..3).find(|&no| file.as_path() == Some(&path(dir.path(), no))).unwrap();
            (no, format!("{field}: {found}, expected {expected}"))
        }
        e => panic!("{e}"),
    }
}

#[test]
fn any_file_of_a_split_model_opens_all() {
    let dir = write(&shards());
    for no in 0..3 {
        let gguf = Gguf::open(&path(dir.path(), no)).unwrap();
        assert_eq!(gguf.metadata(), &shards()[0].metadata);
        let names: Vec<_> = gguf.tensors().iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        for t in gguf.tensors() {
            assert_eq!(gguf.read(t).unwrap(), [t.name.as_bytes()[0]; 128]);
        }
        let bytes: u64 = (0..3).map(|no| fs::metadata(path(dir.path(), no)).unwrap().len()).sum();
        assert_eq!(gguf.file_bytes(), bytes);
        gguf.verify_unchanged().unwrap();
    }
}

#[test]
fn a_change_of_any_file_is_noticed() {
    let dir = write(&shards());
    let gguf = Gguf::open(&path(dir.path(), 0)).unwrap();
    fs::remove_file(path(dir.path(), 2)).unwrap();
    let e = gguf.verify_unchanged().unwrap_err();
    assert!(matches!(e, FormatError::Changed { field: "existence", .. }), "{e}");
    assert!(e.to_string().contains("00003-of"), "{e}");
}

#[test]
fn a_missing_file_is_named() {
    let dir = write(&shards());
    fs::remove_file(path(dir.path(), 1)).unwrap();
    match Gguf::open(&path(dir.path(), 2)).unwrap_err() {
        FormatError::Io { file, action: "open", .. } => {
            assert_eq!(file.as_path(), Some(path(dir.path(), 1).as_path()));
        }
        e => panic!("{e}"),
    }
}

#[test]
fn files_that_do_not_belong_together_are_refused() {
    let with = |no: usize, key: &str, value| {
        let mut shards = shards();
        shards[no].metadata.set(key, value);
        mismatch(&write(&shards))
    };
    let expect = |no, text: &str| (no, text.to_owned());
    assert_eq!(with(1, "split.count", Value::U16(2)), expect(1, "key `split.count`: 2, expected 3"));
    assert_eq!(with(1, "split.count", Value::U16(0)), expect(1, "key `split.count`: 1, expected 3"));
    assert_eq!(with(2, "split.no", Value::U16(1)), expect(2, "key `split.no`: 1, expected 2"));
    assert_eq!(with(0, "split.no", Value::I32(-1)), expect(0, "key `split.no`: i32 -1, expected an integer"));
    assert_eq!(
        with(0, "split.tensors.count", Value::I32(5)),
        expect(0, "number of tensors in all files: 4, expected 5")
    );

    // Two files changed places.
    let dir = write(&shards());
    write_one(&path(dir.path(), 1), &shards()[2]);
    assert_eq!(mismatch(&dir), expect(1, "key `split.no`: 2, expected 1"));

    let mut twice = shards();
    twice[2].tensors = vec!["b"];
    assert_eq!(
        mismatch(&write(&twice)),
        expect(2, "name of a tensor: `b`, which an earlier file has too, expected a name of its own")
    );

    let mut plain = shards();
    plain[0].metadata = Metadata::default();
    assert_eq!(mismatch(&write(&plain)), expect(0, "key `split.count`: 1, expected 3"));
}

#[test]
fn a_split_model_has_at_most_1024_files() {
    let dir = write(&shards());
    for (count, said) in
        [(1023, "m-00002-of-01023"), (1024, "m-00002-of-01024"), (1025, "expected at most 1024")]
    {
        let first = dir.path().join(format!("m-00001-of-{count:05}.gguf"));
        fs::copy(path(dir.path(), 0), &first).unwrap();
        let e = Gguf::open(&first).unwrap_err();
        assert!(e.to_string().contains(said), "{count}: {e}");
    }
}

#[test]
fn a_part_under_another_name_is_refused() {
    let dir = write(&shards());
    let renamed = dir.path().join("model.gguf");
    fs::rename(path(dir.path(), 0), &renamed).unwrap();
    let e = Gguf::open(&renamed).unwrap_err();
    let text = "file name is another, expected `NAME-00001-of-00003.gguf`, as the model has several files";
    assert!(matches!(e, FormatError::Split { .. }) && e.to_string().ends_with(text), "{e}");
    let e = Gguf::from_bytes(fs::read(&renamed).unwrap()).unwrap_err();
    assert!(matches!(e, FormatError::Split { .. }), "{e}");
}

#[test]
fn names_that_only_look_like_parts_are_plain_files() {
    let dir = tempfile::tempdir().unwrap();
    let plain = Shard { metadata: Metadata::default(), tensors: vec!["a"] };
    for name in [
        "x-00001-of-00001.gguf",
        "x-1-of-3.gguf",
        "x-00004-of-00003.gguf",
        "x-00000-of-00003.gguf",
        "x-0000a-of-00003.gguf",
        "x-00001-of-00003",
        "00001-of-00003.gguf",
    ] {
        let path = dir.path().join(name);
        write_one(&path, &plain);
        assert_eq!(Gguf::open(&path).unwrap().tensors().len(), 1, "{name}");
    }
    let many = dir.path().join("x-00001-of-01025.gguf");
    let e = Gguf::open(&many).unwrap_err();
    assert!(e.to_string().ends_with("number of files in the name is 1025, expected at most 1024"), "{e}");
}
