//! A disk that fills up while a file is downloaded to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use inferno_hub::{HubError, Quiet, RemoteFile, RepoId, Watch};

use crate::fake::{Behaviour, Fake, REPO, content, finals, hub, name};

const FILE: &str = "m-Q8_0.gguf";

/// A disk of 1 MiB in place of a folder, until this is dropped.
struct SmallDisk<'a>(&'a Path);

impl SmallDisk<'_> {
    /// `None` where this user may not mount.
    fn mount(folder: &Path) -> Option<SmallDisk<'_>> {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", "size=1m", "none"]).arg(folder);
        let output = command.output().ok()?;
        output.status.success().then_some(SmallDisk(folder))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

/// Fills the disk of a file with it, once a download has 100,000 bytes.
struct Filling(PathBuf);

impl Watch for Filling {
    fn begin(&self, _: &RepoId, _: &[RemoteFile]) {}

    fn advance(&self, _: usize, done: u64) {
        if done >= 100_000 && !self.0.exists() {
            // As much of it as there is room for.
            let _ = fs::write(&self.0, vec![1; 1 << 20]);
        }
    }

    fn note(&self, _: &str) {}

    fn check(&self) -> Result<(), HubError> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_in_a_download_is_an_error_and_the_next_one_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_disk) = SmallDisk::mount(folder.path()) else {
        return xtask::testing::skip("root", "this user may not mount a tmpfs");
    };
    let (cache, filler) = (folder.path().join("hub"), folder.path().join("filler"));
    let bytes = content(700_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour { pace: Some(50_000), ..Behaviour::default() });
    let error = hub(&fake, &cache).get(&name(REPO), None, &Filling(filler.clone())).unwrap_err();
    assert!(matches!(&error, HubError::DiskFull { need, .. } if *need < 700_000), "{error}");
    assert!(finals(&cache).is_empty());
    // Without room the next one is refused before its first byte.
    let n_requests = fake.requests().len();
    let error = hub(&fake, &cache).get(&name(REPO), None, &Quiet).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
    let of_content =
        |requests: &[String]| requests.iter().filter(|head| head.starts_with("GET /cdn/")).count();
    assert_eq!(of_content(&fake.requests()[n_requests..]), 0);
    fs::remove_file(filler).unwrap();
    let fetched = hub(&fake, &cache).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert!(fake.requests().iter().any(|head| head.to_lowercase().contains("range: bytes=")));
}
