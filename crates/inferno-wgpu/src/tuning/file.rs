//! Choices that are kept from start to start, for one device, driver and set of kernels.
//!
//! ```text
//! inferno tuning 1                          the format
//! <kernels> <trial> = <variant>             a line for each choice
//! checksum <of all lines before it>
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crate::device::replace;

const HEADING: &str = "inferno tuning 1";
const CHECKSUM: &str = "checksum ";

/// The choices in a file.
#[derive(Debug)]
pub(crate) struct TuningFile {
    path: PathBuf,
    /// Variants by kernels and trial.
    choices: BTreeMap<String, String>,
}

impl TuningFile {
    /// Reads a file. One that is damaged or from another version has no choices: the reason comes with it.
    pub(crate) fn open(path: PathBuf) -> (TuningFile, Option<String>) {
        let read = match std::fs::read_to_string(&path) {
            Ok(text) => parse(&text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
            Err(e) => Err(e.to_string()),
        };
        let ignored = read.as_ref().err().map(|why| format!("`{}` is ignored: {why}", path.display()));
        (TuningFile { path, choices: read.unwrap_or_default() }, ignored)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.choices.get(key).map(String::as_str)
    }

    /// Writes a choice, all or nothing. A disk that takes nothing is no harm but to the next start.
    pub(crate) fn set(&mut self, key: String, variant: String) {
        self.choices.insert(key, variant);
        replace(&self.path, self.text().as_bytes());
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADING}\n");
        for (key, variant) in &self.choices {
            let _ = writeln!(text, "{key} = {variant}");
        }
        let checksum = fnv(&text);
        let _ = writeln!(text, "{CHECKSUM}{checksum:016x}");
        text
    }
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let end = text.rfind(CHECKSUM).ok_or("it has no checksum")?;
    let (lines, checksum) = text.split_at(end);
    if checksum.strip_prefix(CHECKSUM).map(str::trim_end) != Some(&format!("{:016x}", fnv(lines))) {
        return Err("its checksum is wrong".into());
    }
    let mut lines = lines.lines();
    if lines.next() != Some(HEADING) {
        return Err("it is of another version".into());
    }
    let choice = |line: &str| {
        let (key, variant) = line.split_once(" = ").ok_or_else(|| format!("`{line}` is no choice"))?;
        Ok((key.to_owned(), variant.to_owned()))
    };
    lines.map(choice).collect()
}

/// FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/).
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_it_was_written_and_a_damaged_one_is_ignored() {
        let folder = std::env::temp_dir().join(format!("inferno-tuning-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("a");
        let (mut file, ignored) = TuningFile::open(path.clone());
        assert_eq!((file.get("k few"), ignored), (None, None));
        file.set("k few".into(), "Few { threads: 64 }".into());
        let (file, ignored) = TuningFile::open(path.clone());
        assert_eq!((file.get("k few"), ignored), (Some("Few { threads: 64 }"), None));

        let good = std::fs::read_to_string(&path).unwrap();
        let resigned = |text: &str| format!("{text}{CHECKSUM}{:016x}\n", fnv(text));
        for (text, why) in [
            (good.replace("64", "32"), "checksum is wrong"),
            (good[..good.len() - 4].to_owned(), "checksum is wrong"),
            (String::new(), "no checksum"),
            (resigned("inferno tuning 2\n"), "another version"),
            (resigned("inferno tuning 1\nk\n"), "is no choice"),
        ] {
            std::fs::write(&path, &text).unwrap();
            let (file, ignored) = TuningFile::open(path.clone());
            assert_eq!(file.get("k few"), None, "{text}");
            assert!(ignored.as_ref().is_some_and(|ignored| ignored.contains(why)), "{text}: {ignored:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
