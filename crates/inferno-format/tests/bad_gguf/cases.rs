//! The corpus: a name, a file, and the message its refusal must have, to the letter.

use crate::raw::{Raw, SECRET, array, bytes, pair, string, tensor, tensor_of};

pub(crate) type Case = (String, Vec<u8>, String);

/// Collects cases that each change one thing about the well-formed file.
struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: impl Into<String>, expected: impl Into<String>, change: impl FnOnce(&mut Raw)) {
        let mut raw = Raw::well_formed();
        change(&mut raw);
        self.add_bytes(name, expected, raw.bytes());
    }

    fn add_bytes(&mut self, name: impl Into<String>, expected: impl Into<String>, bytes: Vec<u8>) {
        self.0.push((name.into(), bytes, expected.into()));
    }

    /// A file in which pair `name` (its key length at byte 24, value type at 36, value at 40) is another.
    fn add_pair(&mut self, name: &str, expected: impl Into<String>, pair: Vec<u8>) {
        self.add(name, expected, |raw| raw.kv[0] = pair);
    }

    /// A file with one more pair, at byte 71, with a key of 17 bytes: its value is at byte 100.
    fn add_alignment(&mut self, name: &str, type_id: u32, value: &[u8], found: &str) {
        let expected = format!(
            "value of key `general.alignment` at byte 100 is {found}, \
             expected a u32 power of two from 8 to 1048576"
        );
        self.add(name, expected, |raw| raw.kv.push(pair("general.alignment", type_id, value)));
    }

    /// A file in which tensor `b` (name length at byte 112, dimension count at 121, dimensions from 125, then
    /// type and offset) is another.
    fn add_tensor(&mut self, name: impl Into<String>, expected: impl Into<String>, tensor: Vec<u8>) {
        self.add(name, expected, |raw| raw.tensors[1] = tensor);
    }
}

pub(crate) fn all() -> Vec<Case> {
    let mut c = Cases(Vec::new());
    whole_file(&mut c);
    counts(&mut c);
    pairs(&mut c);
    arrays(&mut c);
    alignments(&mut c);
    tensor_headers(&mut c);
    places(&mut c);
    c.0
}

fn whole_file(c: &mut Cases) {
    let good = Raw::well_formed().bytes();
    c.add_bytes("empty", "magic at byte 0 needs 4 bytes, 0 are left", vec![]);
    c.add_bytes("4 bytes", "version at byte 4 needs 4 bytes, 0 are left", b"GGUF".to_vec());
    c.add("bad magic", "magic at byte 0 is something else, expected `GGUF`", |raw| raw.magic[3] = b'f');
    c.add("version 0", "version at byte 4 is 0, expected 2 or 3", |raw| raw.version = [0; 4]);
    for v in [1u32, 4, 1 << 16, u32::MAX] {
        let expected = format!("version at byte 4 is {v}, which is not supported, expected 2 or 3");
        c.add(format!("version {v}"), expected, |raw| raw.version = v.to_le_bytes());
    }
    for v in [1u32, 2, 3] {
        let expected = format!(
            "version at byte 4 is big-endian {v}, which is not supported, \
             expected a little-endian file of version 2 or 3"
        );
        c.add(format!("version {v} byte-swapped"), expected, |raw| raw.version = v.to_be_bytes());
    }
    c.add_bytes(
        "one byte short",
        "data of tensor `b` at byte 192 needs 34 bytes, 33 are left",
        good[..225].to_vec(),
    );
    let after = "end of the file at byte 256 is";
    let none = "bytes more, expected nothing after the last tensor and its padding";
    c.add("one byte after the padding", format!("{after} 1 {none}"), |raw| raw.data.push(0));
    c.add("trailing garbage", format!("{after} 5000 {none}"), |raw| raw.data.resize(96 + 5000, 0xA5));
    c.add_bytes(
        "bytes after a header without tensors",
        "end of the file at byte 32 is 1 bytes more, expected nothing after the last tensor and its padding",
        Raw { kv: vec![], tensors: vec![], data: vec![0], ..Raw::well_formed() }.bytes(),
    );
}

fn counts(c: &mut Cases) {
    for (part, at) in [("tensor", 8), ("metadata pair", 16)] {
        let mut add = |n: u64, expected: String| {
            c.add(format!("{n} {part}s"), format!("{part} count at byte {at} is {n}, {expected}"), |raw| {
                *(if at == 8 { &mut raw.n_tensors } else { &mut raw.n_kv }) = Some(n);
            });
        };
        for n in [65_537, 1 << 31, (1 << 32) - 1, 1 << 63, u64::MAX] {
            add(n, "the limit is 65536".into());
        }
        // 256 bytes less those up to the count; a tensor has 24 at least, a pair 13.
        let (n, left) = if at == 8 { (11, 240) } else { (18, 232) };
        add(n, format!("expected a number whose entries fit the {left} bytes left"));
    }
    c.add(
        "one pair more than there are",
        // The first tensor read as a pair: key `a`, value type 2, u16, then a key of 2^49 bytes or so.
        "key length of metadata pair 3 at byte 86 is 562949953421312, the limit is 65535",
        |raw| {
            raw.n_kv = Some(4);
            raw.n_tensors = Some(0);
        },
    );
    c.add(
        "one tensor more than there are",
        "name length of tensor 2 at byte 145 is 0, expected 1 to 64",
        |raw| {
            raw.n_tensors = Some(3);
        },
    );
}

fn pairs(c: &mut Cases) {
    let key = |len: u64, text: &[u8]| [bytes(len, text), vec![4, 0, 0, 0, 9, 9, 9, 9]].concat();
    let length = "key length of metadata pair 0 at byte 24 is";
    c.add_pair("key of 0 bytes", format!("{length} 0, expected 1 to 65535"), key(0, b""));
    for n in [65_536, 1 << 31, 1 << 63, u64::MAX] {
        c.add_pair("key too long", format!("{length} {n}, the limit is 65535"), key(n, &[b'k'; 65_536]));
    }
    c.add_pair(
        "key longer than the file",
        "key of metadata pair 0 at byte 32 needs 60000 bytes, 224 are left",
        key(60_000, b"k"),
    );
    let not_utf8 = "key of metadata pair 0 at byte 32 is other bytes, expected UTF-8";
    for text in [&b"k\xFF"[..], b"\xC3", b"\xED\xA0\x80", b"\xC0\x80"] {
        c.add_pair("key not UTF-8", not_utf8, key(text.len() as u64, text));
    }
    c.add(
        "a key twice",
        "key of metadata pair 1 at byte 62 is `name` again, expected a key of its own",
        |raw| raw.kv[1] = pair("name", 4, &[0; 4]),
    );
    for t in [13u32, 255, u32::MAX] {
        let expected = format!("value type of key `name` at byte 36 is {t}, expected 0 to 12");
        c.add_pair("unknown value type", expected, pair("name", t, &[0; 8]));
    }
    for byte in [2u8, 255] {
        let expected = format!("value of key `name` at byte 40 is {byte}, expected 0 or 1");
        c.add_pair("bool that is neither", expected, pair("name", 7, &[byte]));
    }
    for n in [(64 << 20) + 1, 1 << 31, 1 << 63, u64::MAX] {
        let expected = format!("string length of key `name` at byte 40 is {n}, the limit is 67108864");
        c.add_pair("string too long", expected, pair("name", 8, &bytes(n, SECRET.as_bytes())));
    }
    c.add_pair(
        "string longer than the file",
        "string of key `name` at byte 48 needs 1000 bytes, 208 are left",
        pair("name", 8, &bytes(1000, SECRET.as_bytes())),
    );
    for (key, shown, at) in [
        ("it's.\"fine\"-ünd_ok", "`it's.\"fine\"-ünd_ok`", 51),
        ("\x1B[2J", "(4 bytes)", 36),
        (&"k".repeat(65), "(65 bytes)", 97),
    ] {
        let expected = format!("value type of key {shown} at byte {at} is 13, expected 0 to 12");
        c.add_pair("a key in a message", expected, pair(key, 13, &[]));
    }
}

fn arrays(c: &mut Cases) {
    let value = |v: Vec<u8>| pair("name", 9, &v);
    let nested = "element type of key `name` at byte 40 is an array of arrays, which is not supported, \
                  expected numbers, bools or strings";
    let deep = |depth: usize| (0..depth).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner));
    c.add_pair("array of arrays", nested, value(deep(1)));
    c.add_pair("arrays 1,000 deep", nested, value(deep(1000)));
    c.add_pair(
        "unknown element type",
        "element type of key `name` at byte 40 is 13, expected 0 to 12",
        value(array(13, 1, &[0; 8])),
    );
    for (t, size) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (8, 8), (10, 8), (12, 8)]
    {
        for n in [300, 1 << 31, 1 << 62, 1 << 63, u64::MAX] {
            let needed = n.saturating_mul(size);
            let expected = format!("array of key `name` at byte 52 needs {needed} bytes, 204 are left");
            c.add_pair("array longer than the file", expected, value(array(t, n, SECRET.as_bytes())));
        }
    }
    let strings = [string("x"), string(SECRET), bytes(1 << 40, b""), string("y")].concat();
    c.add_pair(
        "array of strings with one bad length",
        "string length of key `name` at byte 75 is 1099511627776, the limit is 67108864",
        value(array(8, 4, &strings)),
    );
    c.add_pair(
        "array of bools with one that is neither",
        "element of key `name` at byte 54 is 3, expected 0 or 1",
        value(array(7, 4, &[0, 1, 3, 1])),
    );
}

fn alignments(c: &mut Cases) {
    for n in [0u32, 1, 3, 4, 33, 2 << 20, 1 << 31, u32::MAX] {
        c.add_alignment("bad alignment", 4, &n.to_le_bytes(), &format!("u32 {n}"));
    }
    c.add_alignment("alignment as u64", 10, &(1u64 << 63).to_le_bytes(), "u64 9223372036854775808");
    c.add_alignment("alignment as i32", 5, &32i32.to_le_bytes(), "i32 32");
    c.add_alignment("alignment as string", 8, &string(SECRET), "a string of 6 bytes");
    c.add_alignment("alignment as array", 9, &array(4, 1, &[32, 0, 0, 0]), "an array of 1 u32");
}

fn tensor_headers(c: &mut Cases) {
    let named = |name: &[u8]| tensor_of(name, 1, &[32], 8, 32);
    let length = "name length of tensor 1 at byte 112 is";
    c.add_tensor("tensor name of 0 bytes", format!("{length} 0, expected 1 to 64"), named(&string("")));
    for n in [65, 1 << 63, u64::MAX] {
        let name = bytes(n, &[b'n'; 65]);
        c.add_tensor("tensor name too long", format!("{length} {n}, the limit is 64"), named(&name));
    }
    c.add_tensor(
        "tensor name not UTF-8",
        "name of tensor 1 at byte 120 is other bytes, expected UTF-8",
        named(&bytes(2, b"\xFFn")),
    );
    c.add_tensor(
        "a tensor name twice",
        "name of tensor 1 at byte 120 is `a` again, expected a name of its own",
        named(&string("a")),
    );
    for n in [0, 5, u32::MAX] {
        c.add_tensor(
            format!("{n} dimensions"),
            format!("dimension count of tensor `b` at byte 121 is {n}, expected 1 to 4"),
            tensor_of(&string("b"), n, &[1; 5], 8, 32),
        );
    }
    for (dims, at, n) in [
        (&[0][..], 125, 0),
        (&[32, 0], 133, 0),
        (&[32, 1, 1, 0], 149, 0),
        (&[1 << 63], 125, 1 << 63),
        (&[32, u64::MAX], 133, u64::MAX),
    ] {
        let expected =
            format!("dimension of tensor `b` at byte {at} is {n}, expected 1 to 9223372036854775807");
        c.add_tensor(format!("dimensions {dims:?}"), expected, tensor("b", dims, 8, 32));
    }
    // Products that wrap to 0 and to 32, 2^64, 2^63; and few enough elements with too many bytes.
    for (dims, type_id) in [
        (&[1 << 32, 1 << 32][..], 0),
        (&[32, 3, 192_153_584_101_141_163], 0),
        (&[1 << 16, 1 << 16, 1 << 16, 1 << 16], 8),
        (&[1 << 62, 2], 24),
        (&[1 << 61, 3], 28),
    ] {
        c.add_tensor(
            format!("size of dimensions {dims:?} wraps"),
            "size of tensor `b` at byte 125 is more, \
             expected at most 9223372036854775807 elements, in less than 2^64 bytes",
            tensor("b", dims, type_id, 32),
        );
    }
    for (n, type_id, block) in [
        (33, 8, "32, the block of Q8_0"),
        (32, 12, "256, the block of Q4_K"),
        (1, 41, "128, the block of Q1_0"),
    ] {
        c.add_tensor(
            "a row that is not whole blocks",
            format!("row length of tensor `b` at byte 125 is {n}, expected a multiple of {block}"),
            tensor("b", &[n, 32], type_id, 32),
        );
    }
    for t in [43, 255, u32::MAX] {
        let found = format!("type of tensor `b` at byte 133 is {t}, which is not supported, ");
        c.add_tensor(format!("type {t}"), found + "expected a known type", tensor("b", &[32], t, 32));
    }
    for t in [4, 5, 31, 32, 33, 36, 37, 38] {
        let expected = format!(
            "type of tensor `b` at byte 133 is {t}, a type removed from the format, \
             which is not supported, expected a type in use"
        );
        c.add_tensor(format!("type {t}"), expected, tensor("b", &[32], t, 32));
    }
}

fn places(c: &mut Cases) {
    for offset in [33, 1, 63, u64::MAX] {
        c.add_tensor(
            "offset not aligned",
            format!("offset of tensor `b` at byte 137 is {offset}, expected a multiple of 32"),
            tensor("b", &[32], 8, offset),
        );
    }
    c.add(
        "offset aligned to 32 in a file aligned to 64",
        "offset of tensor `b` at byte 170 is 32, expected a multiple of 64",
        |raw| {
            raw.kv.push(pair("general.alignment", 4, &64u32.to_le_bytes()));
            raw.alignment = 64;
        },
    );
    c.add_tensor(
        "same place as another",
        "data of tensor `b` at byte 137 is at byte 160, \
         expected a start at byte 192 or later, where the tensor before it ends",
        tensor("b", &[32], 8, 0),
    );
    c.add(
        "the end of another, which comes later in the list",
        "data of tensor `a` at byte 104 is at byte 192, \
         expected a start at byte 194 or later, where the tensor before it ends",
        |raw| {
            raw.tensors[0] = tensor("a", &[4, 2], 0, 32);
            raw.tensors[1] = tensor("b", &[32], 8, 0);
        },
    );
    for (offset, at, left) in [(64, 224, 32), (96, 256, 0), (1 << 40, (1u64 << 40) + 160, 0)] {
        c.add_tensor(
            "past the end",
            format!("data of tensor `b` at byte {at} needs 34 bytes, {left} are left"),
            tensor("b", &[32], 8, offset),
        );
    }
    c.add_tensor(
        "offset 2^64 - 32",
        "data of tensor `b` at byte 18446744073709551615 needs 34 bytes, 0 are left",
        tensor("b", &[32], 8, u64::MAX - 31),
    );
    for (dims, needed) in
        [(&[1u64 << 32][..], 4_563_402_752u64), (&[1 << 31, 1 << 31], 4_899_916_394_579_099_648)]
    {
        c.add_tensor(
            "more data than the file has",
            format!("data of tensor `b` at byte 192 needs {needed} bytes, 64 are left"),
            tensor("b", dims, 8, 32),
        );
    }
    c.add(
        "sizes whose sum wraps",
        "data of tensor `a` at byte 160 needs 18446744073709551608 bytes, 96 are left",
        |raw| {
            raw.tensors[0] = tensor("a", &[(1 << 61) - 1], 28, 0);
            raw.tensors[1] = tensor("b", &[(1 << 61) - 1], 28, u64::MAX - 31);
        },
    );
}
