//! The fast CPU backend: instruction sets chosen at run time, packed weights, a pool of threads.
//!
//! It knows tensors, rows and pages; it must not know a model's family, a file's metadata, text or sequences beyond
//! their page tables. Start at [`Cpu`] in `backend.rs`, which says what runs where; the arithmetic is in `kernels/`,
//! written once over `simd.rs`. Every level gives the bits of `inferno_model::reference`.

mod allocator;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod backend;
mod experts;
mod heads;
mod isa;
mod kernels;
mod kv;
mod matmul;
mod memory;
mod packed;
mod pool;
mod recurrent;
mod simd;
mod ssm;
mod streaming;

pub use allocator::{keep_little_memory, return_freed_memory};
pub use backend::{Buffer, Cpu, Weight};
pub use isa::{Isa, IsaError};
pub use kv::KvPool;
pub use streaming::StreamingRead;
