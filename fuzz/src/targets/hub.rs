//! Answers of a model hub: whole HTTP answers with two zero bytes between them, sent one to each request. `@` in a header's address is
//! the hub's own.
//!
//! Whatever it answers, a download ends, and the cache has no file whose content is not that of its name, and nothing elsewhere.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use inferno_hub::{Hub, HubError, ModelName, RemoteFile, RepoId, Settings, Watch};
use sha2::{Digest, Sha256};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "hub",
    check,
    max_len: 8 << 10,
    seeds,
    words: &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 302 Found\r\n",
        "HTTP/1.1 206 Partial Content\r\n",
        "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\n",
        "Content-Length: ",
        "Transfer-Encoding: chunked\r\n",
        "Content-Encoding: gzip\r\n",
        "Content-Range: bytes 0-8/9\r\n",
        "Link: <http://@/api>; rel=\"next\"\r\n",
        "Location: http://@/cdn\r\n",
        "Location: file:///etc/passwd\r\n",
        "X-Linked-Size: ",
        "X-Linked-Etag: ",
        "ETag: ",
        "X-Error-Code: RepoNotFound\r\n",
        "\0\0",
        "{\"branches\":[{\"name\":\"main\",\"targetCommit\":",
        "{\"type\":\"file\",\"path\":\"",
        "../",
        "-00001-of-00002.gguf",
    ],
};

const CONTENT: &[u8] = b"GGUF, say";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Answers that are left to send.
type Script = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// The hub's address and its answers.
static HUB: LazyLock<(String, Script)> = LazyLock::new(|| {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let script = Script::default();
    let answers = Arc::clone(&script);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answers = Arc::clone(&answers);
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let mut line = String::new();
                while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                    line.clear();
                }
                let answer = answers.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                // One answer a connection: what is behind it is lost with it.
                let _ = (&stream).write_all(&answer.unwrap_or_default());
            });
        }
    });
    (address, script)
});

fn sha256(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn answer(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {head}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn seeds() -> Vec<Vec<u8>> {
    let refused = [
        answer("429 Too Many Requests\r\nRetry-After: 1\r\n", b""),
        answer("401 Unauthorized\r\nX-Error-Code: GatedRepo\r\n", b"{\"error\":\"no\"}"),
    ];
    GOOD.iter().cloned().chain([refused.join(&b"\0\0"[..])]).collect()
}

/// Downloads that succeed: of a file, and of a model in two parts.
static GOOD: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let sum = sha256(CONTENT);
    let n = CONTENT.len();
    let refs = format!("{{\"branches\":[{{\"name\":\"main\",\"targetCommit\":\"{COMMIT}\"}}]}}");
    let entry = |name: &str| format!("{{\"type\":\"file\",\"path\":\"{name}\",\"size\":{n}}}");
    let tree = |names: &[&str]| {
        format!("[{}]", names.iter().map(|name| entry(name)).collect::<Vec<_>>().join(",")).into_bytes()
    };
    let described = format!(
        "302 Found\r\nX-Linked-Etag: \"{sum}\"\r\nX-Linked-Size: {n}\r\nLocation: http://@/cdn/m\r\n"
    );
    let plain = [
        answer("200 OK\r\n", refs.as_bytes()),
        answer("200 OK\r\n", &tree(&["m-Q8_0.gguf", "README.md"])),
        answer(&described, b""),
        answer("200 OK\r\n", CONTENT),
    ];
    let split = [
        plain[0].clone(),
        answer(
            "200 OK\r\nLink: <http://@/api/models/a/b/tree/x?page=1>; rel=\"next\"\r\n",
            &tree(&["s-00001-of-00002.gguf"]),
        ),
        answer("200 OK\r\n", &tree(&["s-00002-of-00002.gguf"])),
        plain[2].clone(),
        plain[2].clone(),
        plain[3].clone(),
        plain[3].clone(),
    ];
    [plain.join(&b"\0\0"[..]), split.join(&b"\0\0"[..])]
});

/// Waits for nothing, and gives up after some waits.
#[derive(Default)]
struct Impatient(AtomicUsize);

impl Watch for Impatient {
    fn begin(&self, _: &RepoId, _: &[RemoteFile]) {}
    fn advance(&self, _: usize, _: u64) {}
    fn note(&self, _: &str) {}

    fn check(&self) -> Result<(), HubError> {
        if self.0.load(Ordering::Relaxed) > 20 { Err(HubError::Cancelled) } else { Ok(()) }
    }

    fn wait(&self, _: Duration) -> Result<(), HubError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        self.check()
    }
}

fn check(data: &[u8]) {
    let (address, script) = &*HUB;
    // No zero byte is in an HTTP answer but those of content.
    let mut answers = VecDeque::new();
    let mut rest = data;
    loop {
        let end = rest.windows(2).position(|pair| pair == b"\0\0");
        let (answer, after) = rest.split_at(end.unwrap_or(rest.len()));
        let (head, body) =
            answer.split_at(answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(answer.len()));
        let head = String::from_utf8_lossy(head).replace("://@", &format!("://{address}"));
        answers.push_back([head.as_bytes(), body].concat());
        match after.get(2..) {
            Some(after) if answers.len() < 16 => rest = after,
            _ => break,
        }
    }
    *script.lock().unwrap_or_else(PoisonError::into_inner) = answers;
    let folder = tempfile::tempdir().expect("a folder");
    let cache = folder.path().join("hub");
    let settings = Settings {
        endpoint: format!("http://{address}"),
        token: None,
        token_source: None,
        cache: cache.clone(),
        offline: false,
        hosts: Vec::new(),
    };
    let hub = Hub::new(settings).expect("an address");
    let name = ModelName::parse("a/b").expect("a name");
    let outcome = hub.get(&name, None, &Impatient::default());
    assert!(!GOOD.iter().any(|good| good == data) || outcome.is_ok(), "what is right fails: {outcome:?}");
    for (path, content) in files(&cache) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_checksum = name.len() == 64;
        assert!(!is_checksum || sha256(&content) == name, "{name} after {outcome:?}");
    }
    if let Ok(fetched) = outcome {
        let real = fetched.path.canonicalize().expect("a file");
        assert!(real.starts_with(folder.path().canonicalize().expect("a folder")), "{}", real.display());
    }
    let others: Vec<_> =
        folder.path().read_dir().expect("a folder").flatten().map(|e| e.file_name()).collect();
    assert!(others.iter().all(|name| name == "hub"), "{others:?}");
}

/// Files below a folder that are no links, and their content.
fn files(folder: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => {
                found.push((entry.path(), std::fs::read(entry.path()).unwrap_or_default()));
            }
            _ => {}
        }
    }
    found
}
