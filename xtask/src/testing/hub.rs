//! A model hub on loopback: the answers of the Hugging Face hub, and faults on request.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha2::Digest;

/// The repository of [`Fake::start`].
pub const REPO: &str = "acme/tiny-GGUF";
/// The commit that its `main` means.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// Faults of the hub.
#[derive(Clone, Default)]
pub struct Behaviour {
    /// Bytes of content after which each connection ends; afterwards all comes.
    pub cuts: Vec<usize>,
    /// Sent instead of the content.
    pub content: Option<Vec<u8>>,
    /// Ranges are not understood: 200 and everything.
    pub no_ranges: bool,
    /// The target of `/resolve/`'s redirect.
    pub location: Option<String>,
    /// The checksum that the hub says.
    pub etag: Option<String>,
    /// Status, and headers with their ends of line, of each answer to a request of content, in turn.
    pub refusals: Vec<(u16, String)>,
    /// The same for `/api/`.
    pub api: Option<(u16, String)>,
    /// Bytes between two pauses of a millisecond.
    pub pace: Option<usize>,
    /// Names that the list has beside those of the files.
    pub also_listed: Vec<String>,
    /// Status, and headers with their ends of line, of each answer of `/resolve/`.
    pub resolve: Option<(u16, String)>,
    /// Headers of content, with their ends of line.
    pub headers: String,
    /// Content goes on behind its end and declares no length.
    pub is_endless: bool,
    /// Connections are accepted and nothing is answered.
    pub is_mute: bool,
}

/// A running hub; it ends when it is dropped.
pub struct Fake {
    /// The hub's address, without `/` at its end.
    pub address: String,
    /// The address of the host that sends content.
    pub cdn: String,
    shared: Arc<Shared>,
}

struct Shared {
    /// Empty for any.
    repo: String,
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    behaviour: Mutex<Behaviour>,
    requests: Mutex<Vec<String>>,
    n_content: AtomicUsize,
    cdn: String,
    is_over: AtomicBool,
}

impl Fake {
    /// A hub whose [`REPO`] has these files.
    pub fn start(files: &[(&str, &[u8])], behaviour: Behaviour) -> Fake {
        Fake::of(REPO, files, behaviour)
    }

    /// A hub of which every repository has these files.
    pub fn of_any(files: &[(&str, &[u8])], behaviour: Behaviour) -> Fake {
        Fake::of("", files, behaviour)
    }

    /// A hub with one repository.
    pub fn of(repo: &str, files: &[(&str, &[u8])], behaviour: Behaviour) -> Fake {
        let (hub, cdn) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            repo: repo.to_owned(),
            files: Mutex::new(
                files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect(),
            ),
            behaviour: Mutex::new(behaviour),
            requests: Mutex::default(),
            n_content: AtomicUsize::new(0),
            cdn: address(&cdn),
            is_over: AtomicBool::new(false),
        });
        let fake = Fake { address: address(&hub), cdn: address(&cdn), shared };
        for listener in [hub, cdn] {
            let shared = Arc::clone(&fake.shared);
            std::thread::spawn(move || {
                for stream in listener.incoming() {
                    if shared.is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || drop(shared.serve(&stream.unwrap())));
                }
            });
        }
        fake
    }

    /// Changes what it does from the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *self.shared.behaviour.lock().unwrap() = behaviour;
    }

    /// Gives a file other content.
    pub fn replace(&self, name: &str, bytes: &[u8]) {
        self.shared.files.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }

    /// Heads of requests so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        for address in [&self.address, &self.cdn] {
            let _ = TcpStream::connect(address.trim_start_matches("http://"));
        }
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                if reader.read_line(&mut head)? == 0 {
                    return Ok(());
                }
            }
            self.requests.lock().unwrap().push(head.clone());
            if !self.answer(&head.to_ascii_lowercase(), &head, stream)? {
                return Ok(());
            }
        }
    }

    /// Whether the connection goes on.
    fn answer(&self, lower: &str, head: &str, mut stream: &TcpStream) -> std::io::Result<bool> {
        let behaviour = self.behaviour.lock().unwrap().clone();
        let files = self.files.lock().unwrap().clone();
        if behaviour.is_mute {
            while !self.is_over.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10));
            }
            return Ok(false);
        }
        let path = head.split(' ').nth(1).unwrap_or_default();
        let is_head = head.starts_with("HEAD ");
        let mut say = |status: u16, headers: &str, body: &[u8]| {
            let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n{headers}\r\n", body.len());
            stream.write_all(text.as_bytes())?;
            stream.write_all(if is_head { b"" } else { body })?;
            Ok(true)
        };
        if let Some(rest) = path.strip_prefix("/api/models/") {
            if let Some((status, headers)) = &behaviour.api {
                return say(*status, headers, b"{}");
            }
            let is = |what: &str| match self.repo.as_str() {
                "" => rest.contains(what),
                repo => rest.starts_with(&format!("{repo}{what}")),
            };
            if is("/refs") {
                let refs = format!("{{\"branches\":[{{\"name\":\"main\",\"targetCommit\":\"{COMMIT}\"}}]}}");
                return say(200, "", refs.as_bytes());
            }
            if !is("/tree/") {
                return say(404, "X-Error-Code: RepoNotFound\r\n", b"{}");
            }
            let entry = |(name, bytes): (&String, usize)| {
                format!(
                    "{{\"type\":\"file\",\"path\":{name:?},\"size\":9,\"lfs\":{{\"oid\":\"x\",\"size\":{bytes}}}}}"
                )
            };
            let listed = files.iter().map(|(name, bytes)| (name, bytes.len()));
            let also = behaviour.also_listed.iter().map(|name| (name, 1));
            let entries: Vec<String> = listed.chain(also).map(entry).collect();
            // In pages of two.
            let page: usize = rest.split("page=").nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
            let next = format!(
                "Link: <http://{}{}&page={}>; rel=\"next\"\r\n",
                host(head),
                path.split("&page").next().unwrap(),
                page + 1
            );
            let now: Vec<String> = entries.iter().skip(2 * page).take(2).cloned().collect();
            let has_more = entries.len() > 2 * (page + 1);
            return say(200, if has_more { &next } else { "" }, format!("[{}]", now.join(",")).as_bytes());
        }
        let name = path.rsplit(&format!("/{COMMIT}/")).next().unwrap_or_default().trim_start_matches("/cdn/");
        let Some(bytes) = files.get(name) else { return say(404, "X-Error-Code: EntryNotFound\r\n", b"") };
        if path.contains("/resolve/") {
            if let Some((status, headers)) = &behaviour.resolve {
                return say(*status, headers, b"");
            }
            let location = behaviour.location.unwrap_or_else(|| format!("{}/cdn/{name}", self.cdn));
            let etag = behaviour.etag.unwrap_or_else(|| sha256(bytes));
            let linked = format!("X-Linked-Etag: \"{etag}\"\r\nX-Linked-Size: {}\r\n", bytes.len());
            return say(302, &format!("ETag: W/\"other\"\r\n{linked}Location: {location}\r\n"), b"");
        }
        let nth = self.n_content.fetch_add(1, Ordering::Relaxed);
        if let Some((status, headers)) = behaviour.refusals.get(nth) {
            return say(*status, headers, b"");
        }
        let content = behaviour.content.as_ref().unwrap_or(bytes);
        let range = lower.split("range: bytes=").nth(1).filter(|_| !behaviour.no_ranges);
        let (from, to) = range.and_then(|range| range.lines().next()?.split_once('-')).unwrap_or_default();
        let from: usize = from.parse().unwrap_or(0);
        // Both ends of a range belong to it.
        let to = to.trim().parse().map_or(content.len(), |to: usize| content.len().min(to + 1));
        let (status, range) = match (from, to) {
            (0, to) if to == content.len() => (200, String::new()),
            (from, to) => (206, format!("Content-Range: bytes {from}-{}/{}\r\n", to - 1, content.len())),
        };
        let rest = &content[from..to];
        let length = match behaviour.is_endless {
            true => "Connection: close\r\n".to_owned(),
            false => format!("Content-Length: {}\r\n", rest.len()),
        };
        let text = format!("HTTP/1.1 {status} X\r\n{length}{range}{}\r\n", behaviour.headers);
        stream.write_all(text.as_bytes())?;
        let sent = &rest[..behaviour.cuts.get(nth).map_or(rest.len(), |&n| n.min(rest.len()))];
        for chunk in sent.chunks(behaviour.pace.unwrap_or(usize::MAX)) {
            stream.write_all(chunk)?;
            if behaviour.pace.is_some() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if behaviour.is_endless {
            // The client ends it.
            loop {
                stream.write_all(&[0; 4096])?;
            }
        }
        Ok(sent.len() == rest.len())
    }
}

fn host(head: &str) -> &str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("host:")).unwrap();
    line[5..].trim()
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Content that no cut or shift leaves equal.
pub fn content(len: usize) -> Vec<u8> {
    let mut random = super::Random(len as u64);
    (0..len).map(|_| random.below(256) as u8).collect()
}
