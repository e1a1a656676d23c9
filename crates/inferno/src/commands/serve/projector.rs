//! Vision projectors beside a model: files that this program does not read.

use std::path::{Path, PathBuf};

/// Warns of files like `mmproj-model-f16.gguf` in the model's folder: the model is served without them, as text only.
pub(super) fn warn(model: Option<&Path>) {
    for path in model.map(beside).unwrap_or_default() {
        tracing::warn!(
            "`{}` is left alone: images are not supported, the model reads text only",
            path.display()
        );
    }
}

/// Projectors in the folder of `model`, sorted. None if the folder cannot be listed.
fn beside(model: &Path) -> Vec<PathBuf> {
    let folder = match model.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_projector(path)).collect();
    found.retain(|path| path.file_name() != model.file_name());
    found.sort();
    found
}

/// llama.cpp's converter and the hubs' files have `mmproj` at the start of a name or behind the model's.
fn is_projector(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    name.contains("mmproj") && name.ends_with(".gguf")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn projectors_beside_a_model_are_found_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let names = ["model.gguf", "mmproj-F16.gguf", "model-MMPROJ-q8_0.gguf", "mmproj.txt", "other.gguf"];
        for name in names {
            std::fs::write(path(name), b"").unwrap();
        }
        let found = beside(&path("model.gguf"));
        assert_eq!(found, [path("mmproj-F16.gguf"), path("model-MMPROJ-q8_0.gguf")]);
        assert_eq!(beside(&path("mmproj-F16.gguf")), [path("model-MMPROJ-q8_0.gguf")]);
        assert!(beside(Path::new("/nowhere/model.gguf")).is_empty());
    }
}
