//! Networks, hubs and disks that misbehave: never a wrong file under its name.

use std::fs;

use inferno_hub::{HubError, Quiet};

use crate::fake::{Behaviour, Fake, REPO, Told, content, finals, hub, name, sha256};

const FILE: &str = "m-Q8_0.gguf";

/// Downloads from a hub of that behaviour; nothing but the right content may have a name afterwards.
fn download(behaviour: Behaviour, told: &Told) -> Result<(), HubError> {
    let bytes = content(200_000);
    let fake = Fake::start(&[(FILE, &bytes)], behaviour);
    let folder = tempfile::tempdir().unwrap();
    let result = hub(&fake, folder.path()).get(&name(REPO), None, told);
    for (name, found) in finals(folder.path()) {
        assert!(name == "main" || found == bytes, "`{name}` has {} bytes after {result:?}", found.len());
    }
    result.map(|fetched| assert_eq!(fs::read(fetched.path).unwrap(), bytes))
}

#[test]
fn a_connection_that_ends_early_is_resumed_where_it_ended() {
    let bytes = content(200_000);
    let cuts = vec![70_000, 0, 30_000];
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour { cuts, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    let ranges: Vec<String> = fake
        .requests()
        .iter()
        .filter_map(|head| head.to_lowercase().split("range: ").nth(1)?.lines().next().map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["bytes=70000-", "bytes=70000-", "bytes=100000-"]);
}

#[test]
fn a_host_without_ranges_starts_again_and_one_that_never_ends_well_is_given_up() {
    let told = Told::default();
    download(Behaviour { cuts: vec![70_000], no_ranges: true, ..Behaviour::default() }, &told).unwrap();
    let error = download(Behaviour { cuts: vec![0; 40], ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Short { found: 0, .. }), "{error:?}");
}

#[test]
fn refusals_of_a_moment_are_waited_for_and_others_are_not() {
    let told = Told::default();
    let refusals = vec![(503, String::new()), (403, String::new()), (429, "Retry-After: 1\r\n".into())];
    download(Behaviour { refusals, ..Behaviour::default() }, &told).unwrap();
    assert_eq!(told.notes.lock().unwrap().len(), 3, "{:?}", told.notes.lock().unwrap());
    let refusals = vec![(429, "Retry-After: 4000\r\n".into())];
    let error = download(Behaviour { refusals, ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Busy { seconds: 4000, .. }), "{error}");
    let error = download(Behaviour { refusals: vec![(410, String::new())], ..Behaviour::default() }, &told)
        .unwrap_err();
    assert!(matches!(error, HubError::Status { status: 410, .. }), "{error}");
}

#[test]
fn wrong_content_gets_no_name_and_is_not_kept() {
    let mut wrong = content(200_000);
    wrong[100_000] ^= 1;
    let told = Told::default();
    let error =
        download(Behaviour { content: Some(wrong.clone()), ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(&error, HubError::Checksum { found, .. } if *found == sha256(&wrong)), "{error}");
    let long = [content(200_000), vec![0; 9]].concat();
    let error = download(Behaviour { content: Some(long), ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Long { .. }), "{error}");
    let short = content(200_000)[..100].to_vec();
    let error = download(Behaviour { content: Some(short), ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Short { .. } | HubError::Protocol { .. }), "{error}");
    let error = download(Behaviour { content: Some(Vec::new()), ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Short { .. }), "{error}");
}

#[test]
fn a_damaged_part_is_found_out_and_downloaded_from_the_start() {
    let bytes = content(200_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let blobs = folder.path().join("models--acme--tiny-GGUF/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&bytes))), vec![7; 50_000]).unwrap();
    let told = Told::default();
    let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &told).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert!(told.notes.lock().unwrap().iter().any(|note| note.contains("damaged")));
}

#[test]
fn the_rest_of_a_file_comes_from_where_it_was_asked_for() {
    for range in ["bytes 0-199999/200000", "bytes 70001-199999/200000", "bytes 70000-299999/300000", "none"] {
        let bytes = content(200_000);
        let refusals = vec![(206, format!("Content-Range: {range}\r\n"))];
        let fake = Fake::start(&[(FILE, &bytes)], Behaviour { refusals, ..Behaviour::default() });
        let folder = tempfile::tempdir().unwrap();
        let blobs = folder.path().join("models--acme--tiny-GGUF/blobs");
        fs::create_dir_all(&blobs).unwrap();
        fs::write(blobs.join(format!("{}.incomplete", sha256(&bytes))), &bytes[..70_000]).unwrap();
        let error = hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap_err();
        assert!(matches!(error, HubError::Protocol { .. }), "{range}: {error}");
        // What was there is still good.
        let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap();
        assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    }
}

#[test]
#[cfg(unix)]
fn a_file_that_the_disk_has_no_room_for_is_refused_before_its_first_byte() {
    let bytes = content(200_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let linked = format!("X-Linked-Etag: \"{}\"\r\nX-Linked-Size: {}\r\n", sha256(&bytes), 1u64 << 60);
    let resolve = Some((302, format!("{linked}Location: {}/cdn/{FILE}\r\n", fake.cdn)));
    fake.behave(Behaviour { resolve, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let error = hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap_err();
    assert!(matches!(error, HubError::DiskFull { .. }), "{error}");
    assert!(!fake.requests().iter().any(|head| head.starts_with("GET /cdn/")));
}

#[test]
#[cfg(unix)]
fn nothing_is_written_through_a_link() {
    let bytes = content(200_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let victim = folder.path().join("victim");
    fs::write(&victim, b"mine").unwrap();
    let blobs = folder.path().join("hub/models--acme--tiny-GGUF/blobs");
    fs::create_dir_all(&blobs).unwrap();
    std::os::unix::fs::symlink(&victim, blobs.join(format!("{}.incomplete", sha256(&bytes)))).unwrap();
    let fetched = hub(&fake, &folder.path().join("hub")).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(fs::read(victim).unwrap(), b"mine");
}

#[test]
#[cfg(unix)]
fn a_link_with_the_name_of_the_content_is_not_trusted() {
    let bytes = content(200_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other");
    let blobs = folder.path().join("hub/models--acme--tiny-GGUF/blobs");
    fs::create_dir_all(&blobs).unwrap();
    // Of the same length, and other content.
    fs::write(&other, vec![7; 200_000]).unwrap();
    std::os::unix::fs::symlink(&other, blobs.join(sha256(&bytes))).unwrap();
    let told = Told::default();
    let fetched = hub(&fake, &folder.path().join("hub")).get(&name(REPO), None, &told).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(fs::read(other).unwrap(), vec![7; 200_000]);
    assert!(told.notes.lock().unwrap().iter().any(|note| note.contains("other content")));

    // A link in place of the folder of the content leads the content, and no more, to where the user put it.
    let folder = tempfile::tempdir().unwrap();
    let (root, disk) = (folder.path().join("hub/models--acme--tiny-GGUF"), folder.path().join("disk"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&disk).unwrap();
    std::os::unix::fs::symlink(&disk, root.join("blobs")).unwrap();
    let fetched = hub(&fake, &folder.path().join("hub")).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert_eq!(fs::read_dir(disk).unwrap().count(), 1);
}

#[test]
fn content_without_end_or_in_another_encoding_is_refused() {
    let told = Told::default();
    let error = download(Behaviour { is_endless: true, ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Long { .. }), "{error}");
    // The client accepts no compression: the bytes are hashed as they come and never unpacked.
    let bomb = vec![0x1f; 200_000];
    let headers = "Content-Encoding: gzip\r\n".into();
    let error =
        download(Behaviour { content: Some(bomb), headers, ..Behaviour::default() }, &told).unwrap_err();
    assert!(matches!(error, HubError::Checksum { .. }), "{error}");
}

#[test]
#[cfg(unix)]
fn a_disk_that_is_full_is_an_error_and_leaves_no_wrong_file() {
    let bytes = content(400_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    // A limit of the shell stands for the disk: writes beyond 100 blocks fail.
    let output = crate::kill::child(&fake, folder.path(), "trap '' XFSZ; ulimit -f 100; exec \"$0\" \"$@\"")
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("too large") || said.contains("FileTooLarge"), "{said}");
    assert!(finals(folder.path()).is_empty());
    let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
}

#[test]
fn redirects_and_names_that_lead_elsewhere_are_refused() {
    let told = Told::default();
    for location in [
        "http://localhost:1/x",
        "http://169.254.169.254/latest",
        "https://evil.example/x",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "//evil.example/x",
        "http://127.0.0.1.evil.example/x",
        "",
    ] {
        let error = download(Behaviour { location: Some(location.into()), ..Behaviour::default() }, &told)
            .unwrap_err();
        assert!(matches!(error, HubError::Redirect { .. }), "{location}: {error}");
    }
    for etag in ["../../../../x", "", "zz", &"g".repeat(64), &"A".repeat(64)] {
        let error =
            download(Behaviour { etag: Some(etag.into()), ..Behaviour::default() }, &told).unwrap_err();
        assert!(matches!(error, HubError::Protocol { .. }), "{etag}: {error}");
    }
    for listed in ["../x.gguf", "/etc/x.gguf", "a/../../x.gguf", "a\\..\\x.gguf", "c:x.gguf", "a//x.gguf"] {
        let error = download(Behaviour { also_listed: vec![listed.into()], ..Behaviour::default() }, &told)
            .unwrap_err();
        assert!(matches!(error, HubError::Protocol { .. }), "{listed}: {error}");
    }
}

#[test]
fn an_endless_redirect_and_a_hub_that_is_not_there_are_errors() {
    let bytes = content(10);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour::default());
    let location = Some(format!("{}/{REPO}/resolve/x/{FILE}", fake.address));
    fake.behave(Behaviour { location, etag: None, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let error = hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap_err();
    assert!(matches!(error, HubError::Protocol { .. } | HubError::NoFile { .. }), "{error}");
    let client = hub(&fake, folder.path());
    drop(fake);
    let error = client.get(&name(REPO), None, &Told::default()).unwrap_err();
    assert!(matches!(error, HubError::Connect { .. }), "{error}");
}

#[test]
fn two_at_once_download_it_once() {
    let bytes = content(2_000_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour { pace: Some(50_000), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Quiet).unwrap();
                assert_eq!(fs::read(fetched.path).unwrap(), bytes);
            });
        }
    });
    let of_content = fake.requests().iter().filter(|head| head.starts_with("GET /cdn/")).count();
    assert_eq!(of_content, 1);
}

#[test]
fn a_cancelled_download_goes_on_where_it_was() {
    let bytes = content(3_000_000);
    let fake = Fake::start(&[(FILE, &bytes)], Behaviour { pace: Some(100_000), ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let told = Told { cancel_at: Some(500_000), ..Told::default() };
    let error = hub(&fake, folder.path()).get(&name(REPO), None, &told).unwrap_err();
    assert!(matches!(error, HubError::Cancelled), "{error}");
    assert!(finals(folder.path()).is_empty());
    let fetched = hub(&fake, folder.path()).get(&name(REPO), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), bytes);
    assert!(fake.requests().iter().any(|head| head.to_lowercase().contains("range: bytes=")));
}
