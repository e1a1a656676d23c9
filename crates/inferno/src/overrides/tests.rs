use super::*;

fn overrides(kv: &[&str]) -> Overrides {
    Overrides { override_kv: kv.iter().map(|text| pairs(text).unwrap()).collect(), ..Overrides::default() }
}

fn ember() -> Gguf {
    crate::load::open(&crate::cli::ModelFile::default()).unwrap().file
}

#[test]
fn values_are_replaced_in_the_type_of_the_file() {
    let mut file = ember();
    let family = file.metadata().str("general.architecture").unwrap().to_owned();
    let key = format!("{family}.context_length");
    let list = format!("{key}=int:512,general.name=str:a,b=c,new.flag=bool:true,new.number=float:0.5");
    overrides(&[&list, "new.count=int:3"]).apply(&mut file, None).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.u32(&key).unwrap(), 512);
    assert_eq!(metadata.str("general.name").unwrap(), "a,b=c");
    assert_eq!(metadata.opt_bool("new.flag").unwrap(), Some(true));
    assert_eq!(metadata.opt_f32("new.number").unwrap(), Some(0.5));
    assert_eq!(metadata.get("new.count"), Some(&Value::U32(3)));
}

#[test]
fn what_cannot_be_replaced_is_refused_with_the_reason() {
    for (text, part) in [
        ("general.alignment=int:64", "where the file's tensors are"),
        ("split.count=int:2", "where the file's tensors are"),
        ("tokenizer.ggml.tokens=str:x", "an array"),
        ("general.name=int:1", "the type given is another"),
        ("general.architecture=bool:true", "the type given is another"),
    ] {
        let error = format!("{:#}", overrides(&[text]).apply(&mut ember(), None).unwrap_err());
        assert!(error.starts_with("`--override-kv ") && error.contains(part), "{error}");
    }
    for text in ["", "key", "key=int", "key=int:x", "=int:1", "key=float:nan", "key=bool:yes", "key=u32:1"] {
        assert!(pairs(text).is_err(), "{text}");
    }
}

#[test]
fn rope_flags_set_the_keys_that_a_file_would_have() {
    let mut file = ember();
    let family = file.metadata().str("general.architecture").unwrap().to_owned();
    let own = file.metadata().u32(&format!("{family}.context_length")).unwrap();
    let flags = Overrides {
        rope_scaling: Some("yarn".into()),
        rope_freq_scale: Some(0.25),
        rope_freq_base: Some(50_000.0),
        yarn_attn_factor: Some(0.5),
        ..Overrides::default()
    };
    assert!(flags.are_given() && !Overrides::default().are_given());
    flags.apply(&mut file, Some(own * 3)).unwrap();
    let (metadata, key) = (file.metadata(), |name: &str| format!("{family}.{name}"));
    assert_eq!(metadata.str(&key("rope.scaling.type")).unwrap(), "yarn");
    assert_eq!(metadata.f32(&key("rope.scaling.factor")).unwrap(), 4.0);
    assert_eq!(metadata.f32(&key("rope.freq_base")).unwrap(), 50_000.0);
    assert_eq!(metadata.f32(&key("rope.scaling.attn_factor")).unwrap(), 0.5);
    assert_eq!(metadata.u32(&key("rope.scaling.original_context_length")).unwrap(), own);
    assert_eq!(metadata.u32(&key("context_length")).unwrap(), own * 3);
    // Beyond the factor it stays as it is, and is refused where it is read.
    let mut file = ember();
    flags.apply(&mut file, Some(own * 5)).unwrap();
    assert_eq!(file.metadata().u32(&key("context_length")).unwrap(), own);
}
