//! Malformed files: each is refused with the error it deserves, quickly, in little memory, without a panic
//! and without showing what is in it.
#![allow(clippy::unwrap_used, reason = "a test")]

mod cases;
mod memory;
mod raw;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::time::{Duration, Instant};

use inferno_format::{Array, DType, FormatError, Gguf, GgufWriter, Metadata, NewTensor, Value};
use xtask::testing::Random;

use raw::{Raw, SECRET, array, bytes, pair, string, tensor};

#[global_allocator]
static COUNTING: memory::Counting = memory::Counting;

/// Opens a file and reads all tensors; checks what holds for every file, good or bad.
fn open(file: Vec<u8>) -> Result<Gguf, FormatError> {
    let len = file.len() as i64;
    let start = Instant::now();
    let (result, peak) = memory::peak(|| -> Result<Gguf, FormatError> {
        let gguf = Gguf::from_bytes(file)?;
        for t in gguf.tensors() {
            assert_eq!(gguf.read(t)?.len() as u64, t.n_bytes);
            assert_eq!(t.n_elements(), t.row_len() * t.n_rows());
        }
        Ok(gguf)
    });
    assert!(start.elapsed() < Duration::from_secs(1));
    // The reader's buffer is 64 KiB.
    assert!(peak < (200_000 + 16 * len).min(64 << 20), "{peak} bytes of memory for a file of {len}");
    if let Err(e) = &result {
        let text = e.to_string();
        assert!(text.len() < 300 && !text.contains(char::is_control), "{text:?}");
    }
    result
}

/// What is no name is not shown. (Damage can make a name out of it: then it is shown like one.)
fn open_without_showing(file: Vec<u8>) -> Result<Gguf, FormatError> {
    let result = open(file);
    if let Err(e) = &result {
        assert!(!e.to_string().contains(SECRET), "{e}");
    }
    result
}

#[test]
fn the_file_that_cases_change_is_good() {
    let gguf = open(Raw::well_formed().bytes()).unwrap();
    assert_eq!((gguf.metadata().len(), gguf.tensors().len(), gguf.file_bytes()), (2, 2, 256));
    assert_eq!(open(Raw { version: 2u32.to_le_bytes(), ..Raw::well_formed() }.bytes()).unwrap().version(), 2);
}

#[test]
fn each_malformed_file_gets_its_error() {
    let mut wrong = String::new();
    let cases = cases::all();
    for (name, file, expected) in &cases {
        let found = open_without_showing(file.clone()).map_or_else(|e| e.to_string(), |_| "accepted".into());
        let expected = format!("model in memory: {expected}");
        if found != expected {
            wrong += &format!("{name}:\n    {found}\n    {expected}\n");
        }
    }
    assert!(wrong.is_empty(), "found, expected:\n{wrong}");
    println!("{} cases", cases.len());
}

/// About 4 KiB of header and data, with every kind of value.
fn small_model(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut metadata = Metadata::default();
    metadata.set("general.architecture", Value::String("llama".into()));
    metadata.set("general.alignment", Value::U32(64));
    metadata.set("bool", Value::Bool(true));
    metadata.set("i64", Value::I64(-1));
    let words = (0..40).map(|i| format!("{SECRET}{}", "x".repeat(i % 7)));
    metadata.set("tokens", Value::Array(Array::String(words.collect())));
    metadata.set("scores", Value::Array(Array::F32((0..40).map(|i| i as f32).collect())));
    metadata.set("flags", Value::Array(Array::Bool((0..40).map(|i| i % 3 == 0).collect())));
    let tensors: Vec<NewTensor> =
        [DType::F32, DType::Q8_0, DType::Q4_K, DType::BF16, DType::Q6_K, DType::F16]
            .iter()
            .map(|&dtype| NewTensor { name: format!("blk.{dtype}.weight"), dtype, dims: vec![256, 1] })
            .collect();
    let mut writer = GgufWriter::new(Vec::new(), &metadata, &tensors).unwrap();
    for t in &tensors {
        let n = t.dtype.row_bytes(256).unwrap();
        writer.append(&t.name, &(0..n).map(|_| random.bits() as u8).collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = small_model(1);
    assert!((4096..5000).contains(&file.len()), "{}", file.len());
    let last = open(file.clone()).unwrap().tensors().last().unwrap().n_bytes as usize;
    let padding = last.next_multiple_of(64) - last;
    for len in 0..file.len() - padding {
        match open_without_showing(file[..len].to_vec()) {
            Err(FormatError::Truncated { offset, needed, left, .. }) => {
                assert!(needed > left && offset + left <= len.max(offset as usize) as u64, "{len}");
            }
            // A list of strings that cannot fit is seen at its count.
            Err(FormatError::Invalid { field, offset: 8 | 16, .. }) => assert!(field.ends_with("count")),
            other => panic!("{len} bytes: {other:?}"),
        }
    }
    for len in file.len() - padding..=file.len() {
        open(file[..len].to_vec()).unwrap();
    }
}

#[test]
fn every_flipped_bit_gives_a_model_or_an_error() {
    let good = Raw::well_formed();
    let (file, n_header) = (good.bytes(), good.header().len());
    let mut n_accepted = 0;
    for bit in 0..8 * n_header {
        let mut file = file.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        n_accepted += usize::from(open_without_showing(file).is_ok());
    }
    // Names, the text, and numbers that are not checked here can change; nothing else.
    assert!((50..300).contains(&n_accepted), "{n_accepted}");
}

#[test]
fn files_with_random_damage_give_a_model_or_an_error() {
    let mut random = Random(2);
    let models = [small_model(1), Raw::well_formed().bytes()];
    for _ in 0..20_000 {
        let mut file = models[random.below(2)].clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(file.len());
            match random.below(5) {
                0 => file[at] = random.bits() as u8,
                1 => file[at] = [0, 1, 0x7F, 0x80, 0xFF][random.below(5)],
                2 => {
                    let n = random.below(16).min(file.len() - at);
                    file[at..at + n].fill([0, 0xFF][random.below(2)]);
                }
                3 => drop(file.drain(at..(at + random.below(24)).min(file.len()))),
                _ => {
                    let from = random.below(file.len());
                    let piece = file[from..(from + random.below(40)).min(file.len())].to_vec();
                    file.splice(at..at, piece);
                }
            }
            if file.is_empty() {
                break;
            }
        }
        let _ = open(file);
    }
}

#[test]
fn limits_are_what_they_say() {
    let with = |change: &dyn Fn(&mut Raw)| {
        let mut raw = Raw::well_formed();
        change(&mut raw);
        open(raw.bytes()).map_err(|e| e.to_string())
    };
    let key = |n: usize| with(&|raw| raw.kv.push(pair(&"k".repeat(n), 0, &[0])));
    let name = |n: usize| with(&|raw| raw.tensors[1] = tensor(&"n".repeat(n), &[32], 8, 32));
    let dims =
        |n: usize| with(&|raw| raw.tensors[1] = tensor("b", &[&[32][..], &[1; 5]].concat()[..n], 8, 32));
    let alignment = |n: u32| {
        with(&|raw| {
            raw.kv.push(pair("general.alignment", 4, &n.to_le_bytes()));
            raw.tensors[1] = tensor("b", &[32], 8, 1 << 20);
            raw.alignment = n as usize;
            raw.data.resize((1 << 20) + 34, 0);
        })
    };
    let n_kv = |n: usize| with(&|raw| raw.kv = (0..n).map(|i| pair(&i.to_string(), 0, &[0])).collect());
    let n_tensors = |n: usize| {
        with(&|raw| {
            raw.tensors = (0..n).map(|i| tensor(&i.to_string(), &[1], 24, 32 * i as u64)).collect();
            raw.data = vec![0; 32 * n];
        })
    };
    for (limit, ok) in [
        ("key", &key as &dyn Fn(usize) -> Result<Gguf, String>),
        ("name", &name),
        ("dims", &dims),
        ("n_kv", &n_kv),
        ("n_tensors", &n_tensors),
    ] {
        let n = match limit {
            "key" => 65_535,
            "name" => 64,
            "dims" => 4,
            _ => 65_536,
        };
        ok(n - 1).unwrap();
        ok(n).unwrap();
        ok(n + 1).unwrap_err();
    }
    for (n, good) in [(4, false), (8, true), (16, true), (1 << 19, true), (1 << 20, true), (1 << 21, false)] {
        assert_eq!(alignment(n).is_ok(), good, "{n}");
    }
}

/// A file of 64 GiB, of which only the header takes space.
#[cfg(unix)]
fn sparse(header: &Raw) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&header.header()).unwrap();
    file.as_file().set_len(64 << 30).unwrap();
    file
}

/// What opening `header` with 64 GiB of zeros behind it says, and the memory it takes.
#[cfg(unix)]
fn open_sparse(header: &Raw) -> (String, i64) {
    let file = sparse(header);
    let start = Instant::now();
    let (result, peak) = memory::peak(|| Gguf::open(file.path()));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    let text = result.unwrap_err().to_string();
    let (path, text) = text.split_once(": ").unwrap();
    assert_eq!(path, format!("`{}`", file.path().display()));
    (text.into(), peak)
}

#[cfg(unix)]
#[test]
fn a_huge_sparse_file_does_not_make_the_reader_take_memory() {
    let header = |pair| Raw { kv: vec![pair], tensors: vec![], ..Raw::well_formed() };
    let mib = 1 << 20;
    for (value, expected) in [
        (array(0, 1 << 34, &[]), "bytes of number arrays at byte 41 is 17179869184, the limit is 16777216"),
        (array(7, 1 << 25, &[]), "bytes of number arrays at byte 41 is 33554432, the limit is 16777216"),
        (array(12, 1 << 32, &[]), "bytes of number arrays at byte 41 is 34359738368, the limit is 16777216"),
        // An empty string takes 8 bytes of the file.
        (array(8, 1 << 32, &[]), "array of key `k` at byte 41 is 34359738368, the limit is 67108864"),
        (array(8, 8 * mib + 1, &[]), "array of key `k` at byte 41 is 67108872, the limit is 67108864"),
        (
            array(8, 2, &bytes(65 * mib, &[])),
            "string length of key `k` at byte 49 is 68157440, the limit is 67108864",
        ),
    ] {
        let (found, peak) = open_sparse(&header(pair("k", 9, &value)));
        assert_eq!(found, expected);
        assert!(peak < 100_000 + mib as i64 / 10, "{peak}");
    }

    // Few long strings, as large as the limit: held once.
    let (found, peak) = open_sparse(&header(pair("k", 9, &array(8, 2, &bytes(64 * mib - 17, &[])))));
    assert!(found.starts_with("end of the file at byte"), "{found}");
    assert!(peak < 65 * mib as i64, "{peak}");

    // A header that is nothing but zeros: the second key has no length.
    let (found, peak) = open_sparse(&Raw { n_kv: Some(65_536), ..header(pair("k", 0, &[0])) });
    assert_eq!(found, "key length of metadata pair 1 at byte 38 is 0, expected 1 to 65535");
    assert!(peak < 200_000, "{peak}");

    // As many number arrays as fit the limit, and one more.
    let numbers: Vec<_> = (0..3).map(|i| pair(&format!("k{i}"), 9, &array(0, 8 * mib, &[]))).collect();
    let file = sparse(&header(numbers[0].clone()));
    let mut at = 24 + numbers[0].len() as u64 + 8 * mib;
    for pair in &numbers[1..] {
        let mut f = file.as_file();
        f.seek(SeekFrom::Start(at)).unwrap();
        f.write_all(pair).unwrap();
        at += pair.len() as u64 + 8 * mib;
    }
    for (n_kv, expected) in [(2u64, "end of the file at byte"), (3, "bytes of number arrays at byte")] {
        let mut f = file.as_file();
        f.seek(SeekFrom::Start(16)).unwrap();
        f.write_all(&n_kv.to_le_bytes()).unwrap();
        let (result, peak) = memory::peak(|| Gguf::open(file.path()));
        let text = result.unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
        assert!(peak < 17 * mib as i64, "{peak}");
    }
}

#[test]
fn all_text_of_a_header_is_counted_together() {
    // Two strings of 32 MiB, but for the keys' two bytes; then one byte more.
    let half = 32 << 20;
    let file = |n: usize| {
        let text = |n| string(&"t".repeat(n));
        let kv = vec![pair("a", 8, &text(half - 2)), pair("b", 8, &text(n))];
        Raw { kv, tensors: vec![], data: vec![], ..Raw::well_formed() }.bytes()
    };
    Gguf::from_bytes(file(half)).unwrap();
    let file = file(half + 1);
    let (result, peak) = memory::peak(|| Gguf::from_bytes(file));
    let at = 24 + 21 + half - 2 + 13;
    assert_eq!(
        result.unwrap_err().to_string(),
        format!("model in memory: text of the header at byte {at} is 67108865, the limit is 67108864")
    );
    assert!(peak < 33 << 20, "{peak}");
}
