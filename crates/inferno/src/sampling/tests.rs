use super::*;

fn file(pairs: &[(&str, Value)]) -> FromFile {
    let mut metadata = Metadata::default();
    pairs.iter().for_each(|(key, value)| metadata.set(*key, value.clone()));
    FromFile::read(&metadata)
}

#[test]
fn every_type_of_number_is_taken() {
    let found = file(&[
        ("general.sampling.temp", Value::F64(0.5)),
        ("general.sampling.top_k", Value::U32(20)),
        ("general.sampling.top_p", Value::F32(0.9)),
        ("general.sampling.min_p", Value::I32(0)),
        ("general.sampling.penalty_repeat", Value::String("1.1".into())),
        ("general.sampling.penalty_freq", Value::F32(0.25)),
        ("general.sampling.penalty_present", Value::F32(-0.5)),
        ("general.sampling.mirostat", Value::I32(0)),
        ("general.sampling.xtc_threshold", Value::F32(0.1)),
        (
            "general.sampling.sequence",
            Value::String("penalties;dry;top_k;typ_p;top_p;min_p;xtc;temperature".into()),
        ),
        ("general.name", Value::String("x".into())),
    ]);
    assert_eq!(found.warnings, Vec::<String>::new());
    let expected = "temperature 0.5, top-k 20, top-p 0.9, min-p 0, repeat-penalty 1.1, repeat-last-n 64, \
                    presence-penalty -0.5, frequency-penalty 0.25, xtc-threshold 0.1, mirostat 0, \
                    samplers penalties;dry;top_k;typ_p;top_p;min_p;xtc;temperature";
    assert_eq!(found.wishes.describe(), expected);
}

#[test]
fn bad_values_are_named_and_ignored() {
    for (key, value) in [
        ("temp", Value::F32(f32::NAN)),
        ("temp", Value::F32(f32::INFINITY)),
        ("temp", Value::F32(-1.0)),
        ("temp", Value::String("hot".into())),
        ("temp", Value::Bool(true)),
        ("top_k", Value::F32(0.5)),
        ("top_k", Value::U64(u64::MAX)),
        ("top_p", Value::F32(1.5)),
        ("min_p", Value::I32(-1)),
        ("penalty_repeat", Value::F32(0.0)),
        ("penalty_last_n", Value::String(String::new())),
        ("mirostat", Value::I32(3)),
        ("mirostat_tau", Value::F32(-1.0)),
        ("xtc_probability", Value::F32(1.5)),
        ("sequence", Value::String("temperature;infill".into())),
        ("sequence", Value::I32(1)),
        ("heat", Value::F32(1.0)),
    ] {
        let found = file(&[(&format!("general.sampling.{key}"), value)]);
        assert_eq!(found.wishes, Wishes::default(), "{key}");
        let [warning] = &found.warnings[..] else { panic!("{key}: {:?}", found.warnings) };
        assert!(warning.starts_with(&format!("`general.sampling.{key}` of the model is ")), "{warning}");
        assert!(warning.contains(" and is ignored: "), "{warning}");
    }
}

#[test]
fn flags_count_more_than_the_file_and_that_more_than_our_own() {
    let found = file(&[
        ("general.sampling.temp", Value::F32(0.5)),
        ("general.sampling.top_k", Value::I32(-1)),
        ("general.sampling.penalty_last_n", Value::I32(-1)),
    ]);
    let flags = Wishes { temperature: Some(0.0), ..Wishes::default() };
    let all = flags.or(&found.wishes).resolve();
    assert_eq!((all.temperature, all.top_k, all.min_p, all.repeat_last_n), (0.0, 0, 0.05, None));
    assert_eq!(Wishes::default().resolve(), Defaults::default());
    assert_eq!(Wishes::from(&all).resolve(), all);
}

#[test]
fn samplers_and_their_order_come_from_a_file() {
    let found = file(&[
        ("general.sampling.mirostat", Value::U32(2)),
        ("general.sampling.mirostat_tau", Value::F32(3.0)),
        ("general.sampling.xtc_probability", Value::F32(0.5)),
        ("general.sampling.sequence", Value::String("top-k; temp".into())),
    ]);
    let all = found.wishes.resolve();
    let mirostat = Mirostat { version: MirostatVersion::Two, tau: 3.0, eta: 0.1 };
    assert_eq!(all.samplers.mirostat, Some(mirostat));
    assert_eq!(all.samplers.xtc_probability, 0.5);
    assert_eq!(all.samplers.order.as_deref(), Some(&[SamplerKind::TopK, SamplerKind::Temperature][..]));
    let flags = Wishes { samplers: Some(sequence("tk").unwrap()), mirostat: Some(0), ..Wishes::default() };
    let all = flags.or(&found.wishes).resolve();
    assert_eq!((all.samplers.mirostat, all.mirostat_tau), (None, 3.0));
    assert_eq!(all.samplers.order.as_deref(), Some(&[SamplerKind::Temperature, SamplerKind::TopK][..]));
    assert_eq!(Wishes::from(&all).resolve(), all);
    assert_eq!(sequence("kz").unwrap_err(), "expected letters of `edskypmxt`");
}
