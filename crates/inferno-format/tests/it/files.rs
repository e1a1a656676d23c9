//! Files that are no files, and files that change while they are open.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use inferno_format::{DType, Foreign, FormatError, Gguf, GgufWriter, Metadata, NewTensor, Value};
use tempfile::TempDir;

/// A model of two tensors of 4,000 bytes.
fn model() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    let tensors =
        ["a", "b"].map(|name| NewTensor { name: name.into(), dtype: DType::F32, dims: vec![10, 100] });
    let mut writer = GgufWriter::new(File::create(&path).unwrap(), &Metadata::default(), &tensors).unwrap();
    for name in ["a", "b"] {
        writer.append(name, &[7; 4000]).unwrap();
    }
    writer.finish().unwrap();
    (dir, path)
}

fn kind(path: &Path) -> &'static str {
    match Gguf::open(path) {
        Err(FormatError::NotAFile { file, found }) => {
            assert_eq!(file.as_path(), Some(path));
            found
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_no_regular_file_is_refused_without_opening_it() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(kind(dir.path()), "a directory");
    #[cfg(unix)]
    {
        assert_eq!(kind(Path::new("/dev/zero")), "a device");
        let pipe = dir.path().join("pipe");
        // Opening it would wait for a writer for ever.
        if std::process::Command::new("mkfifo").arg(&pipe).status().is_ok_and(|s| s.success()) {
            assert_eq!(kind(&pipe), "a pipe");
        }
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert_eq!(kind(&socket), "a socket");
    }
    let missing = dir.path().join("missing.gguf");
    let e = Gguf::open(&missing).unwrap_err();
    assert_eq!(e.to_string(), format!("`{}`: cannot open", missing.display()));
    let source = std::error::Error::source(&e).unwrap();
    assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_model_opens() {
    let (dir, path) = model();
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    Gguf::open(&link).unwrap().verify_unchanged().unwrap();
}

/// The part that `verify_unchanged` finds changed.
fn changed(gguf: &Gguf) -> &'static str {
    match gguf.verify_unchanged() {
        Err(FormatError::Changed { field, .. }) => field,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_change_of_the_file_is_noticed() {
    let (_dir, path) = model();
    let gguf = Gguf::open(&path).unwrap();
    gguf.verify_unchanged().unwrap();

    // Same length, other content, other time.
    let later = SystemTime::now() + Duration::from_secs(10);
    fs::write(&path, fs::read(&path).unwrap()).unwrap();
    File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(changed(&gguf), "time of change");

    let gguf = Gguf::open(&path).unwrap();
    File::options().append(true).open(&path).unwrap().write_all(&[0]).unwrap();
    assert_eq!(changed(&gguf), "length");
}

#[cfg(unix)]
#[test]
fn a_replaced_or_removed_file_is_noticed_and_the_old_one_still_read() {
    let (dir, path) = model();
    let gguf = Gguf::open(&path).unwrap();
    let other = dir.path().join("other");
    fs::copy(&path, &other).unwrap();
    fs::rename(&other, &path).unwrap();
    assert_eq!(changed(&gguf), "identity");

    let gguf = Gguf::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(changed(&gguf), "existence");
    assert_eq!(gguf.read(gguf.tensor("b").unwrap()).unwrap(), [7; 4000]);
}

#[test]
fn a_file_cut_short_after_it_was_opened_is_a_short_read() {
    let (_dir, path) = model();
    let gguf = Gguf::open(&path).unwrap();
    let (a, b) = (gguf.tensor("a").unwrap(), gguf.tensor("b").unwrap());
    let len = gguf.file_bytes();
    File::options().write(true).open(&path).unwrap().set_len(len - 1000).unwrap();

    assert_eq!(gguf.read(a).unwrap(), [7; 4000]);
    match gguf.read(b).unwrap_err() {
        FormatError::Truncated { file, field, offset, needed, left } => {
            assert_eq!(file.as_path(), Some(path.as_path()));
            assert_eq!(field, "data of tensor `b`");
            // 4,000 bytes are 32 * 125: no padding.
            assert_eq!((offset, needed, left), (len - 4000, 4000, 3000));
        }
        e => panic!("{e}"),
    }
    let mut part = [0; 3000];
    gguf.read_at(b, 0, &mut part).unwrap();
    assert!(matches!(gguf.read_at(b, 1, &mut part), Err(FormatError::Truncated { .. })));
    assert_eq!(changed(&gguf), "length");
}

#[test]
fn a_model_in_memory_never_changes() {
    let (_dir, path) = model();
    Gguf::from_bytes(fs::read(path).unwrap()).unwrap().verify_unchanged().unwrap();
}

#[test]
fn a_file_of_another_format_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n").unwrap();
    let e = Gguf::open(&path).unwrap_err();
    assert!(matches!(e, FormatError::NotGguf { found: Foreign::LfsPointer, .. }), "{e:?}");
    let text = format!("`{}`: a Git LFS pointer, not a GGUF model; ", path.display());
    assert!(e.to_string().starts_with(&text), "{e}");
}

#[test]
fn metadata_can_be_changed_in_memory() {
    let (_dir, path) = model();
    let mut gguf = Gguf::open(&path).unwrap();
    gguf.metadata_mut().set("key", Value::U32(7));
    assert_eq!(gguf.metadata().opt_u32("key").unwrap(), Some(7));
    gguf.verify_unchanged().unwrap();
}

#[test]
fn another_thread_sees_how_much_is_read_and_stops_it() {
    let (_dir, path) = model();
    let gguf = Gguf::open(&path).unwrap();
    let progress = gguf.progress();
    assert_eq!(progress.n_read(), 0);
    gguf.read(gguf.tensor("a").unwrap()).unwrap();
    assert_eq!(progress.n_read(), 4000);
    progress.stop();
    let error = gguf.read(gguf.tensor("b").unwrap()).unwrap_err();
    assert!(matches!(error, FormatError::Io { action: "read", .. }), "{error}");
    assert_eq!(progress.n_read(), 4000);
}
