//! A process that is killed leaves nothing wrong behind, and the next one goes on.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use inferno_hub::{Hub, Quiet, Settings};

use crate::fake::{Behaviour, Fake, REPO, content, finals, hub, name};

const ENDPOINT: &str = "INFERNO_HUB_TEST_ENDPOINT";
const CACHE: &str = "INFERNO_HUB_TEST_CACHE";

/// The process that is killed: this test binary with this test alone.
#[test]
#[ignore = "a child of the test below: cargo test -- --ignored"]
fn run() {
    let settings = Settings {
        endpoint: std::env::var(ENDPOINT).unwrap(),
        token: None,
        token_source: None,
        cache: std::env::var_os(CACHE).unwrap().into(),
        offline: false,
        hosts: Vec::new(),
    };
    Hub::new(settings).unwrap().get(&name(REPO), None, &Quiet).unwrap();
}

/// The child, started by a script of the shell that ends with `exec "$0" "$@"`.
pub(crate) fn child(fake: &Fake, folder: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", "kill::run", "--ignored", "--nocapture"]);
    command.env(ENDPOINT, &fake.address).env(CACHE, folder);
    command
}

#[test]
fn after_kill_9_at_random_points_the_next_download_ends_right() {
    let bytes = content(4_000_000);
    let fake =
        Fake::start(&[("m-Q8_0.gguf", &bytes)], Behaviour { pace: Some(60_000), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let mut random = xtask::testing::Random(7);
    let mut n_killed = 0;
    for _ in 0..20 {
        let mut child = child(&fake, folder.path(), "exec \"$0\" \"$@\"")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(5 + random.below(60) as u64));
        n_killed += usize::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        for (name, found) in finals(folder.path()) {
            assert!(name == "main" || found == bytes, "`{name}` has {} bytes", found.len());
        }
    }
    assert!(n_killed > 3, "{n_killed}");
    let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
}
