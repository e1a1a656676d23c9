//! Model files that others wrote open, read, and agree with their own sizes.

use std::io::Write as _;
use std::path::PathBuf;

use inferno_format::Gguf;

/// `INFERNO_DATA`, or `../shared/data` beside the checkout.
fn data() -> Option<PathBuf> {
    let beside = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let dir = std::env::var_os("INFERNO_DATA").map_or(beside, PathBuf::from);
    dir.is_dir().then_some(dir)
}

#[test]
fn every_model_of_the_test_data_opens_and_reads() {
    let Some(data) = data() else {
        let required = std::env::var("INFERNO_REQUIRE").is_ok_and(|r| r.split(',').any(|r| r == "data"));
        assert!(!required, "INFERNO_REQUIRE=data, but there is no data");
        // Straight to the stream: `eprintln!` is captured by the test harness.
        let _ = std::io::stderr().write_all(b"SKIPPED: no test data (INFERNO_DATA)\n");
        return;
    };
    let mut n_files = 0;
    for folder in ["goldens", "weights", "tokenizers", "../tiny-model"] {
        let Ok(entries) = std::fs::read_dir(data.join(folder)) else { continue };
        for path in entries.map(|e| e.unwrap().path()) {
            if path.extension().is_none_or(|e| e != "gguf") {
                continue;
            }
            let gguf = Gguf::open(&path).unwrap_or_else(|e| panic!("{e}"));
            assert!(gguf.metadata().str("general.architecture").is_ok(), "{}", path.display());
            for t in gguf.tensors() {
                let bytes = gguf.read(t).unwrap_or_else(|e| panic!("{e}"));
                assert_eq!(bytes.len(), t.n_rows() * t.dtype.row_bytes(t.row_len()).unwrap());
            }
            gguf.verify_unchanged().unwrap();
            n_files += 1;
        }
    }
    assert!(n_files >= 10, "only {n_files} files");
}
