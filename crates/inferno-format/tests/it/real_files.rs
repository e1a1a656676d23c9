//! Model files that others wrote open, read, and agree with their own sizes.

use inferno_format::Gguf;

#[test]
fn every_model_of_the_test_data_opens_and_reads() {
    let Some(data) = xtask::testing::data_dir() else { return };
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
