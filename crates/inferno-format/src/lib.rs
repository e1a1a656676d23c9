//! What is in the file: GGUF, tensor types, quantization blocks and their scalar meaning.
//!
//! Knows: the bytes of a GGUF file, how far each may be trusted, what every block of a tensor
//! type means as numbers, and how to write all that again.
//!
//! Must not know: what a layer or a token is, which tensors a model needs, how a kernel lays its
//! weights out, or anything of instruction sets and devices.
//!
//! Start reading at [`Gguf::open`] (`gguf.rs`: from a path to checked tensors), then `gguf/header.rs`
//! (every byte of the header), `dtype.rs` (the table of tensor types) and `quant.rs` (the one form that
//! all quantized weights share).
#![forbid(unsafe_code)]

mod dtype;
mod error;
mod foreign;
mod gguf;
mod metadata;
mod progress;
mod quant;
mod source;
mod writer;

pub use dtype::{DType, UnknownDType};
pub use error::{FileName, FormatError};
pub use foreign::Foreign;
pub use gguf::{Gguf, TensorEntry};
pub use metadata::{Array, ByteStrings, Metadata, MetadataError, Strings, Value};
pub use progress::ReadProgress;
pub use quant::{Block32, E2M1_DOUBLED, QuantError, dequantize, quantize, unpack_row};
pub use writer::{GgufWriter, NewTensor, WriteError, outline};
