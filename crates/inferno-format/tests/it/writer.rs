//! What is written is read back the same, and what could not be read back is not written.

use inferno_format::{Array, DType, FormatError, Gguf, GgufWriter, Metadata, NewTensor, Value, WriteError};
use proptest::prelude::*;

fn tensor(name: &str, dtype: DType, dims: &[usize]) -> NewTensor {
    NewTensor { name: name.into(), dtype, dims: dims.into() }
}

/// A file with these tensors, the bytes of each counting up.
fn write(metadata: &Metadata, tensors: &[NewTensor]) -> Result<Vec<u8>, WriteError> {
    let mut writer = GgufWriter::new(Vec::new(), metadata, tensors)?;
    for t in tensors {
        writer.append(&t.name, &content(t))?;
    }
    writer.finish()
}

fn content(t: &NewTensor) -> Vec<u8> {
    let n_rows: usize = t.dims[1..].iter().product();
    (0..n_rows * t.dtype.row_bytes(t.dims[0]).unwrap()).map(|i| i as u8).collect()
}

fn every_kind_of_value() -> Metadata {
    let mut m = Metadata::default();
    for (key, value) in [
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-100)),
        ("u16", Value::U16(60_000)),
        ("i16", Value::I16(-30_000)),
        ("u32", Value::U32(4_000_000_000)),
        ("i32", Value::I32(-2_000_000_000)),
        ("f32", Value::F32(1.5e-40)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("zwölf \0 🔥".into())),
        ("bytes", Value::Bytes(b"caf\xe9".to_vec())),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(-1e300)),
        ("a.u8", Value::Array(Array::U8(vec![1, 255]))),
        ("a.i8", Value::Array(Array::I8(vec![-1, 127]))),
        ("a.u16", Value::Array(Array::U16(vec![65_535]))),
        ("a.i16", Value::Array(Array::I16(vec![-1]))),
        ("a.u32", Value::Array(Array::U32(vec![7; 30_000]))),
        ("a.i32", Value::Array(Array::I32(vec![]))),
        ("a.f32", Value::Array(Array::F32(vec![0.1, f32::INFINITY]))),
        ("a.bool", Value::Array(Array::Bool(vec![true, false]))),
        ("a.string", Value::Array(Array::String(["", "a", "ß"].into_iter().collect()))),
        // A character cut in two: the whole is UTF-8, its parts are not.
        (
            "a.bytes",
            Value::Array(Array::Bytes(
                ["a", ""].map(str::as_bytes).iter().chain(&[&b"\xc3"[..], b"\xa9"]).collect(),
            )),
        ),
        ("a.u64", Value::Array(Array::U64(vec![1 << 63]))),
        ("a.i64", Value::Array(Array::I64(vec![-1]))),
        ("a.f64", Value::Array(Array::F64(vec![0.1]))),
    ] {
        m.set(key, value);
    }
    m
}

#[test]
fn a_string_that_is_not_utf8_is_kept_and_is_no_text_to_whoever_needs_one() {
    let m = every_kind_of_value();
    let gguf = Gguf::from_bytes(write(&m, &[]).unwrap()).unwrap();
    let m = gguf.metadata();
    assert_eq!(m.get("bytes"), Some(&Value::Bytes(vec![0x63, 0x61, 0x66, 0xe9])));
    let error = m.str("bytes").unwrap_err().to_string();
    assert_eq!(error, "metadata key `bytes` is a string of 4 bytes that is not UTF-8, expected a string");
    let error = m.opt_strings("a.bytes").unwrap_err().to_string();
    assert_eq!(
        error,
        "metadata key `a.bytes` is an array of 4 string, not all UTF-8, expected an array of strings"
    );
}

#[test]
fn every_kind_of_value_and_tensor_comes_back() {
    for alignment in [None, Some(8), Some(64), Some(4096)] {
        let mut metadata = every_kind_of_value();
        if let Some(n) = alignment {
            metadata.set("general.alignment", Value::U32(n));
        }
        let tensors: Vec<_> = DType::ALL
            .iter()
            .enumerate()
            .map(|(i, &t)| tensor(t.name(), t, &[t.block_len() * (1 + i % 2), 3, 1 + i % 3][..1 + i % 3]))
            .collect();
        let gguf = Gguf::from_bytes(write(&metadata, &tensors).unwrap()).unwrap();
        assert_eq!(gguf.metadata(), &metadata);
        assert_eq!((gguf.version(), gguf.alignment()), (3, alignment.unwrap_or(32).into()));
        assert_eq!(gguf.tensors().len(), tensors.len());
        for (found, written) in gguf.tensors().iter().zip(&tensors) {
            assert_eq!(
                (&found.name, found.dtype, &found.dims),
                (&written.name, written.dtype, &written.dims)
            );
            assert_eq!(gguf.read(found).unwrap(), content(written));
            assert_eq!(gguf.tensor(&written.name), Some(found));
        }
    }
}

#[test]
fn a_file_without_tensors_has_no_padding() {
    let bytes = write(&every_kind_of_value(), &[]).unwrap();
    let gguf = Gguf::from_bytes(bytes.clone()).unwrap();
    assert_eq!(gguf.tensors(), []);
    assert_eq!(gguf.file_bytes(), bytes.len() as u64);
    assert_eq!(write(&Metadata::default(), &[]).unwrap().len(), 24);
}

#[test]
fn a_tensor_can_be_written_and_read_in_parts() {
    let t = tensor("t", DType::Q8_0, &[32, 5]);
    let all = content(&t);
    let mut writer = GgufWriter::new(Vec::new(), &Metadata::default(), &[t]).unwrap();
    for part in all.chunks(7) {
        writer.append("t", part).unwrap();
    }
    let gguf = Gguf::from_bytes(writer.finish().unwrap()).unwrap();
    let t = gguf.tensor("t").unwrap();
    let mut part = [0; 50];
    gguf.read_at(t, 100, &mut part).unwrap();
    assert_eq!(part, all[100..150]);
    for (offset, len) in [(121, 50), (u64::MAX, 1), (171, 0)] {
        let e = gguf.read_at(t, offset, &mut part[..len]).unwrap_err();
        assert!(matches!(e, FormatError::OutOfTensor { has: 170, .. }), "{e}");
    }
    gguf.read_at(t, 170, &mut []).unwrap();
}

#[test]
fn bytes_that_do_not_match_the_header_are_refused() {
    let tensors = [tensor("a", DType::F32, &[2]), tensor("b", DType::F32, &[1])];
    let new = || GgufWriter::new(Vec::new(), &Metadata::default(), &tensors).unwrap();
    let text = |e: WriteError| e.to_string();

    assert_eq!(new().append("b", &[0; 4]).map_err(text), Err("bytes for tensor `b`, expected `a`".into()));
    assert_eq!(
        new().append("a", &[0; 9]).map_err(text),
        Err("tensor `a` has 8 bytes, 9 were to be written".into())
    );
    let mut writer = new();
    writer.append("a", &[0; 8]).unwrap();
    assert_eq!(writer.append("a", &[0; 1]).map_err(text), Err("bytes for tensor `a`, expected `b`".into()));
    writer.append("b", &[0; 3]).unwrap();
    assert_eq!(writer.finish().map_err(text), Err("tensor `b` has 4 bytes, 3 were written".into()));
    let mut writer = new();
    writer.append("a", &[0; 8]).unwrap();
    writer.append("b", &[0; 4]).unwrap();
    assert_eq!(writer.append("c", &[]).map_err(text), Err("bytes for tensor `c`, expected none".into()));
}

#[test]
fn what_the_reader_would_refuse_is_not_written() {
    let with = |key: &str, value| {
        let mut m = Metadata::default();
        m.set(key, value);
        m
    };
    let none = Metadata::default();
    for (metadata, tensors, field) in [
        (with("", Value::U8(0)), vec![], "key length of metadata pair 0"),
        (with("general.alignment", Value::U32(0)), vec![], "value of key `general.alignment`"),
        (with("general.alignment", Value::I32(32)), vec![], "value of key `general.alignment`"),
        (none.clone(), vec![tensor("", DType::F32, &[1])], "name length of tensor 0"),
        (none.clone(), vec![tensor("t", DType::F32, &[])], "dimension count of tensor `t`"),
        (none.clone(), vec![tensor("t", DType::F32, &[1, 0])], "dimension of tensor `t`"),
        (none.clone(), vec![tensor("t", DType::Q8_0, &[33])], "row length of tensor `t`"),
        (none.clone(), vec![tensor("t", DType::F32, &[1 << 32, 1 << 32])], "size of tensor `t`"),
        (none.clone(), vec![tensor("t", DType::F32, &[1]); 2], "name of tensor 1"),
    ] {
        match write(&metadata, &tensors).unwrap_err() {
            WriteError::Unreadable(e) => assert!(e.to_string().contains(field), "{e}, not {field}"),
            e => panic!("{e}"),
        }
    }
    let huge = tensor("a", DType::F64, &[1 << 60]);
    let tensors = [huge.clone(), NewTensor { name: "b".into(), ..huge }];
    let e = GgufWriter::new(Vec::new(), &none, &tensors).err().unwrap();
    assert!(matches!(e, WriteError::TooLarge { ref tensor } if tensor == "b"), "{e}");
}

/// Any value without NaN, which equals nothing.
fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u8>().prop_map(Value::U8),
        any::<i64>().prop_map(Value::I64),
        any::<bool>().prop_map(Value::Bool),
        any::<String>().prop_map(Value::String),
        (-1e30f32..1e30).prop_map(Value::F32),
        prop::collection::vec(any::<i32>(), 0..50).prop_map(|v| Value::Array(Array::I32(v))),
        prop::collection::vec(any::<String>(), 0..50)
            .prop_map(|v| Value::Array(Array::String(v.into_iter().collect()))),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_metadata_comes_back(pairs in prop::collection::vec((".{1,40}", value()), 0..20)) {
        let mut metadata = Metadata::default();
        for (key, value) in pairs {
            if key != "general.alignment" {
                metadata.set(key, value);
            }
        }
        let gguf = Gguf::from_bytes(write(&metadata, &[]).unwrap()).unwrap();
        prop_assert_eq!(gguf.metadata(), &metadata);
    }
}

#[test]
fn an_outline_is_described_like_the_file_and_has_no_weights() {
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String("llama".into()));
    // More than any machine has memory for.
    let tensors = [
        NewTensor { name: "b".into(), dtype: DType::F32, dims: vec![3] },
        NewTensor { name: "a".into(), dtype: DType::Q8_0, dims: vec![1 << 20, 1 << 18] },
    ];
    let model = inferno_format::outline(&metadata, &tensors, &[vec![7; 12]]).unwrap();
    assert_eq!(model.metadata().str("general.architecture").unwrap(), "llama");
    let found: Vec<_> = model.tensors().iter().map(|t| (t.name.as_str(), t.dtype, t.dims.clone())).collect();
    assert_eq!(found, [("b", DType::F32, vec![3]), ("a", DType::Q8_0, vec![1 << 20, 1 << 18])]);
    let n_bytes: u64 = model.tensors().iter().map(|t| t.n_bytes).sum();
    assert!(model.file_bytes() > n_bytes && model.file_bytes() < n_bytes + 1000);
    assert_eq!(model.read(model.tensor("b").unwrap()).unwrap(), [7; 12]);
    let refused = model.read_at(model.tensor("a").unwrap(), 0, &mut [0; 34]).unwrap_err();
    assert!(matches!(refused, FormatError::Truncated { .. }), "{refused}");
}
