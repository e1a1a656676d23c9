//! Where tests find their data, and how they say that they could not run.

pub mod hub;

use std::io::Write;
use std::path::{Path, PathBuf};

/// The root of the checkout.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root")
}

/// A file of the repository's `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    root().join("testdata").join(name)
}

/// The folder of the data that is not in the repository: `INFERNO_DATA`, or `../shared/data` beside the checkout. If
/// there is none the test is skipped, loudly: `None`, or a panic if `INFERNO_REQUIRE` has `data`.
pub fn data_dir() -> Option<PathBuf> {
    let beside = || root().parent().map(|p| p.join("shared/data"));
    let folder = std::env::var_os("INFERNO_DATA").map(PathBuf::from).or_else(beside);
    let folder = folder.filter(|folder| folder.is_dir());
    if folder.is_none() {
        skip("data", "`INFERNO_DATA` names no folder, and there is no data beside the checkout");
    }
    folder
}

/// A file or folder of [`data_dir`], or a skip in the same way.
pub fn data(name: &str) -> Option<PathBuf> {
    let path = data_dir()?.join(name);
    if !path.exists() {
        skip("data", &format!("the data has no `{name}`"));
        return None;
    }
    Some(path)
}

/// Says past the test runner's capture that the running test is skipped for want of `what`
/// (data, gpu, qemu ...); panics if `INFERNO_REQUIRE` lists it.
pub fn skip(what: &str, why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let required = std::env::var("INFERNO_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|r| r == what),
        "{test} needs {what}, which INFERNO_REQUIRE demands: {why}"
    );
    // One write, or the runner's words get between; a closed stderr is no reason to fail.
    let _ = std::io::stderr().write_all(format!("SKIPPED: {test}: {why}\n").as_bytes());
}

/// Whether everything is to be tested, and not only as much as finds an ordinary mistake: `INFERNO_THOROUGH=1`.
pub fn is_thorough() -> bool {
    std::env::var_os("INFERNO_THOROUGH").is_some_and(|value| value != "0")
}

/// An oracle's logits and tokens of a model: `testdata/goldens/NAME.json`.
#[derive(Debug)]
pub struct Golden {
    /// Tokens.
    pub prompt: Vec<u32>,
    /// Logits of some of its positions.
    pub logits: Vec<(usize, Vec<f32>)>,
    /// The tokens that a greedy choice goes on with.
    pub greedy: Vec<u32>,
}

/// The golden `name` of `testdata/goldens`.
///
/// # Panics
/// The file is absent or holds no golden.
pub fn golden(name: &str) -> Golden {
    Golden::read(&testdata(&format!("goldens/{name}.json"))).expect("logits by position")
}

impl Golden {
    /// The golden in a file; `None` if it has no logits, as those of embedding models.
    ///
    /// # Panics
    /// The file is absent or holds no golden.
    pub fn read(path: &Path) -> Option<Golden> {
        let text = std::fs::read(path).expect("the golden is there");
        let json: serde_json::Value = serde_json::from_slice(&text).expect("a golden is JSON");
        let list = |value: &serde_json::Value| value.as_array().expect("a list").clone();
        let tokens = |name: &str| {
            list(&json[name]).iter().map(|t| t.as_u64().expect("a token") as u32).collect::<Vec<_>>()
        };
        let numbers = |value| list(value).iter().map(|x| x.as_f64().expect("a number") as f32).collect();
        let logits = json["logits"].as_object()?.iter();
        Some(Golden {
            prompt: tokens("prompt"),
            logits: logits.map(|(p, x)| (p.parse().expect("a position"), numbers(x))).collect(),
            greedy: tokens("greedy"),
        })
    }
}

/// Models of the data directory with oracles beside them: (name, GGUF file, golden), by name. Skipped aloud and empty where
/// there is no data.
pub fn data_goldens() -> Vec<(String, PathBuf, Golden)> {
    let Some(folder) = data("goldens") else { return Vec::new() };
    let mut all = Vec::new();
    for entry in folder.read_dir().expect("a folder") {
        let json = entry.expect("an entry").path();
        let file = json.with_extension("gguf");
        if json.extension().is_none_or(|extension| extension != "json") || !file.exists() {
            continue;
        }
        let name = json.file_stem().and_then(|stem| stem.to_str()).expect("a name").to_owned();
        all.extend(Golden::read(&json).map(|golden| (name, file, golden)));
    }
    all.sort_by(|a, b| a.0.cmp(&b.0));
    assert!(!all.is_empty(), "`{}` has no goldens", folder.display());
    all
}

/// Random numbers from a seed, the same everywhere: SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// An index below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Numbers uniform in [-1, 1).
    pub fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0).collect()
    }
}
