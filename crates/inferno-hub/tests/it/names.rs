//! Names become files.

use std::fs;

use inferno_hub::{Hub, HubError, Quiet, Settings};

use crate::fake::{Behaviour, COMMIT, Fake, REPO, Told, content, finals, hub, name, settings};

#[test]
fn a_name_is_downloaded_once_and_then_found_without_a_request() {
    let bytes = content(300_000);
    let fake = Fake::start(
        &[
            ("tiny-Q4_K_M.gguf", &bytes),
            ("tiny-Q8_0.gguf", b"8"),
            ("README.md", b"x"),
            ("mmproj-F16.gguf", b"y"),
        ],
        Behaviour::default(),
    );
    let folder = tempfile::tempdir().unwrap();
    let client = hub(&fake, folder.path());
    let told = Told::default();
    let fetched = client.get(&name(REPO), None, &told).unwrap();
    assert_eq!((fetched.file.as_str(), fetched.downloaded), ("tiny-Q4_K_M.gguf", 300_000));
    assert_eq!(fs::read(&fetched.path).unwrap(), bytes);
    assert!(fetched.path.ends_with(format!("models--acme--tiny-GGUF/snapshots/{COMMIT}/tiny-Q4_K_M.gguf")));
    let notes = told.notes.lock().unwrap().join("\n");
    assert!(
        notes.contains("taking Q4_K_M")
            && notes.contains("takes another: Q8_0 (1 B)")
            && notes.contains("mmproj"),
        "{notes}"
    );
    // The token goes to the hub alone.
    let requests = fake.requests();
    let of_cdn = |head: &&String| head.starts_with("GET /cdn/");
    assert!(requests.iter().filter(of_cdn).all(|head| !head.to_lowercase().contains("authorization")));
    assert!(requests.iter().any(|head| head.contains("Bearer hf_secret")));

    let n_requests = requests.len();
    let again = client.get(&name(&format!("{REPO}:q4_k_m")), None, &Quiet).unwrap();
    assert_eq!((again.path, again.downloaded, fake.requests().len()), (fetched.path, 0, n_requests));

    let offline = Hub::new(Settings { offline: true, ..settings(&fake, folder.path()) }).unwrap();
    assert!(offline.get(&name(REPO), None, &Quiet).is_ok());
    let error = offline.get(&name(&format!("{REPO}:Q8_0")), None, &Quiet).unwrap_err();
    assert!(matches!(&error, HubError::Offline { what, .. } if what.ends_with(":Q8_0")), "{error}");
    assert_eq!(fake.requests().len(), n_requests);
}

#[test]
fn a_split_model_is_downloaded_whole_and_removed_whole() {
    let parts = [content(100_000), content(90_000), content(80_000)];
    let names =
        ["q/m-Q8_0-00001-of-00003.gguf", "q/m-Q8_0-00002-of-00003.gguf", "q/m-Q8_0-00003-of-00003.gguf"];
    let files: Vec<(&str, &[u8])> = names.iter().copied().zip(parts.iter().map(Vec::as_slice)).collect();
    let fake = Fake::start(&files, Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let client = hub(&fake, folder.path());
    let fetched = client.get(&name(&format!("{REPO}:Q8_0")), None, &Quiet).unwrap();
    assert_eq!((fetched.file.as_str(), fetched.downloaded), (names[0], 270_000));
    for (name, bytes) in names.iter().zip(&parts) {
        let path = fetched.path.parent().unwrap().join(name.rsplit('/').next().unwrap());
        assert_eq!(&fs::read(path).unwrap(), bytes);
    }
    let models = client.cache().list().unwrap();
    assert_eq!((models.len(), models[0].files.len(), models[0].size()), (1, 3, 270_000));
    assert_eq!(models[0].name().to_string(), format!("{REPO}:Q8_0"));
    let (repo, found) = client.in_cache(&name(&format!("{REPO}:q8_0"))).unwrap();
    assert_eq!(found, models);
    assert_eq!(client.cache().remove(&repo, &found).unwrap(), 270_000);
    assert!(
        client.cache().list().unwrap().is_empty() && !folder.path().join("models--acme--tiny-GGUF").exists()
    );
}

#[test]
fn pull_takes_what_is_newer_and_removing_one_quant_keeps_the_other() {
    let (old, new) = (content(50_000), content(60_000));
    let fake =
        Fake::start(&[("m-Q4_K_M.gguf", &old), ("m-Q8_0.gguf", &content(70_000))], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let client = hub(&fake, folder.path());
    client.get(&name(&format!("{REPO}:Q4_K_M")), None, &Quiet).unwrap();
    client.get(&name(&format!("{REPO}:Q8_0")), None, &Quiet).unwrap();
    let (repo, found) = client.in_cache(&name(&format!("{REPO}:Q4_K_M"))).unwrap();
    assert_eq!(client.cache().remove(&repo, &found).unwrap(), 50_000);
    let left: Vec<String> =
        client.cache().models(&repo).iter().map(|model| model.files[0].name.clone()).collect();
    assert_eq!(left, ["m-Q8_0.gguf"]);
    fake.replace("m-Q4_K_M.gguf", &new);
    let fetched = client.pull(&name(&format!("{REPO}:Q4_K_M")), None, &Quiet).unwrap();
    assert_eq!(fs::read(fetched.path).unwrap(), new);
}

#[test]
fn what_fits_is_taken_where_the_name_has_no_quant() {
    let fake = Fake::start(
        &[("m-Q4_K_M.gguf", &content(50_000)), ("m-Q2_K.gguf", &content(20_000))],
        Behaviour::default(),
    );
    let folder = tempfile::tempdir().unwrap();
    let told = Told::default();
    let fetched = hub(&fake, folder.path()).get(&name(REPO), Some(30_000), &told).unwrap();
    assert_eq!(fetched.file, "m-Q2_K.gguf");
    let notes = told.notes.lock().unwrap().join("\n");
    assert!(notes.contains("taking Q2_K (20.0 kB), the largest that fits into the 30.0 kB"), "{notes}");
    let none = tempfile::tempdir().unwrap();
    let error = hub(&fake, none.path()).get(&name(REPO), Some(10_000), &told).unwrap_err().to_string();
    assert!(
        error.contains("the smallest is Q2_K of 20.0 kB") && error.contains(&format!("`{REPO}:Q2_K`")),
        "{error}"
    );
    assert!(finals(none.path()).is_empty());
    let error = hub(&fake, folder.path()).get(&name(&format!("{REPO}:Q5_K")), None, &told).unwrap_err();
    assert!(error.to_string().ends_with("no quant `Q5_K`: it has Q2_K, Q4_K_M"), "{error}");
    assert_eq!(
        finals(folder.path()).len(),
        3,
        "{:?}",
        finals(folder.path()).iter().map(|f| &f.0).collect::<Vec<_>>()
    );
}

#[test]
fn refusals_of_the_hub_say_what_to_do() {
    let fake = Fake::start(&[("m-Q8_0.gguf", b"x")], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let refusal = |status: u16, headers: &str| {
        fake.behave(Behaviour { api: Some((status, headers.into())), ..Behaviour::default() });
        hub(&fake, folder.path()).get(&name(REPO), None, &Told::default()).unwrap_err().to_string()
    };
    let gated = refusal(401, "X-Error-Code: GatedRepo\r\n");
    assert!(gated.contains(&format!("accept its terms at {}/{REPO}", fake.address)), "{gated}");
    assert!(gated.contains("/settings/tokens") && gated.contains("has no access to it"), "{gated}");
    assert!(refusal(401, "").contains("does not exist"));
    assert!(refusal(403, "").contains("the token (HF_TOKEN) may not read"));
    assert!(refusal(429, "ratelimit: \"pages\";r=0;t=254\r\n").contains("254 s"));
    assert!(refusal(500, "X-Error-Message: we are down\r\n").contains("500: we are down"));
    // The list of a gated repository is public, its files are not.
    let resolve = Some((401, "X-Error-Code: GatedRepo\r\n".into()));
    fake.behave(Behaviour { resolve, ..Behaviour::default() });
    let anonymous = Settings { token: None, ..settings(&fake, folder.path()) };
    let error = Hub::new(anonymous).unwrap().get(&name(REPO), None, &Quiet).unwrap_err();
    assert!(matches!(error, HubError::Gated { has_token: false, .. }), "{error}");
    fake.behave(Behaviour::default());
    let error = hub(&fake, folder.path()).get(&name("acme/other"), None, &Quiet).unwrap_err();
    assert!(matches!(error, HubError::NoRepo { .. }), "{error}");
    drop(fake);
    assert!(finals(folder.path()).is_empty());
}

#[test]
fn a_repository_of_safetensors_is_named_for_what_it_is() {
    let fake = Fake::start(&[("model.safetensors", b"x")], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let error = hub(&fake, folder.path()).get(&name(REPO), None, &Quiet).unwrap_err().to_string();
    assert!(error.contains("no GGUF file, but model.safetensors") && error.contains("-GGUF"), "{error}");
}

#[test]
#[cfg(unix)]
fn another_commit_hides_no_model_and_a_link_is_removed_without_its_target() {
    let fake =
        Fake::start(&[("m-Q4_K_M.gguf", &content(50_000)), ("m-Q8_0.gguf", b"8")], Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let client = hub(&fake, folder.path());
    let old = client.get(&name(&format!("{REPO}:Q4_K_M")), None, &Quiet).unwrap();
    let root = folder.path().join("models--acme--tiny-GGUF");
    let newer = "f".repeat(40);
    fs::create_dir_all(root.join("snapshots").join(&newer)).unwrap();
    fs::write(root.join("snapshots").join(&newer).join("m-Q8_0.gguf"), b"8").unwrap();
    fs::write(root.join("refs/main"), &newer).unwrap();
    let names: Vec<String> = client.cache().list().unwrap().iter().map(|m| m.name().to_string()).collect();
    assert_eq!(names, [format!("{REPO}:Q4_K_M"), format!("{REPO}:Q8_0")]);
    assert_eq!(client.find(&name(&format!("{REPO}:Q4_K_M")), None).unwrap().unwrap().path, old.path);

    // Content in a store that is shared, as newer tools keep it.
    let blob = fs::canonicalize(&old.path).unwrap();
    let shared = folder.path().join("shared");
    fs::rename(&blob, &shared).unwrap();
    std::os::unix::fs::symlink(&shared, &blob).unwrap();
    assert_eq!(fs::read(&old.path).unwrap(), content(50_000));
    let (repo, found) = client.in_cache(&name(REPO)).unwrap();
    client.cache().remove(&repo, &found).unwrap();
    assert!(!root.exists() && shared.exists());
}
