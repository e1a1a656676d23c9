//! What the reader accepts at most from any file.

use std::ops::RangeInclusive;

/// Metadata pairs.
pub(crate) const MAX_KV: u64 = 65_536;
/// Tensors, over all files of a split model.
pub(crate) const MAX_TENSORS: u64 = 65_536;
/// The specification's limit: the length fits 16 bits.
pub(crate) const MAX_KEY_BYTES: u64 = 65_535;
/// `GGML_MAX_NAME`.
pub(crate) const MAX_TENSOR_NAME_BYTES: u64 = 64;
/// All keys and string values of a file, plus 8 bytes for each string in an array.
pub(crate) const MAX_STRING_BYTES: u64 = 64 << 20;
/// All elements of arrays that are no strings. A vocabulary of 262,144 has 2 MiB of them.
pub(crate) const MAX_NUMBER_BYTES: u64 = 16 << 20;
/// `GGML_MAX_DIMS`.
pub(crate) const MAX_DIMS: u32 = 4;
/// ggml counts elements in `i64`, we in `usize`.
pub(crate) const MAX_ELEMENTS: u64 = isize::MAX as u64;
/// Powers of two in this range can be a file's alignment.
pub(crate) const ALIGNMENTS: RangeInclusive<u64> = 8..=1 << 20;
/// The alignment of a file that names none.
pub(crate) const DEFAULT_ALIGNMENT: u64 = 32;
/// Files of a split model.
pub(crate) const MAX_SHARDS: u32 = 1024;

/// A pair has a key length, a type and a byte of value at least. (No key and no dimension are errors, but
/// ones that are told apart later.)
pub(crate) const MIN_KV_BYTES: u64 = 8 + 4 + 1;
/// A tensor has a name length, a dimension count, a type and an offset at least.
pub(crate) const MIN_TENSOR_BYTES: u64 = 8 + 4 + 4 + 8;
