//! The header of a GGUF file, byte by byte: counts, metadata pairs, tensor descriptions.
//!
//! Source: the GGUF specification (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//! Each number is checked before it is used, and nothing is allocated on the word of the file alone.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::unwrap_used)]

use super::cursor::{Cursor, Field};
use super::limits::*;
use crate::dtype::DType;
use crate::error::{FormatError, shown};
use crate::foreign::{Foreign, HEAD};
use crate::metadata::{Array, ByteStrings, Metadata, Strings, Value};
use crate::source::Source;

/// What one file's header says.
pub(crate) struct Header {
    pub(crate) version: u32,
    pub(crate) alignment: u64,
    pub(crate) metadata: Metadata,
    pub(crate) tensors: Vec<TensorHeader>,
    /// Bytes of the header, padding not counted.
    pub(crate) end: u64,
}

/// One tensor as the header describes it; its place in the file is not checked yet.
pub(crate) struct TensorHeader {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<u64>,
    /// Bytes of all rows.
    pub(crate) n_bytes: u64,
    /// From the start of the data section.
    pub(crate) offset: u64,
    /// Where in the file the offset is written.
    pub(crate) offset_at: u64,
}

/// Reads the header of `source`.
pub(crate) fn read(source: &Source) -> Result<Header, FormatError> {
    Reader { at: Cursor::new(source), string_bytes: 0, number_bytes: 0 }.header()
}

/// By how much text at least as long grows.
const GROWTH: usize = 8 << 20;

struct Reader<'a> {
    at: Cursor<'a>,
    /// Bytes of text read so far, and of array strings' length fields.
    string_bytes: u64,
    /// Bytes of array elements that are no strings, read so far.
    number_bytes: u64,
}

impl Reader<'_> {
    fn header(mut self) -> Result<Header, FormatError> {
        let version = self.version()?;
        let n_tensors = self.count("tensor count", MAX_TENSORS, MIN_TENSOR_BYTES)?;
        let n_kv = self.count("metadata pair count", MAX_KV, MIN_KV_BYTES)?;
        // The two lists follow each other, so together they must fit as well; that is seen while reading.

        let mut metadata = Metadata::default();
        let mut alignment = DEFAULT_ALIGNMENT;
        for i in 0..n_kv {
            let key = self.new_key(i, &metadata)?;
            let type_at = self.at.pos();
            let type_id = self.at.u32(Field::key("value type", &key))?;
            let value_at = self.at.pos();
            let value = self.value(&key, type_id, type_at)?;
            if key == "general.alignment" {
                alignment = self.alignment(&value, value_at)?;
            }
            metadata.set(key, value);
        }

        let mut tensors = Vec::new();
        let mut names = std::collections::HashSet::new();
        for i in 0..n_tensors {
            let name_at = self.at.pos();
            let tensor = self.tensor(i)?;
            if !names.insert(tensor.name.clone()) {
                let field = Field::tensor_idx("name", i);
                let found = format!("{} again", shown(&tensor.name));
                return Err(self.at.invalid(field, name_at.saturating_add(8), "a name of its own", found));
            }
            tensors.push(tensor);
        }
        Ok(Header { version, alignment, metadata, tensors, end: self.at.pos() })
    }

    fn version(&mut self) -> Result<u32, FormatError> {
        let magic: [u8; 4] = self.at.array(Field::file("magic"))?;
        if &magic != b"GGUF" {
            if let Some(found) = Foreign::of(&self.at.head(HEAD)) {
                return Err(FormatError::NotGguf { file: self.at.file(), found });
            }
            return Err(self.at.invalid(Field::file("magic"), 0, "`GGUF`", "something else"));
        }
        let field = Field::file("version");
        let offset = self.at.pos();
        let version = self.at.u32(field)?;
        match version {
            2 | 3 => Ok(version),
            0 => Err(self.at.invalid(field, offset, "2 or 3", 0)),
            v if matches!(v.swap_bytes(), 1..=3) => {
                let found = format!("big-endian {}", v.swap_bytes());
                Err(self.at.unsupported(field, offset, "a little-endian file of version 2 or 3", found))
            }
            v => Err(self.at.unsupported(field, offset, "2 or 3", v)),
        }
    }

    /// The number of entries of a list, each of `min_bytes` or more.
    fn count(&mut self, part: &'static str, limit: u64, min_bytes: u64) -> Result<u64, FormatError> {
        let field = Field::file(part);
        let offset = self.at.pos();
        let n = self.at.u64(field)?;
        if n > limit {
            return Err(self.at.over_limit(field, offset, limit, n));
        }
        let left = self.at.left();
        if n.saturating_mul(min_bytes) > left {
            let expected = format!("a number whose entries fit the {left} bytes left");
            return Err(self.at.invalid(field, offset, expected, n));
        }
        Ok(n)
    }

    /// The key of pair `i`, which none of `metadata` has yet.
    fn new_key(&mut self, i: u64, metadata: &Metadata) -> Result<String, FormatError> {
        let offset = self.at.pos();
        let length = Field::pair("key length", i);
        let field = Field::pair("key", i);
        let key = self.name(length, field, MAX_KEY_BYTES)?;
        self.charge_string(key.len() as u64, length, offset)?;
        if metadata.get(&key).is_some() {
            let found = format!("{} again", shown(&key));
            return Err(self.at.invalid(field, offset.saturating_add(8), "a key of its own", found));
        }
        Ok(key)
    }

    fn value(&mut self, key: &str, type_id: u32, type_at: u64) -> Result<Value, FormatError> {
        let field = Field::key("value", key);
        Ok(match type_id {
            0 => Value::U8(self.at.u8(field)?),
            1 => Value::I8(i8::from_le_bytes(self.at.array(field)?)),
            2 => Value::U16(u16::from_le_bytes(self.at.array(field)?)),
            3 => Value::I16(i16::from_le_bytes(self.at.array(field)?)),
            4 => Value::U32(self.at.u32(field)?),
            5 => Value::I32(i32::from_le_bytes(self.at.array(field)?)),
            6 => Value::F32(f32::from_le_bytes(self.at.array(field)?)),
            7 => Value::Bool(self.bool(field)?),
            8 => {
                let mut text = Vec::new();
                self.string(key, &mut text)?;
                String::from_utf8(text).map_or_else(|e| Value::Bytes(e.into_bytes()), Value::String)
            }
            9 => Value::Array(self.array_value(key)?),
            10 => Value::U64(self.at.u64(field)?),
            11 => Value::I64(i64::from_le_bytes(self.at.array(field)?)),
            12 => Value::F64(f64::from_le_bytes(self.at.array(field)?)),
            t => return Err(self.at.invalid(Field::key("value type", key), type_at, "0 to 12", t)),
        })
    }

    fn array_value(&mut self, key: &str) -> Result<Array, FormatError> {
        let field = Field::key("element type", key);
        let type_at = self.at.pos();
        let type_id = self.at.u32(field)?;
        let count_at = self.at.pos();
        let n = self.at.u64(Field::key("element count", key))?;
        Ok(match type_id {
            0 => Array::U8(self.numbers(key, n, count_at, u8::from_le_bytes)?),
            1 => Array::I8(self.numbers(key, n, count_at, i8::from_le_bytes)?),
            2 => Array::U16(self.numbers(key, n, count_at, u16::from_le_bytes)?),
            3 => Array::I16(self.numbers(key, n, count_at, i16::from_le_bytes)?),
            4 => Array::U32(self.numbers(key, n, count_at, u32::from_le_bytes)?),
            5 => Array::I32(self.numbers(key, n, count_at, i32::from_le_bytes)?),
            6 => Array::F32(self.numbers(key, n, count_at, f32::from_le_bytes)?),
            7 => {
                self.charge_numbers(key, n, 1, count_at)?;
                let mut bools = Vec::with_capacity(n as usize);
                for _ in 0..n {
                    bools.push(self.bool(Field::key("element", key))?);
                }
                Array::Bool(bools)
            }
            8 => self.strings(key, n, count_at)?,
            9 => {
                let found = "an array of arrays";
                return Err(self.at.unsupported(field, type_at, "numbers, bools or strings", found));
            }
            10 => Array::U64(self.numbers(key, n, count_at, u64::from_le_bytes)?),
            11 => Array::I64(self.numbers(key, n, count_at, i64::from_le_bytes)?),
            12 => Array::F64(self.numbers(key, n, count_at, f64::from_le_bytes)?),
            t => return Err(self.at.invalid(field, type_at, "0 to 12", t)),
        })
    }

    fn numbers<const N: usize, T>(
        &mut self,
        key: &str,
        n: u64,
        count_at: u64,
        from_le_bytes: fn([u8; N]) -> T,
    ) -> Result<Vec<T>, FormatError> {
        self.charge_numbers(key, n, N as u64, count_at)?;
        let mut numbers = Vec::with_capacity(n as usize);
        for _ in 0..n {
            numbers.push(from_le_bytes(self.at.array(Field::key("element", key))?));
        }
        Ok(numbers)
    }

    /// `n` array elements of `size` bytes are there, and the file has not had too many.
    fn charge_numbers(&mut self, key: &str, n: u64, size: u64, count_at: u64) -> Result<(), FormatError> {
        let bytes = n.saturating_mul(size);
        self.at.expect(bytes, Field::key("array", key))?;
        self.number_bytes = self.number_bytes.saturating_add(bytes);
        if self.number_bytes > MAX_NUMBER_BYTES {
            let total = Field::file("bytes of number arrays");
            return Err(self.at.over_limit(total, count_at, MAX_NUMBER_BYTES, self.number_bytes));
        }
        Ok(())
    }

    fn strings(&mut self, key: &str, n: u64, count_at: u64) -> Result<Array, FormatError> {
        let length_bytes = n.saturating_mul(8);
        let field = Field::key("array", key);
        self.at.expect(length_bytes, field)?;
        self.charge_string(length_bytes, field, count_at)?;
        let mut text = Vec::new();
        let mut ends = Vec::with_capacity(n as usize);
        for _ in 0..n {
            self.string(key, &mut text)?;
            ends.push(text.len() as u32); // `MAX_STRING_BYTES` fits
        }
        // All at once is text, and no string ends inside a character: then each is text.
        let text = String::from_utf8(text).map_err(|e| e.into_bytes()).and_then(|text| {
            let whole = ends.iter().all(|&end| text.is_char_boundary(end as usize));
            if whole { Ok(text) } else { Err(text.into_bytes()) }
        });
        Ok(match text {
            Ok(text) => Array::String(Strings::from_parts(text, ends)),
            Err(bytes) => Array::Bytes(ByteStrings::from_parts(bytes, ends)),
        })
    }

    /// Appends the bytes of one string value to `text`.
    fn string(&mut self, key: &str, text: &mut Vec<u8>) -> Result<(), FormatError> {
        let length_at = self.at.pos();
        let length = Field::key("string length", key);
        let n = self.at.u64(length)?;
        self.charge_string(n, length, length_at)?;
        let field = Field::key("string", key);
        self.at.expect(n, field)?;
        let (n, start) = (n as usize, text.len());
        if text.capacity().saturating_sub(start) < n {
            // Not the usual doubling, which could take twice the limit.
            text.reserve_exact(n.max(start.min(GROWTH)));
        }
        text.resize(start.saturating_add(n), 0);
        self.at.fill(text.get_mut(start..).unwrap_or_default(), field)
    }

    fn charge_string(&mut self, n: u64, field: Field, offset: u64) -> Result<(), FormatError> {
        self.string_bytes = self.string_bytes.saturating_add(n);
        if n > MAX_STRING_BYTES {
            return Err(self.at.over_limit(field, offset, MAX_STRING_BYTES, n));
        }
        if self.string_bytes > MAX_STRING_BYTES {
            let total = Field::file("text of the header");
            return Err(self.at.over_limit(total, offset, MAX_STRING_BYTES, self.string_bytes));
        }
        Ok(())
    }

    /// A key or a tensor's name: 1 to `max` bytes of text.
    fn name(&mut self, length: Field, field: Field, max: u64) -> Result<String, FormatError> {
        let length_at = self.at.pos();
        let n = self.at.u64(length)?;
        if n == 0 {
            return Err(self.at.invalid(length, length_at, format!("1 to {max}"), 0));
        }
        if n > max {
            return Err(self.at.over_limit(length, length_at, max, n));
        }
        self.at.expect(n, field)?;
        let mut text = vec![0; n as usize];
        let offset = self.at.pos();
        self.at.fill(&mut text, field)?;
        String::from_utf8(text).map_err(|_| self.not_utf8(field, offset))
    }

    fn not_utf8(&self, field: Field, offset: u64) -> FormatError {
        self.at.invalid(field, offset, "UTF-8", "other bytes")
    }

    fn bool(&mut self, field: Field) -> Result<bool, FormatError> {
        let offset = self.at.pos();
        match self.at.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            byte => Err(self.at.invalid(field, offset, "0 or 1", byte)),
        }
    }

    fn alignment(&self, value: &Value, offset: u64) -> Result<u64, FormatError> {
        match *value {
            Value::U32(n) if n.is_power_of_two() && ALIGNMENTS.contains(&u64::from(n)) => Ok(n.into()),
            _ => {
                let field = Field::key("value", "general.alignment");
                Err(self.at.invalid(field, offset, "a u32 power of two from 8 to 1048576", value))
            }
        }
    }

    fn tensor(&mut self, i: u64) -> Result<TensorHeader, FormatError> {
        let name = self.name(
            Field::tensor_idx("name length", i),
            Field::tensor_idx("name", i),
            MAX_TENSOR_NAME_BYTES,
        )?;
        let dims_at = self.at.pos();
        let n_dims = self.at.u32(Field::tensor("dimension count", &name))?;
        if !(1..=MAX_DIMS).contains(&n_dims) {
            let field = Field::tensor("dimension count", &name);
            return Err(self.at.invalid(field, dims_at, "1 to 4", n_dims));
        }
        let first_dim_at = self.at.pos();
        let mut dims = Vec::new();
        for _ in 0..n_dims {
            dims.push(self.dim(&name)?);
        }
        let dtype = self.dtype(&name)?;
        let n_bytes = self.n_bytes(&name, dtype, &dims, first_dim_at)?;
        let offset_at = self.at.pos();
        let offset = self.at.u64(Field::tensor("offset", &name))?;
        Ok(TensorHeader { name, dtype, dims, n_bytes, offset, offset_at })
    }

    fn dim(&mut self, name: &str) -> Result<u64, FormatError> {
        let field = Field::tensor("dimension", name);
        let offset = self.at.pos();
        let dim = self.at.u64(field)?;
        if dim == 0 || dim > MAX_ELEMENTS {
            return Err(self.at.invalid(field, offset, format!("1 to {MAX_ELEMENTS}"), dim));
        }
        Ok(dim)
    }

    fn dtype(&mut self, name: &str) -> Result<DType, FormatError> {
        let field = Field::tensor("type", name);
        let offset = self.at.pos();
        let id = self.at.u32(field)?;
        if DType::was_removed(id) {
            let found = format!("{id}, a type removed from the format");
            return Err(self.at.unsupported(field, offset, "a type in use", found));
        }
        DType::from_ggml(id).ok_or_else(|| self.at.unsupported(field, offset, "a known type", id))
    }

    /// Bytes of all rows.
    fn n_bytes(&self, name: &str, dtype: DType, dims: &[u64], dims_at: u64) -> Result<u64, FormatError> {
        let block_len = dtype.block_len() as u64;
        let row_len = dims.first().copied().unwrap_or(1);
        if !row_len.is_multiple_of(block_len) {
            let field = Field::tensor("row length", name);
            let expected = format!("a multiple of {block_len}, the block of {dtype}");
            return Err(self.at.invalid(field, dims_at, expected, row_len));
        }
        dtype.tensor_bytes(dims).ok_or_else(|| {
            let field = Field::tensor("size", name);
            let expected = format!("at most {MAX_ELEMENTS} elements, in less than 2^64 bytes");
            self.at.invalid(field, dims_at, expected, "more")
        })
    }
}
