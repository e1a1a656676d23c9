use std::path::Path;

use inferno_format::GgufWriter;
use inferno_hub::Settings;
use xtask::testing::hub::{Behaviour, Fake, REPO};

use super::*;

fn ember() -> Vec<u8> {
    std::fs::read(xtask::testing::root().join("crates/inferno/models/ember/ember-q8_0.gguf")).unwrap()
}

fn hub(fake: &Fake, cache: &Path) -> Hub {
    let settings = Settings::read(|_| None);
    Hub::new(Settings { endpoint: fake.address.clone(), cache: cache.to_owned(), ..settings }).unwrap()
}

fn found(hub: &Hub, name: &str) -> (Vec<Candidate>, String) {
    let (found, notes) = look_up(hub, &ModelName::parse(name).unwrap()).unwrap();
    (found, notes.join("\n"))
}

#[test]
fn quants_have_the_shape_of_one_header_and_nothing_is_downloaded() {
    let ember = ember();
    let files: [(&str, &[u8]); 5] = [
        ("m-Q4_K_M.gguf", &ember),
        ("m-Q8_0.gguf", &ember),
        ("m-F16.gguf", &[1; 5000]),
        ("m-IQ4_KS.gguf", b"x"),
        ("README.md", b"x"),
    ];
    let fake = Fake::start(&files, Behaviour::default());
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&fake, folder.path());
    let (candidates, notes) = found(&hub, REPO);
    let rows: Vec<_> = candidates.iter().map(|c| (c.quant.as_str(), c.file_bytes)).collect();
    let n = ember.len() as u64;
    assert_eq!(rows, [("F16", 5000), ("Q4_K_M", n), ("Q8_0", n)]);
    let whole = Gguf::from_bytes(ember).unwrap();
    let tensor_bytes = |file: &Gguf| file.tensors().iter().map(|t| t.n_bytes).sum::<u64>();
    let shapes: Vec<&Opened> = candidates.iter().map(|c| c.shape.as_ref().unwrap()).collect();
    assert_eq!(shapes[1].size(), (shapes[2].size().0, "Q8_0"));
    assert_eq!(tensor_bytes(&shapes[2].file), tensor_bytes(&whole));
    assert!(tensor_bytes(&shapes[0].file) > 3 * tensor_bytes(&whole) / 2, "F16 takes more");
    let arch = shapes[0].architecture(None).unwrap();
    assert_eq!(arch.vocab_size, shapes[0].file.tensor("token_embd.weight").unwrap().n_rows());
    for part in
        ["the shape is that of `m-Q4_K_M.gguf`, 1.0 MB of it read", "left out are IQ4_KS, whose types"]
    {
        assert!(notes.contains(part), "{notes}");
    }
    let of_content = |head: &String| head.starts_with("GET /cdn/");
    let requests: Vec<String> = fake.requests().into_iter().filter(of_content).collect();
    assert!(requests.len() == 1 && requests[0].to_lowercase().contains("range: bytes=0-"), "{requests:?}");
    assert!(!folder.path().join("models--acme--tiny-GGUF").exists());

    let (candidates, _) = found(&hub, &format!("{REPO}:q8_0"));
    assert_eq!(candidates.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), [format!("{REPO}:Q8_0")]);
    let error =
        look_up(&hub, &ModelName::parse(&format!("{REPO}:Q5_K_M")).unwrap()).err().unwrap().to_string();
    assert!(error.contains("it has F16, IQ4_KS, Q4_K_M, Q8_0"), "{error}");
}

#[test]
fn sizes_alone_are_taken_where_no_header_is_sent() {
    let ember = ember();
    let resolve = Some((401, "X-Error-Code: GatedRepo\r\n".into()));
    let fake = Fake::start(&[("m-Q8_0.gguf", &ember)], Behaviour { resolve, ..Behaviour::default() });
    let folder = tempfile::tempdir().unwrap();
    let hub = hub(&fake, folder.path());
    let (candidates, notes) = found(&hub, REPO);
    assert!(candidates[0].shape.is_none() && candidates[0].file_bytes == ember.len() as u64);
    assert!(notes.contains("from the sizes of its files alone") && notes.contains("gated"), "{notes}");
    // A host that knows no ranges sends more, which is not read.
    fake.behave(Behaviour { no_ranges: true, ..Behaviour::default() });
    assert!(found(&hub, REPO).0[0].shape.is_some());
    fake.behave(Behaviour { content: Some(b"GGUFx".to_vec()), ..Behaviour::default() });
    assert!(found(&hub, REPO).0[0].shape.is_none());
}

#[test]
fn the_headers_of_all_parts_make_one_shape() {
    let part = |no: u32, names: [&str; 2]| {
        let mut metadata = Metadata::default();
        if no == 0 {
            metadata.set("general.architecture", Value::String("llama".into()));
        }
        for (key, n) in [("split.no", no), ("split.count", 2), ("split.tensors.count", 4)] {
            metadata.set(key, Value::U32(n));
        }
        let tensors = names.map(|name| NewTensor { name: name.into(), dtype: DType::F32, dims: vec![4, 3] });
        let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).unwrap();
        names.iter().for_each(|name| writer.append(name, &[0; 48]).unwrap());
        writer.finish().unwrap()
    };
    let files = [part(0, ["token_embd.weight", "a"]), part(1, ["b", "c"])];
    let fake = Fake::start(
        &[("m-F32-00001-of-00002.gguf", &files[0]), ("m-F32-00002-of-00002.gguf", &files[1])],
        Behaviour::default(),
    );
    let folder = tempfile::tempdir().unwrap();
    let (candidates, notes) = found(&hub(&fake, folder.path()), REPO);
    let names: Vec<_> =
        candidates[0].shape.iter().flat_map(|s| s.file.tensors()).map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["token_embd.weight", "a", "b", "c"], "{notes}");
}
