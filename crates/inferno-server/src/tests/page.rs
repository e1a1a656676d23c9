//! The chat page: its routes, and the page itself in a browser.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use hyper::HeaderMap;
use hyper::header::HOST;
use serde_json::Value;

use super::harness::{PATIENCE, Reply, Server, start, start_with};
use crate::app::App;
use crate::page::tests::{with_headers, with_script};
use crate::{Role, Settings};

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";

fn ask(server: &Server, line: &str, headers: &str) -> Reply {
    server.raw(format!("{line} HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n"))
}

#[test]
fn browsers_see_the_page_and_programs_that_the_server_runs() {
    let server = start(Settings::default());
    let page = ask(&server, "GET /", BROWSER);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.text().starts_with("<!doctype html>"));
    for headers in ["", "Accept: */*\r\n", "Accept: application/json\r\n", "User-Agent: ollama\r\n"] {
        let probe = ask(&server, "GET /", headers);
        assert_eq!((probe.status, &*probe.text()), (200, "inferno is running\n"), "{headers}");
    }
    assert!(ask(&server, "GET /", "").header("vary").unwrap().contains("accept"));
    // A length, and nothing behind the head.
    for headers in ["", BROWSER] {
        let mut stream = server.connect();
        let head = format!("HEAD / HTTP/1.1\r\nHost: localhost\r\n{headers}Connection: close\r\n\r\n");
        std::io::Write::write_all(&mut stream, head.as_bytes()).unwrap();
        let mut all = String::new();
        std::io::Read::read_to_string(&mut stream, &mut all).unwrap();
        assert!(all.starts_with("HTTP/1.1 200 ") && all.ends_with("\r\n\r\n"), "{all}");
    }
    assert_eq!(ask(&server, "POST /", "Content-Length: 0\r\n").error().0, 405);
    for path in
        ["/page", "/page/", "/page/index.html", "/page/nothing.js", "/page/..%2fmain.js", "/page/main.js/x"]
    {
        assert_eq!(ask(&server, &format!("GET {path}"), BROWSER).status, 404, "{path}");
    }
}

#[test]
fn files_have_their_type_and_are_sent_once() {
    let server = start(Settings::default());
    for (path, content_type) in [
        ("/page/main.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
        ("/page/icon.svg", "image/svg+xml"),
        ("/", "text/html; charset=utf-8"),
    ] {
        let file = ask(&server, &format!("GET {path}"), BROWSER);
        assert_eq!((file.status, file.header("content-type")), (200, Some(content_type)), "{path}");
        assert_eq!(file.header("cache-control"), Some("no-cache"));
        let policy = file.header("content-security-policy").unwrap();
        assert!(
            policy
                .starts_with("default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'; "),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(file.header("referrer-policy"), Some("no-referrer"));
        let tag = file.header("etag").unwrap();
        for known in [tag.to_owned(), format!("\"0\", W/{tag}"), "*".to_owned()] {
            let again = ask(&server, &format!("GET {path}"), &format!("{BROWSER}If-None-Match: {known}\r\n"));
            assert_eq!((again.status, again.body.len()), (304, 0), "{known}");
            assert_eq!(again.header("etag"), Some(tag));
        }
        let other = ask(&server, &format!("GET {path}"), &format!("{BROWSER}If-None-Match: \"0\"\r\n"));
        assert_eq!((other.status, other.body.len()), (200, file.body.len()));
    }
}

#[test]
fn the_page_needs_no_key_and_can_be_left_out() {
    let keys = vec![crate::keys::tests::named("sk-a", "a", Role::User)];
    let server = start(Settings { keys: keys.clone(), ..Settings::default() });
    for path in ["/", "/page/main.js", "/page/style.css"] {
        assert_eq!(ask(&server, &format!("GET {path}"), BROWSER).status, 200, "{path}");
    }
    assert_eq!(ask(&server, "GET /page/nothing", BROWSER).status, 404);
    for path in ["/page", "/pages/main.js", "/v1/models"] {
        assert_eq!(ask(&server, &format!("GET {path}"), BROWSER).status, 401, "{path}");
    }
    drop(server);
    let server = start(Settings { keys, page: false, ..Settings::default() });
    let root = ask(&server, "GET /", BROWSER);
    assert_eq!((root.status, &*root.text()), (200, "inferno is running\n"));
    assert_eq!(ask(&server, "GET /page/main.js", BROWSER).status, 401);
    assert_eq!(ask(&server, "GET /page/main.js", "Authorization: Bearer sk-a\r\n").status, 404);
}

#[test]
fn models_say_what_a_chat_may_ask_for() {
    let chat = start(Settings::default()).get("/v1/models").json()["data"][0]["chat"].clone();
    assert_eq!(chat["template"], true, "{chat}");
    for name in ["system", "thinking", "reasoning_effort"] {
        assert!(chat[name].is_boolean(), "{chat}");
    }
}

/// Reports of browsers, by the address that they asked.
static REPORTS: Mutex<Option<HashMap<String, String>>> = Mutex::new(None);

/// The page with its tests: it runs them and sends a report.
pub(crate) fn routes() -> Router<Arc<App>> {
    let script = || async { with_headers("tests.js", include_str!("page/tests.js").to_owned()) };
    let page = || async { with_headers("tests.html", with_script("page/tests.js")) };
    let report = |headers: HeaderMap, body: String| async move {
        let host = headers[HOST].to_str().unwrap().to_owned();
        REPORTS.lock().unwrap().get_or_insert_default().insert(host, body);
    };
    Router::new()
        .route("/tests.html", get(page))
        .route("/page/tests.js", get(script))
        .route("/page/report", post(report))
}

/// A program of Chromium's kind.
fn browser() -> Option<PathBuf> {
    let names = ["chromium", "chromium-browser", "google-chrome", "chrome-headless-shell"];
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}

/// A browser that is ended with the test.
struct Browser {
    child: Child,
    folder: PathBuf,
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn the_page_works_in_a_browser_and_holds_against_what_models_write() {
    let Some(program) = browser() else {
        return xtask::testing::skip("chromium", "there is no `chromium` to open the chat page with");
    };
    // Steps that measure the model count as an answer of the script: they are done before it is set.
    let server = start_with(Settings::default(), |config| config.self_test = true);
    server.say(include_str!("page/hostile.md"));
    let folder = std::env::temp_dir().join(format!("inferno-page-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let child = Command::new(program)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args([
            "--disable-extensions",
            "--disable-background-networking",
            "--mute-audio",
            "--remote-debugging-port=0",
        ])
        .arg(format!("--user-data-dir={}", folder.display()))
        .arg(format!("http://{}/tests.html", server.address))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut browser = Browser { child, folder };
    let since = Instant::now();
    let report = loop {
        let reports = REPORTS.lock().unwrap().take().unwrap_or_default();
        if let Some(report) = reports.get(&server.address.to_string()) {
            break serde_json::from_str::<Value>(report).unwrap();
        }
        let ended = browser.child.try_wait().unwrap();
        assert!(ended.is_none() && since.elapsed() < PATIENCE, "no report from the browser: {ended:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    println!("milliseconds: {:#}", report["times"]);
    let failed = report["failed"].as_array().unwrap();
    assert!(failed.is_empty(), "{:#}", report["failed"]);
    assert!(report["passed"].as_u64().unwrap() >= 25, "{report}");
}
