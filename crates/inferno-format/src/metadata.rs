//! The key–value section of a GGUF file: values as the file types them, read by key.
//!
//! Source: the GGUF specification, "Metadata key-value pairs"
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).

use std::collections::HashMap;
use std::fmt;

/// A key is missing, or its value is not of the kind its reader needs. Never carries file content
/// beyond the key's name and a number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// A key that the reader cannot do without is absent.
    #[error("metadata key `{key}` is missing, expected {expected}")]
    Missing {
        /// The absent key.
        key: String,
        /// What its value would have to be.
        expected: &'static str,
    },
    /// The key is there with a value of another type or out of range.
    #[error("metadata key `{key}` is {found}, expected {expected}")]
    Unfit {
        /// The key whose value does not fit.
        key: String,
        /// What its value would have to be.
        expected: &'static str,
        /// What the file has: a type, and the value when it is a number.
        found: String,
    },
}

/// One metadata value, in the type the file gives it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the specification's type names")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    /// A string that is not UTF-8: kept as it is; reading it as text is an error.
    Bytes(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// A metadata array. Arrays of arrays are refused by the reader.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the variants are the specification's type names")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Strings),
    /// Strings of which at least one is not UTF-8.
    Bytes(ByteStrings),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

/// Many strings in one allocation: a vocabulary has hundreds of thousands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings {
    text: String,
    /// End of string `i` in `text`; it starts where the one before ends.
    ends: Vec<u32>,
}

impl Strings {
    /// Strings laid end to end. Each end must be a boundary of a character, and not before the one before it.
    pub(crate) fn from_parts(text: String, ends: Vec<u32>) -> Strings {
        debug_assert!(ends.is_sorted() && ends.iter().all(|&end| text.is_char_boundary(end as usize)));
        Strings { text, ends }
    }

    /// Adds one string. The total must stay below 4 GiB (the reader's limit is far lower).
    pub fn push(&mut self, s: &str) {
        self.text.push_str(s);
        self.ends.push(u32::try_from(self.text.len()).expect("string arrays are limited to 4 GiB"));
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`, or `None` past the end.
    pub fn get(&self, i: usize) -> Option<&str> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        Some(&self.text[start..end])
    }

    /// All strings in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        (0..self.len()).map(|i| self.get(i).expect("i < len"))
    }
}

/// Many byte strings in one allocation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ByteStrings {
    bytes: Vec<u8>,
    /// End of string `i` in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
}

impl ByteStrings {
    /// Strings laid end to end; ends ascend to the length of `bytes`.
    pub(crate) fn from_parts(bytes: Vec<u8>, ends: Vec<u32>) -> ByteStrings {
        debug_assert!(ends.is_sorted() && ends.last().is_none_or(|&end| end as usize == bytes.len()));
        ByteStrings { bytes, ends }
    }

    /// Number of strings.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// String `i`, or `None` past the end.
    pub fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = if i == 0 { 0 } else { self.ends[i - 1] as usize };
        Some(&self.bytes[start..end])
    }
}

impl<S: AsRef<[u8]>> FromIterator<S> for ByteStrings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = ByteStrings::default();
        for s in strings {
            all.bytes.extend_from_slice(s.as_ref());
            all.ends.push(u32::try_from(all.bytes.len()).expect("string arrays are limited to 4 GiB"));
        }
        all
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Strings::default();
        for s in strings {
            all.push(s.as_ref());
        }
        all
    }
}

impl Array {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        match self {
            Array::U8(v) => v.len(),
            Array::I8(v) => v.len(),
            Array::U16(v) => v.len(),
            Array::I16(v) => v.len(),
            Array::U32(v) => v.len(),
            Array::I32(v) => v.len(),
            Array::F32(v) => v.len(),
            Array::Bool(v) => v.len(),
            Array::String(v) => v.len(),
            Array::Bytes(v) => v.len(),
            Array::U64(v) => v.len(),
            Array::I64(v) => v.len(),
            Array::F64(v) => v.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element `i` as an integer; `None` past the end or if the elements are no integers that fit.
    pub fn integer(&self, i: usize) -> Option<i64> {
        match self {
            Array::U8(v) => v.get(i).map(|&x| x.into()),
            Array::I8(v) => v.get(i).map(|&x| x.into()),
            Array::U16(v) => v.get(i).map(|&x| x.into()),
            Array::I16(v) => v.get(i).map(|&x| x.into()),
            Array::U32(v) => v.get(i).map(|&x| x.into()),
            Array::I32(v) => v.get(i).map(|&x| x.into()),
            Array::U64(v) => v.get(i).and_then(|&x| x.try_into().ok()),
            Array::I64(v) => v.get(i).copied(),
            Array::F32(_) | Array::F64(_) | Array::Bool(_) | Array::String(_) | Array::Bytes(_) => None,
        }
    }

    fn type_name(&self) -> &'static str {
        match self {
            Array::U8(_) => "u8",
            Array::I8(_) => "i8",
            Array::U16(_) => "u16",
            Array::I16(_) => "i16",
            Array::U32(_) => "u32",
            Array::I32(_) => "i32",
            Array::F32(_) => "f32",
            Array::Bool(_) => "bool",
            Array::String(_) => "string",
            Array::Bytes(_) => "string, not all UTF-8",
            Array::U64(_) => "u64",
            Array::I64(_) => "i64",
            Array::F64(_) => "f64",
        }
    }
}

impl Value {
    /// The value as an integer, if it is one and fits.
    pub fn integer(&self) -> Option<i64> {
        match *self {
            Value::U8(x) => Some(x.into()),
            Value::I8(x) => Some(x.into()),
            Value::U16(x) => Some(x.into()),
            Value::I16(x) => Some(x.into()),
            Value::U32(x) => Some(x.into()),
            Value::I32(x) => Some(x.into()),
            Value::U64(x) => x.try_into().ok(),
            Value::I64(x) => Some(x),
            _ => None,
        }
    }
}

/// The type, and the value too where it is a number or a bool: safe to show, as it holds no text of the file.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::U8(x) => write!(f, "u8 {x}"),
            Value::I8(x) => write!(f, "i8 {x}"),
            Value::U16(x) => write!(f, "u16 {x}"),
            Value::I16(x) => write!(f, "i16 {x}"),
            Value::U32(x) => write!(f, "u32 {x}"),
            Value::I32(x) => write!(f, "i32 {x}"),
            Value::F32(x) => write!(f, "f32 {x}"),
            Value::Bool(x) => write!(f, "bool {x}"),
            Value::U64(x) => write!(f, "u64 {x}"),
            Value::I64(x) => write!(f, "i64 {x}"),
            Value::F64(x) => write!(f, "f64 {x}"),
            Value::String(s) => write!(f, "a string of {} bytes", s.len()),
            Value::Bytes(s) => write!(f, "a string of {} bytes that is not UTF-8", s.len()),
            Value::Array(a) => write!(f, "an array of {} {}", a.len(), a.type_name()),
        }
    }
}

/// All key–value pairs of a file, in file order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    pairs: Vec<(String, Value)>,
    index: HashMap<String, usize>,
}

impl Metadata {
    /// Sets `key`, replacing a value it already has.
    pub fn set(&mut self, key: impl Into<String>, value: Value) {
        let key = key.into();
        match self.index.get(&key) {
            Some(&i) => self.pairs[i].1 = value,
            None => {
                self.index.insert(key.clone(), self.pairs.len());
                self.pairs.push((key, value));
            }
        }
    }

    /// The value of `key`, if it is there.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.index.get(key).map(|&i| &self.pairs[i].1)
    }

    /// All pairs in file order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.pairs.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// An integer of any width that fits `u32`; `None` if the key is absent.
    pub fn opt_u32(&self, key: &str) -> Result<Option<u32>, MetadataError> {
        self.opt(key, "an integer from 0 to 4294967295", |v| v.integer()?.try_into().ok())
    }

    /// An integer of any width that fits `u32`; an error if the key is absent.
    pub fn u32(&self, key: &str) -> Result<u32, MetadataError> {
        self.opt_u32(key)?.ok_or_else(|| missing(key, "an integer from 0 to 4294967295"))
    }

    /// A floating-point number; `None` if the key is absent.
    pub fn opt_f32(&self, key: &str) -> Result<Option<f32>, MetadataError> {
        self.opt(key, "a floating-point number", |v| match *v {
            Value::F32(x) => Some(x),
            Value::F64(x) => Some(x as f32),
            _ => None,
        })
    }

    /// A floating-point number; an error if the key is absent.
    pub fn f32(&self, key: &str) -> Result<f32, MetadataError> {
        self.opt_f32(key)?.ok_or_else(|| missing(key, "a floating-point number"))
    }

    /// A bool; `None` if the key is absent.
    pub fn opt_bool(&self, key: &str) -> Result<Option<bool>, MetadataError> {
        self.opt(key, "a bool", |v| match *v {
            Value::Bool(x) => Some(x),
            _ => None,
        })
    }

    /// A string; `None` if the key is absent.
    pub fn opt_str(&self, key: &str) -> Result<Option<&str>, MetadataError> {
        self.opt(key, "a string", |v| match v {
            Value::String(s) => Some(s.as_str()),
            _ => None,
        })
    }

    /// A string; an error if the key is absent.
    pub fn str(&self, key: &str) -> Result<&str, MetadataError> {
        self.opt_str(key)?.ok_or_else(|| missing(key, "a string"))
    }

    /// An array of strings; `None` if the key is absent.
    pub fn opt_strings(&self, key: &str) -> Result<Option<&Strings>, MetadataError> {
        self.opt(key, "an array of strings", |v| match v {
            Value::Array(Array::String(s)) => Some(s),
            _ => None,
        })
    }

    /// An array of `f32`; `None` if the key is absent.
    pub fn opt_f32s(&self, key: &str) -> Result<Option<&[f32]>, MetadataError> {
        self.opt(key, "an array of f32", |v| match v {
            Value::Array(Array::F32(x)) => Some(x.as_slice()),
            _ => None,
        })
    }

    /// An array of any integer type; `None` if the key is absent.
    pub fn opt_integers(&self, key: &str) -> Result<Option<&Array>, MetadataError> {
        self.opt(key, "an array of integers", |v| match v {
            Value::Array(a) if a.is_empty() || a.integer(0).is_some() => Some(a),
            _ => None,
        })
    }

    fn opt<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, MetadataError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| MetadataError::Unfit {
            key: key.into(),
            expected,
            found: value.to_string(),
        })
    }
}

fn missing(key: &str, expected: &'static str) -> MetadataError {
    MetadataError::Missing { key: key.into(), expected }
}
